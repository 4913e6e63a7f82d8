// SPDX-License-Identifier: Apache-2.0
//
// fathom launch: what it hands over, to whom, and what it refuses. The parsing has its own tests
// (tests/engine/launch_test.cpp).
#include <filesystem>

#include "program.hpp"

namespace fathom::tools {
namespace {

namespace fs = std::filesystem;

// Three GPUs, whatever this machine has.
const std::map<std::string, std::string>& three_gpus() {
  static const std::map<std::string, std::string> variables{{"CUDA_VISIBLE_DEVICES", "0,1,2"}};
  return variables;
}

Outcome launch(const Arguments& arguments,
               const std::map<std::string, std::string>& variables = three_gpus()) {
  return fathom(Arguments{"launch"} + arguments, {.variables = variables});
}

TEST(Launch, PrintsTheCommandInsteadOfRunningIt) {
  const Outcome local = launch({"--launcher", "torchrun", "--num_gpus=2", "--master_port=9901",
                                "--dry-run", "train", "--model", "a b", "--num_gpus", "9"});
  EXPECT_TRUE(succeeded(local));
  // What follows the command is the command's.
  EXPECT_EQ(local.out,
            "torchrun --nnodes=1 --node-rank=0 --nproc-per-node=2 --master-addr=127.0.0.1 "
            "--master-port=9901 --no-python env CUDA_VISIBLE_DEVICES=0,1 " +
                fs::canonical(command_line({})[0]).string() +
                " train --model 'a b' --num_gpus 9\n");
  EXPECT_TRUE(succeeded(launch({"--include", "localhost:1", "--dry-run", "env"})));
}

TEST(Launch, ReadsAHostfile) {
  const std::string hosts = scratch_file("hostfile", "worker-0 slots=4\nworker-1 slots=4  # new\n");
  const Outcome all = launch({"--launcher=mpirun", "--hostfile", hosts, "--include",
                              "worker-0:1,3@worker-1", "--dry-run", "env"},
                             {{"NCCL_DEBUG", "INFO"}});
  EXPECT_TRUE(succeeded(all));
  for (const char* part : {"-n 2 --host worker-0:2", "-x NCCL_DEBUG", "CUDA_VISIBLE_DEVICES=1,3",
                           " : -n 4 --host worker-1:4", "CUDA_VISIBLE_DEVICES=0,1,2,3"})
    EXPECT_NE(all.out.find(part), std::string::npos) << part << " in " << all.out;
  const Outcome node = launch({"--hostfile", hosts, "--num_nodes", "2", "--no_ssh", "--node_rank",
                               "1", "--dry-run", "env"});
  EXPECT_NE(node.out.find("torchrun --nnodes=2 --node-rank=1 --nproc-per-node=4 "
                          "--master-addr=worker-0 --master-port=29500 --no-python"),
            std::string::npos)
      << node.out << node.err;
}

TEST(Launch, HandsOverToTheLauncher) {
  // A launcher that prints what it was given.
  const std::string folder = new_scratch_directory("path");
  write_file(folder + "/mpirun", "#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 7\n");
  fs::permissions(folder + "/mpirun", fs::perms::owner_all);
  auto variables = three_gpus();
  variables["PATH"] = folder;
  const Outcome done = launch({"--launcher", "mpirun", "tokenize", "--model", "x y"}, variables);
  EXPECT_EQ(done.code, 7) << done.err;
  EXPECT_NE(done.out.find("\n--host\nlocalhost:3\n"), std::string::npos) << done.out;
  EXPECT_NE(done.out.find("\ntokenize\n--model\nx y\n"), std::string::npos) << done.out;

  variables["PATH"] = new_scratch_directory("empty");
  EXPECT_TRUE(refused(launch({"--launcher", "mpirun", "env"}, variables), 1,
                      {"mpirun", "No such file", "--launcher"}));
}

TEST(Launch, OneProcessRunsWithoutALauncher) {
  auto variables = std::map<std::string, std::string>{{"CUDA_VISIBLE_DEVICES", "0"}};
  variables["PATH"] = "/usr/bin:/bin";  // for env
  const Outcome one = launch({"tokenize", "--help"}, variables);
  EXPECT_TRUE(succeeded(one));
  EXPECT_NE(one.out.find("--jsonl"), std::string::npos) << one.out;
}

TEST(Launch, RefusesWhatItCannotDo) {
  const std::string hosts = scratch_file("hostfile2", "a slots=2\nb slots=2\n");
  const std::string broken = scratch_file("hostfile3", "a slots=2\nb two\n");
  const struct {
    Arguments arguments;
    std::vector<std::string> says;
  } cases[] = {
      {{}, {"names no command", "fathom launch"}},
      {{"--num_gpu", "2", "env"}, {"--num_gpu", "no such flag"}},
      {{"--num_gpus", "4", "env"}, {"--num_gpus 4", "localhost has 3 slots"}},
      {{"--include", "elsewhere", "env"}, {"no host elsewhere", "localhost"}},
      {{"--hostfile", hosts, "--exclude", "b:2", "env"}, {"host b has no slot 2", "0, 1"}},
      {{"--hostfile", hosts, "--num_nodes", "3", "env"}, {"--num_nodes 3", "a, b"}},
      {{"--hostfile", broken, "env"}, {"hostfile3", ":2", "slots=N"}},
      {{"--hostfile", hosts, "--node_rank", "0", "env"}, {"--no_ssh", "--node_rank"}},
      {{"--hostfile", hosts, "--launcher", "torchrun", "env"}, {"one node", "--node_rank"}},
  };
  for (const auto& [arguments, says] : cases) EXPECT_TRUE(refused(launch(arguments), 2, says));
  EXPECT_TRUE(refused(launch({"--hostfile", "/nowhere/hosts", "env"}), 1, {"/nowhere/hosts"}));
  EXPECT_TRUE(refused(launch({"--launcher", "pdsh", "env"}), 2, {"pdsh", "mpirun"}));
}

}  // namespace
}  // namespace fathom::tools
