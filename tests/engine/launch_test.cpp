// SPDX-License-Identifier: Apache-2.0
//
// Hostfiles, filters, and the command lines of the launchers.
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "engine/launch/command.hpp"

namespace fathom::engine {
namespace {

std::string text_of(const Result<Hosts>& hosts) {
  if (!hosts) return hosts.error().message();
  std::vector<std::string> entries;
  for (const Host& host : *hosts)
    entries.push_back(fmt::format("{}:{}", host.name, fmt::join(host.slots, ",")));
  return fmt::format("{}", fmt::join(entries, " "));
}

Hosts three() { return {{"a", {0, 1, 2}}, {"b", {0, 1}}, {"c", {0, 1, 2, 3}}}; }

TEST(Hostfile, IsReadInItsOrder) {
  EXPECT_EQ(text_of(parse_hostfile(
                "# the cluster\nworker-1 slots=2\n\n  worker-0\tslots=1  # old\r\n", "f")),
            "worker-1:0,1 worker-0:0");
}

TEST(Hostfile, RefusesBadLinesByNumber) {
  const struct {
    const char *text, *expected;
  } rows[] = {
      {"", "f: it names no host"},
      {"# nothing\n", "f: it names no host"},
      {"a slots=1\nb\n", "f:2: \"b\" is not NAME slots=N"},
      {"a slots=1 more\n", "f:1: "},
      {"a slot=1\n", "f:1: \"a slot=1\" is not NAME slots=N"},
      {"a slots=0\n", "slots=0 is not a number of slots"},
      {"a slots=-1\n", "slots=-1 is not a number of slots"},
      {"a slots=two\n", "slots=two is not a number of slots"},
      {"a slots=99999999999\n", "is not a number of slots"},
      {"a slots=1\nb slots=1\na slots=2\n", "f:3: host a is there twice"},
      {"a:b slots=1\n", "a:b is no host name"},
  };
  for (const auto& row : rows) {
    const Result<Hosts> hosts = parse_hostfile(row.text, "f");
    EXPECT_FALSE(hosts) << row.text;
    EXPECT_NE(text_of(hosts).find(row.expected), std::string::npos)
        << row.text << ": " << text_of(hosts);
  }
}

TEST(Selection, ChoosesByNameAndNumber) {
  const struct {
    Selection selection;
    const char* expected;
  } rows[] = {
      {{}, "a:0,1,2 b:0,1 c:0,1,2,3"},           {{.include = "b"}, "b:0,1"},
      {{.include = "c:3,1@a"}, "a:0,1,2 c:1,3"},  // the hostfile's order, slots sorted
      {{.exclude = "b"}, "a:0,1,2 c:0,1,2,3"},   {{.exclude = "a:1@b:0,1"}, "a:0,2 c:0,1,2,3"},
      {{.nodes = 2}, "a:0,1,2 b:0,1"},           {{.slots = 2}, "a:0,1 b:0,1 c:0,1"},
      {{.nodes = 1, .slots = 1}, "a:0"},
  };
  for (const auto& row : rows)
    EXPECT_EQ(text_of(select_hosts(three(), row.selection)), row.expected);
}

TEST(Selection, RefusesWhatIsNotThere) {
  const struct {
    Selection selection;
    const char* expected;
  } rows[] = {
      {{.include = "d"}, "--include d: there is no host d; the hosts are a, b, c"},
      {{.include = "b:2"}, "--include b:2: host b has no slot 2; its slots are 0, 1"},
      {{.exclude = "a@x:0"}, "there is no host x"},
      {{.include = "a:"}, "its slots are not whole numbers"},
      {{.include = "a:0,0"}, "each once"},
      {{.include = "a:-1"}, "its slots are not whole numbers"},
      {{.include = "a@"}, "a host has no name"},
      {{.include = "a:0@a:1"}, "host a is named twice"},
      {{.include = "a", .exclude = "b"}, "--include and --exclude: both are given"},
      {{.include = "a", .slots = 1}, "together with --num_nodes or --num_gpus"},
      {{.exclude = "a@b@c"}, "it leaves no slot"},
      {{.nodes = 4}, "--num_nodes 4: there are 3: a, b, c"},
      {{.slots = 3}, "--num_gpus 3: host b has 2 slots"},
  };
  for (const auto& row : rows) {
    const Result<Hosts> hosts = select_hosts(three(), row.selection);
    EXPECT_FALSE(hosts);
    EXPECT_NE(text_of(hosts).find(row.expected), std::string::npos) << text_of(hosts);
    if (!hosts) {
      EXPECT_EQ(hosts.error().code(), Errc::bad_config);
    }
  }
}

TEST(Selection, ReadsVisibleDevices) {
  EXPECT_EQ(parse_slots("2,0"), (std::vector{2, 0}));
  for (const char* text : {"", "GPU-1234", "0,", "0,0", "-1"})
    EXPECT_FALSE(parse_slots(text)) << text;
}

const LaunchTools everything{.mpirun = true, .srun = true, .torchrun = true};
const std::vector<std::string> program{"/bin/fathom", "train", "--model", "my dir"};

std::string command(const LaunchRequest& request, const LaunchTools& tools = everything) {
  const auto argv = launch_command(request, tools, program);
  return argv ? shell_line(*argv) : argv.error().message();
}

const Host one{"localhost", {0}}, two{"localhost", {0, 1}};

TEST(LaunchCommand, OneProcessNeedsNoLauncher) {
  EXPECT_EQ(command({.hosts = {one}}), "/bin/fathom train --model 'my dir'");
  EXPECT_EQ(command({.hosts = {{"localhost", {3}}}, .slots_chosen = true}),
            "env CUDA_VISIBLE_DEVICES=3 /bin/fathom train --model 'my dir'");
}

TEST(LaunchCommand, MpirunGetsAContextForEachHost) {
  EXPECT_EQ(command({.hosts = {two}}),
            "mpirun --bind-to none -n 2 --host localhost:2 /bin/fathom train --model 'my dir'");
  EXPECT_EQ(command({.hosts = {two}}, {.mpirun = true, .root = true}),
            "mpirun --allow-run-as-root --bind-to none -n 2 --host localhost:2 /bin/fathom train "
            "--model 'my dir'");
  EXPECT_EQ(command({.hosts = {{"a", {0, 2}}, {"b", {1}}},
                     .local = false,
                     .slots_chosen = true,
                     .forward = {"NCCL_DEBUG"}}),
            "mpirun --bind-to none -n 2 --host a:2 -x NCCL_DEBUG env CUDA_VISIBLE_DEVICES=0,2 "
            "/bin/fathom train --model 'my dir' : -n 1 --host b:1 -x NCCL_DEBUG env "
            "CUDA_VISIBLE_DEVICES=1 /bin/fathom train --model 'my dir'");
}

TEST(LaunchCommand, SrunInsideASlurmJob) {
  const LaunchTools slurm{.mpirun = true, .srun = true, .slurm_job = true};
  EXPECT_EQ(command({.hosts = {{"a", {0, 1}}, {"b", {0, 1}}}, .local = false}, slurm),
            "srun --nodes=2 --ntasks=4 --ntasks-per-node=2 --mpi=pmix --kill-on-bad-exit=1 "
            "--nodelist=a,b /bin/fathom train --model 'my dir'");
  EXPECT_NE(command({.hosts = {{"a", {0, 1}}, {"b", {0}}}, .local = false}, slurm)
                .find("the hosts have different slots"),
            std::string::npos);
}

TEST(LaunchCommand, TorchrunStartsOneNode) {
  EXPECT_EQ(command({.hosts = {two}, .launcher = "torchrun"}),
            "torchrun --nnodes=1 --node-rank=0 --nproc-per-node=2 --master-addr=127.0.0.1 "
            "--master-port=29500 --no-python /bin/fathom train --model 'my dir'");
  EXPECT_EQ(command({.hosts = {{"a", {0, 1}}, {"b", {1, 3}}},
                     .local = false,
                     .slots_chosen = true,
                     .master_port = 9901,
                     .node_rank = 1}),
            "torchrun --nnodes=2 --node-rank=1 --nproc-per-node=2 --master-addr=a "
            "--master-port=9901 --no-python env CUDA_VISIBLE_DEVICES=1,3 /bin/fathom train --model "
            "'my dir'");
  EXPECT_EQ(command({.hosts = {two}}, {.torchrun = true}).substr(0, 8), "torchrun");
}

TEST(LaunchCommand, RefusesWhatItsLauncherCannotDo) {
  const Hosts many{{"a", {0}}, {"b", {0}}};
  const struct {
    LaunchRequest request;
    LaunchTools tools;
    const char* expected;
  } rows[] = {
      {{.hosts = {two}}, {}, "mpirun is not installed"},
      {{.hosts = many, .local = false}, {.torchrun = true}, "2 ranks on 2 hosts"},
      {{.hosts = many, .launcher = "torchrun", .local = false},
       everything,
       "it starts the ranks of one node"},
      {{.hosts = many, .local = false, .node_rank = 2},
       everything,
       "--node_rank 2: there are 2 nodes"},
      {{.hosts = many, .launcher = "mpirun", .local = false, .node_rank = 0},
       everything,
       "mpirun starts all nodes itself"},
      {{.hosts = {{"a", {0}}, {"b", {0, 1}}}, .local = false, .node_rank = 0},
       everything,
       "different numbers of slots"},
      {{.hosts = many, .launcher = "pdsh"},
       everything,
       "--launcher pdsh: there is no such launcher"},
  };
  for (const auto& row : rows) {
    const std::string text = command(row.request, row.tools);
    EXPECT_NE(text.find(row.expected), std::string::npos) << text;
  }
}

TEST(ShellLine, QuotesWhatAShellWouldRead) {
  EXPECT_EQ(shell_line({"a", "", "b c", "d'e", "$f", "g=h:1,2"}),
            "a '' 'b c' 'd'\\''e' '$f' g=h:1,2");
}

}  // namespace
}  // namespace fathom::engine
