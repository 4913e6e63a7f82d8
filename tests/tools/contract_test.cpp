// SPDX-License-Identifier: Apache-2.0
//
// The keys and numbers that scripts rely on, as reference/cli.md and DESIGN §8 promise them.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "program.hpp"

namespace fathom::tools {
namespace {

std::set<std::string> keys(const json& object) {
  std::set<std::string> names;
  for (const auto& [name, value] : object.items()) names.insert(name);
  return names;
}

bool has(const json& object, const std::set<std::string>& wanted) {
  const std::set<std::string> names = keys(object);
  return std::includes(names.begin(), names.end(), wanted.begin(), wanted.end());
}

const std::set<std::string> byte_keys = {"nvme_read", "nvme_write", "h2d", "d2h", "network"};

class Contract : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    run_ = new Training{.steps = 3};
    run_->more = {"--json", "--trace", new_scratch_name("trace")};
    const Outcome done = fathom(run_->arguments());
    ASSERT_TRUE(succeeded(done));
    report_ = new json(json::parse(done.out));
    export_ = new std::string(exported(run_->out));
  }
  static void TearDownTestSuite() {
    delete run_;
    delete report_;
    delete export_;
  }
  static Training* run_;
  static json* report_;
  static std::string* export_;
};
Training* Contract::run_ = nullptr;
json* Contract::report_ = nullptr;
std::string* Contract::export_ = nullptr;

TEST_F(Contract, MetricsLinesHaveExactlyTheirKeys) {
  const auto lines = json_lines(read_file(run_->metrics()));
  ASSERT_EQ(lines.size(), 3U);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const json& line = lines[i];
    EXPECT_EQ(keys(line), (std::set<std::string>{
                              "step", "loss", "lr", "grad_norm", "loss_scale", "skipped", "tokens",
                              "seconds", "lower_bound_seconds", "bytes", "planned_bytes", "peak"}));
    EXPECT_EQ(keys(line.at("bytes")), byte_keys);
    EXPECT_EQ(keys(line.at("planned_bytes")), byte_keys);
    EXPECT_EQ(keys(line.at("peak")), (std::set<std::string>{"host", "device"}));
    EXPECT_EQ(line.at("step"), i + 1);
    EXPECT_EQ(line.at("tokens"), 4 * 32);
    EXPECT_EQ(line.at("skipped"), false);
    EXPECT_EQ(line.at("lr"), 1e-3);
  }
}

TEST_F(Contract, LossesAreFp32WithNineDigits) {
  const std::string text = read_file(run_->metrics());
  std::size_t at = 0, losses = 0, longest = 0;
  while ((at = text.find("\"loss\":", at)) != std::string::npos) {
    at += 7;
    const std::string printed = text.substr(at, text.find(',', at) - at);
    char again[32];
    std::snprintf(again, sizeof again, "%.9g",
                  static_cast<double>(std::strtof(printed.c_str(), nullptr)));
    EXPECT_EQ(printed, again);
    longest = std::max(longest, printed.size() - 1);  // without the point
    ++losses;
  }
  EXPECT_EQ(losses, 3U);
  EXPECT_EQ(longest, 9U);
}

TEST_F(Contract, TheReportRepeatsPlanTotalsVersionsSeedDeviceAndConfig) {
  EXPECT_EQ(json::parse(read_file(run_->out + "/report.json")), *report_);
  EXPECT_TRUE(
      has(*report_, {"plan", "seed", "device", "versions", "config", "step", "steps_run", "loss",
                     "tokens", "seconds", "bytes_measured", "peak", "checkpoint", "metrics"}));
  EXPECT_EQ(report_->at("step"), 3);
  EXPECT_EQ(report_->at("seed"), 42);
  EXPECT_EQ(report_->at("tokens"), 3 * 4 * 32);
  EXPECT_EQ(report_->at("config").at("train_batch_size"), 4);
  EXPECT_EQ(report_->at("config").at("fathom").at("host_memory"), 8 << 20);
  EXPECT_EQ(report_->at("checkpoint"), step_directory(run_->out));
}

TEST_F(Contract, TheTraceIsOneJsonDocumentOfEvents) {
  const json trace = json::parse(read_file(run_->more.back()), nullptr, false);
  ASSERT_FALSE(trace.is_discarded());
  const json& events = trace.is_array() ? trace : trace.at("traceEvents");
  EXPECT_GT(events.size(), 50U);
}

TEST_F(Contract, OutIsAFolderOfKnownFiles) {
  std::set<std::string> names;
  for (const auto& [name, content] : files_in(run_->out)) names.insert(name);
  EXPECT_EQ(names,
            (std::set<std::string>{"config.json", "latest", "metrics.jsonl", "report.json",
                                   "step-00000003/manifest.json", "step-00000003/state-0.bin"}));
  EXPECT_TRUE(files_in(run_->nvme).empty());
}

