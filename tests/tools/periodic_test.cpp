// SPDX-License-Identifier: Apache-2.0
//
// Checkpoints and evaluations in the middle of a run: what they leave, and that they change
// nothing.
#include <algorithm>
#include <filesystem>

#include "program.hpp"

namespace fathom::tools {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> steps_in(const std::string& out) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(out))
    if (entry.path().filename().string().starts_with("step-"))
      names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

std::string named(const std::string& out, const char* file) {
  const std::string text = read_file(out + "/" + file);
  return text.substr(0, text.find('\n'));
}

// What each step computed; nothing that depends on time.
std::vector<json> numbers(const Training& run) {
  std::vector<json> values;
  for (const json& line : json_lines(read_file(run.metrics())))
    values.push_back({line.at("step"), line.at("loss"), line.at("lr"), line.at("grad_norm")});
  return values;
}

json report_of(const Training& run) { return json::parse(read_file(run.out + "/report.json")); }

// A run of `run`'s job in directories of its own.
Training apart(Training run, const Arguments& more = {}) {
  run.out = new_scratch_name("out");
  run.nvme = new_scratch_directory("nvme");
  for (const char* offload : {"offload_param", "offload_optimizer"})
    run.config["zero_optimization"][offload]["nvme_path"] = run.nvme;
  run.more = more;
  return run;
}

// 43 windows of 33 tokens and some: the last sweep is not full.
const std::string& held_out() {
  static const std::string path =
      scratch_file("held_out.txt", read_file(words()).substr(700, 43 * 33 + 7));
  return path;
}

class Periodic : public testing::TestWithParam<double> {
 protected:
  Periodic() { run_.config["gradient_clipping"] = GetParam(); }
  Training run_{.steps = 7};
};

TEST_P(Periodic, CheckpointsStayAsManyAsAskedForAndChangeNothing) {
  run_.more = {"--save-every", "2", "--keep-last", "2"};
  ASSERT_TRUE(succeeded(fathom(run_.arguments())));
  EXPECT_EQ(steps_in(run_.out), (std::vector<std::string>{"step-00000006", "step-00000007"}));
  EXPECT_EQ(named(run_.out, "latest"), "step-00000007");
  EXPECT_EQ(report_of(run_).at("checkpoints").at("count"), 4);
  EXPECT_TRUE(files_in(run_.nvme).empty());

  const Training plain = apart(run_);
  ASSERT_TRUE(succeeded(fathom(plain.arguments())));
  EXPECT_EQ(steps_in(plain.out), (std::vector<std::string>{"step-00000007"}));
  EXPECT_TRUE(state_of(run_.out) == state_of(plain.out));
  EXPECT_EQ(numbers(run_), numbers(plain));
}

TEST_P(Periodic, AnyOfThemIsWhereARunGoesOnAtAnyPlacementWithTheSameBits) {
  run_.more = {"--save-every", "2", "--keep-last", "9", "--shuffle"};
  ASSERT_TRUE(succeeded(fathom(run_.arguments())));
  ASSERT_EQ(steps_in(run_.out).size(), 4U);

  // On another disk with another budget, from the directory of another run.
  Training elsewhere = apart(run_, {"--shuffle", "--resume-from", run_.out + "/step-00000004"});
  elsewhere.config["fathom"]["host_memory"] = "9MiB";
  ASSERT_TRUE(succeeded(fathom(elsewhere.arguments())));
  EXPECT_TRUE(state_of(elsewhere.out) == state_of(run_.out));
  const auto all = numbers(run_);
  EXPECT_EQ(numbers(elsewhere), std::vector<json>(all.begin() + 4, all.end()));

  // In memory alone, in chunks of another size.
  Training in_memory = apart(run_, {"--shuffle", "--resume-from", run_.out + "/step-00000002"});
  in_memory.config["zero_optimization"] = {{"stage", 3}, {"sub_group_size", 16384}};
  in_memory.config["fathom"].erase("host_memory");
  ASSERT_TRUE(succeeded(fathom(in_memory.arguments())));
  EXPECT_TRUE(state_of(in_memory.out) == state_of(run_.out));

  // In its own directory: steps that it takes again replace the others.
  const auto wanted = state_of(run_.out);
  run_.more = {"--shuffle", "--keep-last", "9", "--resume-from", run_.out + "/step-00000002"};
  run_.steps = 3;
  ASSERT_TRUE(succeeded(fathom(run_.arguments())));
  EXPECT_EQ(steps_in(run_.out), (std::vector<std::string>{"step-00000002", "step-00000003"}));
  run_.steps = 7;
  run_.more = {"--shuffle", "--resume"};
  ASSERT_TRUE(succeeded(fathom(run_.arguments())));
  EXPECT_TRUE(state_of(run_.out) == wanted);
}

