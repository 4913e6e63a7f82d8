// SPDX-License-Identifier: Apache-2.0
//
// Command lines: help, versions, and what is refused before anything is read.
#include "program.hpp"

namespace fathom::tools {
namespace {

TEST(Usage, HelpListsCommandsAndFlags) {
  const Outcome all = fathom({"--help"});
  EXPECT_TRUE(succeeded(all));
  EXPECT_EQ(all.err, "");
  for (const char* command :
       {"train", "plan", "generate", "eval", "export", "inspect", "tokenize", "launch", "env"})
    EXPECT_NE(all.out.find(command), std::string::npos) << command;
  const struct {
    const char* command;
    const char* flag;
  } cases[] = {{"train", "--resume"}, {"export", "--dtype"}};
  for (const auto& [command, flag] : cases) {
    const Outcome one = fathom({command, "--help"});
    EXPECT_TRUE(succeeded(one)) << command;
    EXPECT_NE(one.out.find(flag), std::string::npos) << one.out;
    EXPECT_EQ(one.err, "") << command;
  }
}

TEST(Usage, TheVersionIsOneLine) {
  const Outcome version = fathom({"--version"});
  EXPECT_TRUE(succeeded(version));
  EXPECT_EQ(std::count(version.out.begin(), version.out.end(), '\n'), 1);
}

TEST(Usage, AnUnknownFlagIsNamed) {
  for (const Arguments& line : {Arguments{"train", "--model", small_model(), "--out", "o"},
                                Arguments{"eval", "--model", small_model()},
                                Arguments{"inspect", "somewhere"}, Arguments{"env"}})
    EXPECT_TRUE(refused(fathom(line + Arguments{"--frobnicate"}), 2, {"--frobnicate"})) << line[0];
}

TEST(Usage, GpuDirectStorageThatIsAskedForIsReported) {
  Training run;
  run.config["aio"]["use_gds"] = true;
  const Outcome planned = fathom(run.plan_arguments());
  EXPECT_EQ(planned.code, 0) << planned.err;
  EXPECT_NE(planned.err.find("aio.use_gds: GPUDirect Storage is "), std::string::npos)
      << planned.err;
  EXPECT_NE(planned.err.find("pinned host memory"), std::string::npos) << planned.err;
}

TEST(Usage, AnUnknownCommandIsNamed) {
  EXPECT_TRUE(refused(fathom({"frobnicate"}), 2, {"frobnicate", "--help"}));
}

TEST(Usage, NoCommandAtAllIsRefused) { EXPECT_TRUE(refused(fathom({}), 2, {"subcommand"})); }

TEST(Usage, AMissingFlagIsNamed) {
  EXPECT_TRUE(refused(fathom({"train", "--out", "nowhere"}), 2, {"--model"}));
  EXPECT_TRUE(refused(fathom({"train", "--model", small_model(), "--out", new_scratch_name("out")}),
                      2, {"--data"}));
  EXPECT_TRUE(refused(fathom({"eval", "--model", small_model()}), 2, {"--data", "--input-ids"}));
}

TEST(Usage, NumbersThatAreNoneAreRefusedByName) {
  const struct {
    const char* flag;
    const char* value;
  } cases[] = {{"--steps", "-1"},  {"--seq-len", "1.5"}, {"--seed", "99999999999999999999"},
               {"--flops", "nan"}, {"--duplex", "1.5"},  {"--gradient-accumulation-steps", "0"}};
  for (const auto& [flag, value] : cases) {
    const Arguments line = {"plan", "--model", small_model(), flag, value};
    EXPECT_TRUE(refused(fathom(line), 2, {flag})) << flag << " " << value;
  }
}

TEST(Usage, SamplingFlagsOutOfRangeAreRefusedByName) {
  const struct {
    const char* flag;
    const char* value;
  } cases[] = {{"--max-new-tokens", "0"}, {"--temperature", "nan"}, {"--top-p", "1.1"}};
  for (const auto& [flag, value] : cases) {
    const Arguments line = {"generate", "--model", small_model(), "--prompt", "x", flag, value};
    EXPECT_TRUE(refused(fathom(line), 2, {flag})) << flag << " " << value;
  }
}

TEST(Usage, ADeviceThatIsNotThereIsRefused) {
  Training run{.model = small_model()};
  run.more = {"--device", "gpu"};
  EXPECT_TRUE(refused(fathom(run.arguments()), 2, {"gpu", "auto, cpu, cuda"}));
  EXPECT_TRUE(left_nothing(run));
}

TEST(Usage, SequencesLongerThanTheModelAreRefused) {
  Training run{.model = small_model(), .length = 129};
  EXPECT_TRUE(refused(fathom(run.arguments()), 2, {"--seq-len 129", "128"}));
  EXPECT_TRUE(left_nothing(run));
}

TEST(Usage, ATrainCommandLineCanBePlannedAsItIs) {
  Training run{.model = small_model()};
  run.more = {"--resume",
              "--metrics",
              run.out + "/m",
              "--report",
              run.out + "/r",
              "--trace",
              run.out + "/t",
              "--eval-data",
              words(),
              "--eval-every",
              "2",
              "--save-every",
              "2",
              "--keep-last",
              "3",
              "--save-best",
              "--pack",
              "join",
              "--early-stopping-patience",
              "2"};
  Arguments line = run.arguments();
  line.front() = "plan";
  EXPECT_TRUE(succeeded(fathom(line)));
  EXPECT_TRUE(left_nothing(run));
}

}  // namespace
}  // namespace fathom::tools