TEST_F(Contract, PlansAreInTheReportAsPlanPrintsThem) {
  const json plan = plan_of(*run_);
  EXPECT_TRUE(
      has(plan, {"parameters", "seconds", "lower_bound_seconds", "bytes", "peak", "shortfalls"}));
  EXPECT_EQ(keys(plan.at("bytes")), byte_keys);
  EXPECT_EQ(keys(plan.at("peak")), (std::set<std::string>{"host", "device"}));
  EXPECT_EQ(plan.at("parameters"), 951936U);
  EXPECT_GE(plan.at("seconds").get<double>(),
            plan.at("lower_bound_seconds").get<double>() * (1 - 1e-9));
  EXPECT_TRUE(plan.at("shortfalls").empty());
  for (const char* key : {"parameters", "bytes", "peak", "placement", "units", "store_bytes"})
    EXPECT_EQ(plan.at(key), report_->at("plan").at(key)) << key;
}

TEST_F(Contract, InspectListsExtentsThatDoNotOverlap) {
  const Outcome told = fathom({"inspect", run_->out, "--json"});
  ASSERT_TRUE(succeeded(told));
  const json state = json::parse(told.out);
  EXPECT_TRUE(has(state, {"path", "step", "parameters", "extents", "units", "config", "damage"}));
  EXPECT_EQ(state.at("step"), 3);
  EXPECT_EQ(state.at("parameters"), 951936U);
  std::uint64_t end = 0, bytes = 0;
  for (const json& extent : state.at("extents")) {
    EXPECT_EQ(keys(extent),
              (std::set<std::string>{"path", "offset", "bytes", "unit", "section", "live"}));
    EXPECT_EQ(extent.at("path"), step_directory(run_->out) + "/state-0.bin");
    EXPECT_GE(extent.at("offset").get<std::uint64_t>(), end);
    EXPECT_EQ(extent.at("offset").get<std::uint64_t>() % 4096, 0U);
    end = extent.at("offset").get<std::uint64_t>() + extent.at("bytes").get<std::uint64_t>();
    bytes += extent.at("bytes").get<std::uint64_t>();
  }
  EXPECT_LE(end, std::filesystem::file_size(step_directory(run_->out) + "/state-0.bin"));
  EXPECT_EQ(state.at("bytes"), bytes);
  // 12 bytes a parameter; what is above that aligns parameters to 256 bytes.
  EXPECT_GE(bytes, 12 * 951936U);
  EXPECT_LT(bytes, 12 * 960000U);
}

TEST_F(Contract, EvalPrintsLossPerplexityAndTokens) {
  const Outcome done = fathom({"eval", "--json", "--model", *export_, "--data", words(),
                               "--seq-len", "64", "--dtype", "fp32"});
  ASSERT_TRUE(succeeded(done));
  const json result = json::parse(done.out);
  EXPECT_TRUE(has(result, {"loss", "perplexity", "tokens"}));
  EXPECT_EQ(result.at("tokens"), read_file(words()).size() / 65 * 64);
}

TEST_F(Contract, GenerationsAreTheSameFromAnyBudgetAndEngine) {
  const Arguments line =
      Arguments{"generate", "--model",          *export_, "--prompt",    "river stone",
                "--json",   "--max-new-tokens", "6",      "--ignore-eos"} +
      fixed_rates();
  const Outcome whole = fathom(line);
  ASSERT_TRUE(succeeded(whole));
  const json expected = json::parse(whole.out);
  EXPECT_TRUE(has(expected, {"text", "ids", "prompt_tokens", "seconds", "sweeps", "bytes"}));
  EXPECT_EQ(keys(expected.at("bytes")), byte_keys);
  EXPECT_EQ(expected.at("ids").size(), 6U);
  EXPECT_EQ(expected.at("prompt_tokens"), 11);  // bytes: the model has no tokenizer
  EXPECT_EQ(expected.at("sweeps"), 6);
  EXPECT_EQ(expected.at("bytes").at("nvme_read"), 0U);
  for (const std::string engine : {"libaio", "posix"}) {
    const json config = {
        {"zero_optimization",
         {{"stage", 3}, {"offload_param", {{"device", "nvme"}, {"nvme_path", run_->nvme}}}}},
        {"fathom", {{"host_memory", "2MiB"}, {"engine", engine}}}};
    const Outcome streamed = fathom(line + Arguments{"--config", config.dump()});
    ASSERT_TRUE(succeeded(streamed)) << engine;
    const json result = json::parse(streamed.out);
    EXPECT_EQ(result.at("ids"), expected.at("ids")) << engine;
    EXPECT_EQ(result.at("text"), expected.at("text")) << engine;
    EXPECT_GT(result.at("bytes").at("nvme_read"), 0U) << engine;
    EXPECT_TRUE(files_in(run_->nvme).empty());
  }
}