TEST_P(Periodic, EvaluationChangesNothingAndSaysWhatEvalSays) {
  run_.config.erase("bf16");  // so that an exported model has every bit
  run_.config["fathom"]["host_memory"] = "9MiB";
  run_.steps = 6;
  run_.more = {"--save-every", "3",        "--keep-last",  "9",
               "--eval-data",  held_out(), "--eval-every", "3"};
  ASSERT_TRUE(succeeded(fathom(run_.arguments())));
  const Training plain = apart(run_);
  ASSERT_TRUE(succeeded(fathom(plain.arguments())));
  EXPECT_TRUE(state_of(run_.out) == state_of(plain.out));
  EXPECT_EQ(numbers(run_), numbers(plain));

  const auto lines = json_lines(read_file(run_.metrics()));
  ASSERT_EQ(lines.size(), 6U);
  for (const json& line : lines)
    EXPECT_EQ(line.contains("eval_loss"), line.at("step").get<int>() % 3 == 0) << line;
  const json evaluations = report_of(run_).at("evaluations");
  ASSERT_EQ(evaluations.at("all").size(), 2U);
  for (const int step : {3, 6}) {
    const Outcome done =
        fathom(Arguments{"eval", "--json", "--model",
                         exported(run_.out + "/step-0000000" + std::to_string(step)), "--data",
                         held_out(), "--seq-len", std::to_string(run_.length)} +
               fixed_rates());
    ASSERT_TRUE(succeeded(done));
    const json wanted = json::parse(done.out);
    const json& got = lines.at(static_cast<std::size_t>(step) - 1);
    EXPECT_EQ(got.at("eval_tokens"), wanted.at("tokens"));
    EXPECT_NEAR(got.at("eval_loss").get<double>(), wanted.at("loss").get<double>(), 1e-6) << step;
    EXPECT_NEAR(evaluations.at("all").at(static_cast<std::size_t>(step / 3 - 1)).at("loss"),
                wanted.at("loss").get<double>(), 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Clipping, Periodic, testing::Values(0.0, 0.5),
                         [](const auto& tested) { return tested.param == 0 ? "Eager" : "Lazy"; });

// Data on which a model soon gets worse: it learns one letter and is asked for another.
struct Overfit {
  Overfit() {
    run.data = scratch_file("a.txt", std::string(4000, 'a'));
    run.config["optimizer"]["params"]["lr"] = 3e-2;
    run.config["optimizer"]["params"]["weight_decay"] = 0;
    more = {"--eval-data",
            scratch_file("b.txt", std::string(500, 'b')),
            "--eval-every",
            "1",
            "--early-stopping-patience",
            "2",
            "--save-best",
            "--save-every",
            "1"};
    run.more = more;
    run.steps = 40;
  }
  Arguments more;
  Training run{.model = small_model()};
};

TEST(EarlyStopping, EndsTheRunKeepsTheBestAndSaysBoth) {
  Overfit job;
  const Outcome done = fathom(job.run.arguments());
  ASSERT_TRUE(succeeded(done));
  EXPECT_NE(done.err.find("stopping"), std::string::npos) << done.err;
  const json report = report_of(job.run);
  EXPECT_EQ(report.at("stopped_early"), true);
  const std::int64_t best = report.at("evaluations").at("best").at("step"),
                     step = report.at("step");
  ASSERT_LT(step, 40);
  EXPECT_EQ(step, best + 2);
  const std::string name = named(job.run.out, "best");
  EXPECT_EQ(name, "step-0000000" + std::to_string(best));
  EXPECT_EQ(steps_in(job.run.out).size(), 2U) << "the best and the last";

  // The best is exported by its tag, and is not the last.
  const auto weights = tensors_of(exported(job.run.out + "/best"));
  EXPECT_TRUE(weights == tensors_of(exported(job.run.out + "/" + name)));
  EXPECT_FALSE(weights == weights_of(job.run.out));

  job.run.more = job.more + Arguments{"--resume"};
  const Outcome again = fathom(job.run.arguments());
  ASSERT_TRUE(succeeded(again));
  EXPECT_NE(again.err.find("stopped early before"), std::string::npos) << again.err;
}

TEST(EarlyStopping, CountsOnAcrossAResume) {
  Overfit whole;
  ASSERT_TRUE(succeeded(fathom(whole.run.arguments())));
  const std::int64_t end = report_of(whole.run).at("step");
  Overfit job;
  job.run.data = whole.run.data;
  job.run.steps = static_cast<std::uint64_t>(end) - 1;
  ASSERT_TRUE(succeeded(fathom(job.run.arguments())));
  job.run.steps = 40;
  job.run.more = job.more + Arguments{"--resume"};
  ASSERT_TRUE(succeeded(fathom(job.run.arguments())));
  EXPECT_EQ(report_of(job.run).at("step"), end);
  EXPECT_EQ(named(job.run.out, "best"), named(whole.run.out, "best"));
  EXPECT_TRUE(state_of(job.run.out) == state_of(whole.run.out));
}

TEST(Evaluation, NeedsWhatItNeedsAndNamesIt) {
  const std::pair<Arguments, std::vector<std::string>> rows[] = {
      {{"--eval-every", "2"}, {"--eval-every", "--eval-data"}},
      {{"--save-best"}, {"--save-best", "--eval-data"}},
      {{"--early-stopping-patience", "2"}, {"--early-stopping-patience", "--eval-data"}},
      {{"--early-stopping-patience", "2", "--eval-data", words()}, {"--eval-every"}},
  };
  for (const auto& [more, says] : rows) {
    Training run{.model = small_model()};
    run.more = more;
    EXPECT_TRUE(refused(fathom(run.arguments()), 2, says));
    EXPECT_TRUE(left_nothing(run));
  }
  Training run{.model = small_model()};
  run.more = {"--eval-data", "/nonexistent/text"};
  EXPECT_TRUE(refused(fathom(run.arguments()), 1, {"/nonexistent/text"}));
  EXPECT_TRUE(left_nothing(run));
}

// With a durable store the newest step is the store's; directories beside it are earlier ones.
TEST(PeriodicDurable, KeepsStepsBesideItsStoreAndAnyOfThemGoesOn) {
  Training run{.steps = 5};
  run.config["gradient_clipping"] = 0.5;
  run.config["fathom"]["store"] = "durable";
  run.more = {"--save-every", "2", "--keep-last", "2"};
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  EXPECT_TRUE(fs::exists(run.out + "/store.json"));
  EXPECT_EQ(steps_in(run.out), (std::vector<std::string>{"step-00000002", "step-00000004"}));
  EXPECT_EQ(json::parse(fathom({"inspect", run.out, "--json"}).out).at("step"), 5);

  Training plain = apart(run);
  plain.config["fathom"]["store"] = "scratch";
  ASSERT_TRUE(succeeded(fathom(plain.arguments())));
  EXPECT_TRUE(weights_of(run.out) == weights_of(plain.out));

  Training other = apart(run, {"--resume-from", run.out + "/step-00000002"});
  other.config["fathom"]["store"] = "scratch";
  ASSERT_TRUE(succeeded(fathom(other.arguments())));
  EXPECT_TRUE(state_of(other.out) == state_of(plain.out));

  // Another run may begin with what the store has, and leaves it alone.
  Training next = apart(run, {"--resume-from", run.out});
  next.steps = 6;
  ASSERT_TRUE(succeeded(fathom(next.arguments())));
  EXPECT_EQ(json::parse(fathom({"inspect", run.out, "--json", "--verify"}).out).at("step"), 5);
  EXPECT_EQ(json::parse(fathom({"inspect", next.out, "--json", "--verify"}).out).at("step"), 6);
}

TEST(PeriodicDisk, ThatIsFullKeepsTheCheckpointBefore) {
  const auto mount = Mount::tmpfs("size=3M");
  FATHOM_NEEDS_MOUNT(mount);
  Training run{.model = small_model(), .steps = 6};
  run.out = mount->path() + "/out";
  run.more = {"--save-every", "2", "--keep-last", "2"};
  // 144 k parameters take 12 bytes each: one checkpoint fits, a second beside it does not.
  const Outcome done = fathom(run.arguments());
  EXPECT_EQ(done.code, 1) << done.err;
  EXPECT_NE(done.err.find("step-00000004"), std::string::npos) << done.err;
  EXPECT_EQ(named(run.out, "latest"), "step-00000002");
  EXPECT_EQ(steps_in(run.out), (std::vector<std::string>{"step-00000002"}));
  EXPECT_TRUE(succeeded(fathom({"inspect", run.out, "--verify"})));
}

TEST(Monitors, WriteWhatTheMetricsSay) {
  Training run{.model = small_model(), .steps = 3};
  const std::string logs = new_scratch_directory("logs");
  run.config["csv_monitor"] = {{"enabled", true}, {"output_path", logs}, {"job_name", "csv"}};
  run.config["tensorboard"] = {{"enabled", true}, {"output_path", logs}, {"job_name", "board"}};
  run.more = {"--eval-data", held_out(), "--eval-every", "3"};
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  const std::string text = read_file(logs + "/csv/Train_Samples_train_loss.csv");
  ASSERT_TRUE(text.starts_with("step,train_loss\n")) << text;
  std::vector<std::string> lines;
  for (std::size_t at = text.find('\n') + 1; at < text.size(); at = text.find('\n', at) + 1)
    lines.push_back(text.substr(at, text.find('\n', at) - at));
  const auto metrics = json_lines(read_file(run.metrics()));
  ASSERT_EQ(lines.size(), metrics.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    // Four samples a step.
    EXPECT_TRUE(lines[i].starts_with(std::to_string(4 * (i + 1)) + ",")) << lines[i];
    EXPECT_NEAR(std::stod(lines[i].substr(lines[i].find(',') + 1)), metrics[i].at("loss"), 1e-6);
  }
  EXPECT_TRUE(fs::exists(logs + "/csv/Train_Samples_lr.csv"));
  EXPECT_TRUE(
      read_file(logs + "/csv/Eval_Samples_eval_loss.csv").starts_with("step,eval_loss\n12,"));
  ASSERT_EQ(files_in(logs + "/board").size(), 1U);
  EXPECT_GT(files_in(logs + "/board").begin()->second.size(), 200U);
}

TEST(Instructions, AreLearnedPaddedOrJoined) {
  std::string records;
  for (int i = 0; i < 60; ++i)
    records += "{\"prompt\":\"say " + std::to_string(i) + "\",\"completion\":\"blue\"}\n";
  for (const char* pack : {"auto", "pad", "join"}) {
    Training run{.model = small_model(), .data = scratch_file("a.jsonl", records), .steps = 8};
    run.length = 16;
    run.config["optimizer"]["params"]["lr"] = 1e-2;
    run.more = {"--pack", pack, "--shuffle"};
    ASSERT_TRUE(succeeded(fathom(run.arguments()))) << pack;
    const auto lines = json_lines(read_file(run.metrics()));
    EXPECT_LT(lines.back().at("loss").get<double>(), lines.front().at("loss").get<double>() - 1)
        << pack;
    EXPECT_EQ(report_of(run).at("data").at("windows"), std::string(pack) == "join" ? 34 : 60)
        << pack;
  }
  Training run{.model = small_model(), .data = scratch_file("a.jsonl", records), .steps = 1};
  run.more = {"--pack", "eos"};
  EXPECT_TRUE(refused(fathom(run.arguments()), 2, {"--pack eos", "eos_token_id"}));
}

TEST(DropLast, LeavesOutWhatFillsNoBatch) {
  Training run{.model = small_model(), .steps = 5};
  run.data = scratch_file("nine.txt", read_file(words()).substr(0, 9 * 33));
  for (const bool drop : {false, true}) {
    Training now = apart(run);
    now.config["dataloader_drop_last"] = drop;
    ASSERT_TRUE(succeeded(fathom(now.arguments())));
    EXPECT_EQ(report_of(now).at("data").at("windows"), drop ? 8 : 9);
  }
  run.data = scratch_file("three.txt", read_file(words()).substr(0, 3 * 33));
  run.config["dataloader_drop_last"] = true;
  EXPECT_TRUE(refused(fathom(run.arguments()), 1, {"batch of 4", "dataloader_drop_last"}));
}

}  // namespace
}  // namespace fathom::tools
