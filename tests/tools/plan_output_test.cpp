// SPDX-License-Identifier: Apache-2.0
//
// What `fathom plan` prints: the estimate, the forecast, rates that are given; and the trace that
// shows the plan beside what happened.
#include <algorithm>
#include <map>

#include "program.hpp"

namespace fathom::tools {
namespace {

// A training whose states do not all fit the budget.
Training streamed() {
  Training run;
  run.config["fathom"]["host_memory"] = "1GiB";
  run.config["fathom"]["host_memory"] = smallest_host_memory(run) + (1 << 20);
  return run;
}

TEST(Estimate, FromSizesAloneHasTheClassicNumbers) {
  // The flags as the field names them; spelled with dashes and short they mean the same.
  const Arguments sizes = {"plan", "--estimate", "--params", "2851e6", "--largest-layer", "32e6"};
  const Outcome told = fathom(sizes + Arguments{"--num_gpus_per_node", "8", "--num_nodes", "1"});
  ASSERT_TRUE(succeeded(told));
  for (const char* line :
       {"HW: Setup with 1 node, 8 GPUs per node.\n",
        "SW: Model with 2851M total params, 32M largest layer params.\n",
        "   71.69GB |   0.12GB | offload_param=cpu , offload_optimizer=cpu , zero_init=1\n",
        "  127.45GB |   6.09GB | offload_param=none, offload_optimizer=none, zero_init=0\n",
        "  127.45GB |  11.28GB | offload_optimizer=none\n"})
    EXPECT_NE(told.out.find(line), std::string::npos) << line << told.out;
  EXPECT_EQ(told.out, fathom(sizes + Arguments{"--gpus", "8", "--nodes", "1"}).out);
  EXPECT_EQ(told.out, fathom(sizes + Arguments{"--num-gpus-per-node", "8"}).out);
}

TEST(Estimate, FromAModelDirectoryNeedsNoConfigurationAndNoWeights) {
  const Outcome told = fathom(
      {"plan", "--estimate", "--json", "--model", layered_model(), "--gpus", "2", "--nodes", "2"});
  ASSERT_TRUE(succeeded(told));
  const json estimate = json::parse(told.out);
  EXPECT_EQ(estimate.at("total_params"), 951936U);
  EXPECT_EQ(estimate.at("largest_layer_params"), 128 * 256) << "embedding, head and MLP alike";
  ASSERT_EQ(estimate.at("setups").size(), 2U);
  const json& last = estimate.at("setups").at(1);
  EXPECT_EQ(last.at("gpus_per_node"), 2);
  EXPECT_EQ(last.at("nodes"), 2);
  for (const json& row : last.at("fathom"))
    if (row.at("weights") == "nvme" && row.at("states") == "nvme") {
      EXPECT_EQ(row.at("nvme_bytes"), 12 * 951936 / 2);
      EXPECT_EQ(row.at("read_bytes_per_step"), 14 * 951936 / 2);
      EXPECT_EQ(row.at("written_bytes_per_step"), 12 * 951936 / 2);
    }
}

TEST(Estimate, RefusesHalfOfASizeAndNumbersThatAreNone) {
  EXPECT_TRUE(refused(fathom({"plan", "--estimate"}), 2, {"--model", "--params"}));
  EXPECT_TRUE(refused(fathom({"plan", "--estimate", "--params", "1e9"}), 2, {"--largest-layer"}));
  EXPECT_TRUE(
      refused(fathom({"plan", "--params", "1e9", "--largest-layer", "1e6"}), 2, {"--estimate"}));
  EXPECT_TRUE(
      refused(fathom({"plan", "--model", small_model(), "--gpus", "8"}), 2, {"--estimate"}));
  for (const char* gpus : {"0", "5000"})
    EXPECT_TRUE(refused(fathom({"plan", "--estimate", "--model", small_model(), "--gpus", gpus}), 2,
                        {gpus}))
        << gpus;
  for (const char* parameters : {"nan", "1e30"})
    EXPECT_TRUE(
        refused(fathom({"plan", "--estimate", "--params", parameters, "--largest-layer", "1e6"}), 2,
                {parameters}))
        << parameters;
}

TEST(PlanOutput, JsonSaysWhatEachResourceDoesHowLongADriveLastsAndWhatWouldHelp) {
  Training run = streamed();
  run.config["gradient_clipping"] = 1.0;
  run.config["fathom"]["host_memory"] = "1GiB";
  run.config["fathom"]["host_memory"] = smallest_host_memory(run) + (1 << 20);
  const Outcome told = fathom(run.plan_arguments() + Arguments{"--tbw", "600"});
  ASSERT_TRUE(succeeded(told));
  const json plan = json::parse(told.out);
  const json& bytes = plan.at("bytes");
  const json& resources = plan.at("resources");
  EXPECT_EQ(resources.at("nvme-read").at("moved_bytes"), bytes.at("nvme_read"));
  EXPECT_EQ(resources.at("nvme-write").at("moved_bytes"), bytes.at("nvme_write"));
  // 2 GB/s, as the flags say.
  EXPECT_NEAR(resources.at("nvme-read").at("busy_seconds").get<double>(),
              bytes.at("nvme_read").get<double>() / 2e9, 1e-9);
  EXPECT_GT(resources.at("cpu").at("compute_seconds").get<double>(), 0);
  EXPECT_GT(plan.at("tokens_to_hide_io").get<double>(), 0);
  const json& written = plan.at("written");
  EXPECT_EQ(written.at("bytes_per_step"), bytes.at("nvme_write"));
  const double days = written.at("tbw_days");
  EXPECT_NEAR(days * written.at("bytes_per_day").get<double>(), 600e12, 1e9);
  EXPECT_NEAR(written.at("run_share_of_tbw").get<double>(),
              4 * bytes.at("nvme_write").get<double>() / 600e12, 1e-12);
  std::map<std::string, double> gains;
  for (const json& help : plan.at("help")) {
    gains[help.at("change")] = help.at("gain");
    EXPECT_NE(help.at("sentence").get<std::string>().find("tokens/s"), std::string::npos);
  }
  for (const char* change : {"host_memory", "nvme_path", "batch", "clipping"})
    EXPECT_TRUE(gains.contains(change)) << change;
}

TEST(PlanOutput, TextHasALineForEach) {
  const Training run = streamed();
  Arguments line = run.plan_arguments();
  std::erase(line, "--json");
  const Outcome told = fathom(line + Arguments{"--tbw", "600"});
  ASSERT_TRUE(succeeded(told));
  for (const char* head :
       {"plan ", "schedule ", "placement ", "memory ", "store ", "bytes ", "machine ", "resource ",
        "hiding ", "writes ", "endurance ", "speed ", "helps "})
    EXPECT_NE(("\n" + told.out).find("\n" + std::string(head)), std::string::npos) << head << "\n"
                                                                                   << told.out;
}

TEST(PlanOutput, RatesComeFromTheProfileUnlessFlagsSayOtherwise) {
  Training run = streamed();
  const std::string profile = scratch_file(
      "report.json", R"({"aio":{"block_size":1048576},"profile":{"read_bytes_per_second":5e8,)"
                     R"("write_bytes_per_second":4e8,"duplex":0.25}})");
  const Arguments line = {
      "plan",      "--json", "--model", run.model, "--config",  run.config.dump(),
      "--seq-len", "32",     "--flops", "0.1",     "--profile", profile};
  const Outcome given = fathom(line);
  ASSERT_TRUE(succeeded(given));
  const json rates = json::parse(given.out).at("rates");
  EXPECT_EQ(rates.at("nvme_read"), 5e8);
  EXPECT_EQ(rates.at("nvme_write"), 4e8);
  EXPECT_EQ(rates.at("duplex"), 0.25);
  EXPECT_EQ(rates.at("flops"), 1e11);
  // Flags win, wherever they stand.
  const Outcome mixed = fathom(line + Arguments{"--read-gbps", "3", "--duplex", "0"});
  ASSERT_TRUE(succeeded(mixed));
  const json other = json::parse(mixed.out).at("rates");
  EXPECT_EQ(other.at("nvme_read"), 3e9);
  EXPECT_EQ(other.at("nvme_write"), 4e8);
  EXPECT_EQ(other.at("duplex"), 0.0);

  const auto with = [&](const std::string& path) {
    return fathom({"plan", "--model", run.model, "--profile", path});
  };
  EXPECT_TRUE(refused(with("/nonexistent/report.json"), 1, {"/nonexistent/report.json"}));
  EXPECT_TRUE(refused(with(scratch_file("aio.json", R"({"aio":{"block_size":1}})")), 2,
                      {"aio.json", "report.json", "aio_bench"}));
}

struct Row {
  std::string process, lane;
  std::vector<std::pair<double, double>> spans;
};

// Sums of bytes by process, resource and step; nothing overlaps within a row.
std::map<std::tuple<std::string, std::string, int>, std::uint64_t> bytes_in(const json& trace) {
  std::map<int, std::string> processes;
  std::map<std::pair<int, int>, Row> rows;
  std::map<std::tuple<std::string, std::string, int>, std::uint64_t> sums;
  for (const json& event : trace.at("traceEvents")) {
    const int process = event.at("pid"), thread = event.at("tid");
    if (event.at("name") == "process_name") processes[process] = event.at("args").at("name");
    if (event.at("name") == "thread_name") rows[{process, thread}].lane = event.at("args")["name"];
    if (event.at("ph") != "X") continue;
    const double begin = event.at("ts"), length = event.at("dur");
    EXPECT_GE(begin, -1e-3);
    rows[{process, thread}].spans.emplace_back(begin, begin + length);
    sums[{processes[process], event.at("cat"), event.at("args").value("step", 0)}] +=
        event.at("args").at("bytes").get<std::uint64_t>();
  }
  for (auto& [key, row] : rows) {
    EXPECT_FALSE(row.lane.empty());
    std::sort(row.spans.begin(), row.spans.end());
    for (std::size_t i = 1; i < row.spans.size(); ++i)
      EXPECT_GE(row.spans[i].first, row.spans[i - 1].second - 1e-2) << row.lane;
  }
  return sums;
}

TEST(TraceFile, ShowsThePlannedStepAndTheActualOnesWithEveryByte) {
  for (const double clipping : {0.0, 1.0}) {
    Training run;
    run.config["gradient_clipping"] = clipping;
    run.config["fathom"]["host_memory"] = "1GiB";
    run.config["fathom"]["host_memory"] = smallest_host_memory(run) + (1 << 18);
    const std::string path = new_scratch_name("trace.json");
    run.more = {"--trace", path, "--json"};
    const Outcome done = fathom(run.arguments());
    ASSERT_TRUE(succeeded(done));
    const json plan = json::parse(done.out).at("plan");
    const json trace = json::parse(read_file(path));
    EXPECT_EQ(trace.at("otherData").at("dropped_events"), 0);
    auto bytes = bytes_in(trace);
    ASSERT_GT(plan.at("bytes").at("nvme_write").get<std::uint64_t>(), 0U);
    EXPECT_EQ((bytes[{"planned", "nvme-read", 0}]), plan.at("bytes").at("nvme_read"));
    EXPECT_EQ((bytes[{"planned", "nvme-write", 0}]), plan.at("bytes").at("nvme_write"));
    EXPECT_TRUE(bytes.contains({"planned", "cpu", 0}));
    const auto steps = json_lines(read_file(run.metrics()));
    ASSERT_EQ(steps.size(), 4U);
    for (const json& step : steps) {
      const int number = step.at("step");
      EXPECT_TRUE(bytes.contains({"actual", "cpu", number}));
      EXPECT_EQ((bytes[{"actual", "nvme-read", number}]), step.at("bytes").at("nvme_read"))
          << "step " << number << ", clipping " << clipping;
      EXPECT_EQ((bytes[{"actual", "nvme-write", number}]), step.at("bytes").at("nvme_write"))
          << "step " << number << ", clipping " << clipping;
    }
  }
}

}  // namespace
}  // namespace fathom::tools