TEST_F(Contract, PromptFilesGiveOneLineEachInOrder) {
  const std::string prompts = scratch_file(
      "prompts.jsonl", "{\"prompt\":\"river\"}\n\"stone and cloud\"\n\n{\"text\":\"lamp\"}\n");
  const Arguments line = Arguments{"generate",         "--model", *export_,      "--json",
                                   "--max-new-tokens", "3",       "--ignore-eos"} +
                         fixed_rates();
  const Outcome done = fathom(line + Arguments{"--prompts", prompts});
  ASSERT_TRUE(succeeded(done));
  const auto results = json_lines(done.out);
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[0].at("prompt_tokens"), 5);
  EXPECT_EQ(results[1].at("prompt_tokens"), 15);
  EXPECT_EQ(results[2].at("prompt_tokens"), 4);
  // Ids are a prompt too, and give what their text gives.
  const Outcome ids = fathom(line + Arguments{"--prompt-ids", "108,97,109,112"});
  const Outcome text = fathom(line + Arguments{"--prompt", "lamp"});
  ASSERT_TRUE(succeeded(ids));
  ASSERT_TRUE(succeeded(text));
  EXPECT_EQ(json::parse(ids.out).at("ids"), json::parse(text.out).at("ids"));
}

TEST_F(Contract, GenerationIsGreedyUnlessASamplingFlagIsGiven) {
  const auto ids = [&](const Arguments& more) {
    const Outcome done = fathom(Arguments{"generate", "--model", *export_, "--prompt", "river",
                                          "--json", "--max-new-tokens", "24", "--ignore-eos"} +
                                more + fixed_rates());
    EXPECT_TRUE(succeeded(done));
    return json::parse(done.out, nullptr, false).at("ids");
  };
  const json greedy = ids({"--seed", "7"}), sampled = ids({"--top-k", "50", "--seed", "7"});
  EXPECT_EQ(ids({"--top-k", "50", "--temperature", "0"}), greedy);
  EXPECT_NE(sampled, greedy);
  EXPECT_EQ(ids({"--top-k", "50", "--seed", "7", "--temperature", "1"}), sampled);
  EXPECT_NE(ids({"--top-k", "50", "--seed", "8"}), sampled);
}

TEST_F(Contract, WithoutJsonGenerationIsThePromptAndItsContinuation) {
  const Arguments line = Arguments{"generate", "--model",          *export_, "--prompt",
                                   "river ",   "--max-new-tokens", "3",      "--ignore-eos"} +
                         fixed_rates();
  const Outcome text = fathom(line);
  ASSERT_TRUE(succeeded(text));
  const Outcome as_json = fathom(line + Arguments{"--json"});
  ASSERT_TRUE(succeeded(as_json));
  EXPECT_EQ(text.out, "river " + json::parse(as_json.out).at("text").get<std::string>() + "\n");
}

TEST_F(Contract, TokenizeReadsTextAndLines) {
  const std::string text = "caf\u00e9 \U0001F30A\n";
  const Outcome one = fathom({"tokenize", "--model", *export_, "--json"}, {.input = text});
  ASSERT_TRUE(succeeded(one));
  const json result = json::parse(one.out);
  EXPECT_EQ(keys(result), (std::set<std::string>{"ids", "text"}));
  EXPECT_EQ(result.at("text"), text);
  EXPECT_EQ(result.at("ids").size(), text.size());
  const Outcome lines =
      fathom({"tokenize", "--model", *export_, "--jsonl"}, {.input = "\"a\"\n\"b\\nc\"\n"});
  ASSERT_TRUE(succeeded(lines));
  const auto results = json_lines(lines.out);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[1], (json{{"ids", {98, 10, 99}}, {"text", "b\nc"}}));
  const Outcome plain = fathom({"tokenize", "--model", *export_}, {.input = "ab"});
  EXPECT_EQ(plain.out, "97 98\n");
}

TEST_F(Contract, EnvNamesVersionsAndEngines) {
  const Outcome told = fathom({"env", "--json", "--path", run_->nvme});
  ASSERT_TRUE(succeeded(told));
  const json env = json::parse(told.out);
  EXPECT_TRUE(has(env, {"versions", "cpu", "memory", "storage", "engines"}));
  EXPECT_EQ(env.at("engines").size(), 3U);
  for (const json& engine : env.at("engines"))
    EXPECT_EQ(engine.at("works").get<bool>(), engine.at("reason").get<std::string>().empty());
}

}  // namespace
}  // namespace fathom::tools
