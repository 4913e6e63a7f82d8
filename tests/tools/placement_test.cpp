// SPDX-License-Identifier: Apache-2.0
//
// The same bits wherever the state lives and whatever moves it, and every byte accounted for.
#include "program.hpp"

namespace fathom::tools {
namespace {

constexpr std::uint64_t MiB = 1 << 20;

struct Variant {
  const char* name;
  double clipping = 0;
  bool bf16 = true;
  Shape shape;
  bool every_engine = false;
};

class Placement : public testing::TestWithParam<Variant> {
 protected:
  Training training() const {
    Training run{.model = make_model(GetParam().shape), .steps = 3};
    run.config["gradient_clipping"] = GetParam().clipping;
    if (!GetParam().bf16) run.config.erase("bf16");
    return run;
  }
};

TEST_P(Placement, DoesNotChangeABit) {
  Training run = training();
  run.config["fathom"]["host_memory"] = "1GiB";
  run.more = {"--json"};
  const Outcome whole = fathom(run.arguments());
  ASSERT_TRUE(succeeded(whole));
  const auto expected = state_of(run.out);
  const auto losses = [](const Training& of) {
    std::vector<json> values;
    for (const json& line : json_lines(read_file(of.metrics()))) values.push_back(line.at("loss"));
    return values;
  };
  const std::vector<json> expected_losses = losses(run);
  const std::uint64_t smallest = json::parse(whole.out).at("plan").at("smallest_host_memory");

  std::vector<std::pair<std::string, json>> cases = {
      {"between", {{"host_memory", smallest + 2 * MiB}}},
      {"striped",
       {{"host_memory", smallest},
        {"verify", "off"},
        {"nvme_paths", {run.nvme, new_scratch_directory("nvme"), new_scratch_directory("nvme")}}}}};
  for (const std::string& engine : working_engines())
    if (GetParam().every_engine)
      cases.push_back({engine, {{"host_memory", smallest}, {"engine", engine}}});
  for (const auto& [name, settings] : cases) {
    Training other = run;
    other.out = new_scratch_name("out");
    other.config["fathom"] = settings;
    // The grain of layout and ring slots changes too.
    if (name == "between") other.config["zero_optimization"]["sub_group_size"] = 262144;
    if (name == "posix") other.config["aio"] = {{"block_size", 65536}, {"queue_depth", 2}};
    const Outcome done = fathom(other.arguments());
    ASSERT_TRUE(succeeded(done)) << name;
    EXPECT_GT(json::parse(done.out).at("bytes_measured").at("nvme_read"), 0U) << name;
    EXPECT_EQ(losses(other), expected_losses) << name;
    EXPECT_TRUE(state_of(other.out) == expected) << name;
    if (name != "between") continue;
    EXPECT_TRUE(weights_of(other.out) == weights_of(run.out));
  }
}

// What a run must move, from what its extents say and how often each section is needed.
TEST_P(Placement, MovesTheBytesThatItsExtentsImply) {
  if (GetParam().shape.tied) GTEST_SKIP() << "counted for separate embeddings and heads only";
  Training run = training();
  run.config["fathom"]["host_memory"] = "1GiB";
  run.config["fathom"]["host_memory"] = smallest_host_memory(run);
  run.more = {"--json"};
  const Outcome done = fathom(run.arguments());
  ASSERT_TRUE(succeeded(done));
  const json report = json::parse(done.out), plan = report.at("plan");

  // Bytes of W of each unit, and of all states.
  std::map<std::string, std::uint64_t> weights;
  for (const auto& [name, bytes] : state_of(run.out))
    if (name.ends_with("/W")) weights[name.substr(0, name.size() - 2)] = bytes.size();
  std::uint64_t states = 0, stored = 0, fetched = 0;
  const json placement = plan.at("placement");
  for (const auto& [section, share] : placement.items())
    if (section != "W") states += share.at("nvme_bytes").get<std::uint64_t>();
  const json& units = plan.at("units");
  // What the landing slots hold when the pass turns round is not fetched again.
  const bool head_streamed = units.back().at("weights") == "nvme";
  const std::size_t kept = plan.at("landing_slots").get<std::size_t>() - head_streamed;
  for (std::size_t u = 0; u < units.size(); ++u) {
    if (units[u].at("weights") != "nvme") continue;
    const std::uint64_t bytes = weights.at(units[u].at("name"));
    const bool lazy = units[u].at("update") == "lazy", embedding = u == 0;
    // Forward and backward; the head's are one, the embedding's backward needs no W but its eager
    // update does.
    const bool once = u + 1 == units.size() || (embedding && lazy) || u + 1 + kept >= units.size();
    const std::uint64_t reads = once ? 1 : 2;
    fetched += reads * bytes;
    stored += bytes;
  }
  EXPECT_EQ(stored, plan.at("placement").at("W").at("nvme_bytes"));
  ASSERT_GT(states, 0U);

  const bool lazy = GetParam().clipping > 0;
  std::uint64_t read_in_steps = 0, written_in_steps = 0;
  const auto lines = json_lines(read_file(run.metrics()));
  ASSERT_EQ(lines.size(), run.steps);
  for (const json& line : lines) {
    EXPECT_EQ(line.at("bytes"), line.at("planned_bytes"));
    // The first lazy step has no update to make.
    const bool updates = !lazy || line.at("step") != 1;
    EXPECT_EQ(line.at("bytes").at("nvme_read"), fetched + (updates ? states : 0));
    EXPECT_EQ(line.at("bytes").at("nvme_write"), updates ? stored + states : 0);
    read_in_steps += line.at("bytes").at("nvme_read").get<std::uint64_t>();
    written_in_steps += line.at("bytes").at("nvme_write").get<std::uint64_t>();
  }
  EXPECT_EQ(plan.at("bytes").at("nvme_read"), fetched + states);
  EXPECT_EQ(plan.at("bytes").at("nvme_write"), stored + states);
  EXPECT_EQ(report.at("bytes_of_steps").at("nvme_read"), read_in_steps);
  EXPECT_EQ(report.at("bytes_of_steps").at("nvme_write"), written_in_steps);

  // Beside the steps: everything is written at the start and read for the checkpoint; with clipping
  // the last update comes after the last step.
  const std::uint64_t all = stored + states, last = lazy ? all : 0;
  const json& measured = report.at("bytes_measured");
  const auto payload = [&](const char* moved, const char* padding) {
    return measured.at(moved).get<double>() - measured.at(padding).get<double>();
  };
  const double read = static_cast<double>(read_in_steps + all + last);
  const double written = static_cast<double>(written_in_steps + all + last);
  EXPECT_NEAR(payload("nvme_read", "padding_read"), read, 0.005 * read);
  EXPECT_NEAR(payload("nvme_write", "padding_written"), written, 0.005 * written);
}

INSTANTIATE_TEST_SUITE_P(
    Variants, Placement,
    testing::Values(
        Variant{"Eager", 0, true, {.hidden = 128, .intermediate = 256, .layers = 6}, true},
        Variant{"Lazy", 0.5, true, {.hidden = 128, .intermediate = 256, .layers = 6}, true},
        Variant{"Fp32", 0, false, {.hidden = 128, .intermediate = 256, .layers = 6}},
        Variant{"TiedAndChunked",
                0,
                true,
                {.hidden = 128, .intermediate = 1024, .layers = 3, .tied = true}}),
    [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace fathom::tools
