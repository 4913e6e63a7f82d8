// SPDX-License-Identifier: Apache-2.0
//
// Which rank a process is, by launcher; and what is refused.
#include "comm/place.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace fathom::comm {
namespace {

struct Row {
  const char* name;
  Environment variables;
  const char* expected;  // launcher rank/world local master:port, or a part of the error
};

std::string text_of(const Result<Place>& place) {
  if (!place) return place.error().message();
  return std::string(to_string(place->launcher)) + " " + std::to_string(place->rank) + "/" +
         std::to_string(place->world) + " " + std::to_string(place->local_rank) + " " +
         place->master + ":" + std::to_string(place->port) +
         (place->store_is_served ? " served " + place->attempt : "");
}

const std::vector<Row>& good() {
  static const std::vector<Row> rows{
      {"nothing is set", {}, "no launcher 0/1 0 :29500"},
      {"torchrun",
       {{"RANK", "5"},
        {"WORLD_SIZE", "8"},
        {"LOCAL_RANK", "1"},
        {"LOCAL_WORLD_SIZE", "4"},
        {"MASTER_ADDR", "node1"},
        {"MASTER_PORT", "1234"}},
       "torchrun 5/8 1 node1:1234"},
      {"torchrun that serves the store",
       {{"RANK", "0"},
        {"WORLD_SIZE", "2"},
        {"MASTER_ADDR", "node1"},
        {"TORCHELASTIC_USE_AGENT_STORE", "True"},
        {"TORCHELASTIC_RESTART_COUNT", "3"}},
       "torchrun 0/2 0 node1:29500 served 3"},
      {"a notebook sets everything by hand",
       {{"RANK", "0"},
        {"WORLD_SIZE", "1"},
        {"LOCAL_RANK", "0"},
        {"MASTER_ADDR", "localhost"},
        {"MASTER_PORT", "9994"}},
       "torchrun 0/1 0 localhost:9994"},
      {"one rank needs no master", {{"RANK", "0"}, {"WORLD_SIZE", "1"}}, "torchrun 0/1 0 :29500"},
      {"an empty variable is unset",
       {{"RANK", ""}, {"WORLD_SIZE", ""}},
       "no launcher 0/1 0 :29500"},
      {"Open MPI",
       {{"OMPI_COMM_WORLD_RANK", "2"},
        {"OMPI_COMM_WORLD_SIZE", "4"},
        {"OMPI_COMM_WORLD_LOCAL_RANK", "0"}},
       "Open MPI 2/4 0 :29500"},
      {"SLURM",
       {{"SLURM_STEP_ID", "0"},
        {"SLURM_PROCID", "3"},
        {"SLURM_NTASKS", "4"},
        {"SLURM_LOCALID", "1"},
        {"SLURM_JOB_NODELIST", "gpu[07-09],login"}},
       "SLURM 3/4 1 gpu07:29500"},
      {"MASTER_ADDR wins over SLURM's list",
       {{"SLURM_STEP_ID", "0"},
        {"SLURM_PROCID", "3"},
        {"SLURM_NTASKS", "4"},
        {"SLURM_JOB_NODELIST", "a,b"},
        {"MASTER_ADDR", "b"},
        {"MASTER_PORT", "7"}},
       "SLURM 3/4 0 b:7"},
      {"a batch script is one process",
       {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_NODELIST", "a"}},
       "no launcher 0/1 0 :29500"},
      {"mpirun inside a SLURM job",
       {{"SLURM_STEP_ID", "0"},
        {"SLURM_PROCID", "1"},
        {"SLURM_NTASKS", "2"},
        {"SLURM_JOB_NODELIST", "a,b"},
        {"OMPI_COMM_WORLD_RANK", "6"},
        {"OMPI_COMM_WORLD_SIZE", "8"}},
       "Open MPI 6/8 0 :29500"},
      {"torchrun once a node by srun",
       {{"SLURM_STEP_ID", "0"},
        {"SLURM_PROCID", "1"},
        {"SLURM_NTASKS", "2"},
        {"TORCHELASTIC_RUN_ID", "x"},
        {"RANK", "1"},
        {"WORLD_SIZE", "2"},
        {"MASTER_ADDR", "a"}},
       "torchrun 1/2 0 a:29500"},
      {"torchrun once a node by mpirun",
       {{"OMPI_COMM_WORLD_RANK", "1"},
        {"OMPI_COMM_WORLD_SIZE", "2"},
        {"TORCHELASTIC_RUN_ID", "x"},
        {"RANK", "9"},
        {"WORLD_SIZE", "16"},
        {"MASTER_ADDR", "a"}},
       "torchrun 9/16 0 a:29500"},
      {"both say the same",
       {{"OMPI_COMM_WORLD_RANK", "1"},
        {"OMPI_COMM_WORLD_SIZE", "2"},
        {"RANK", "1"},
        {"WORLD_SIZE", "2"},
        {"MASTER_ADDR", "a"}},
       "Open MPI 1/2 0 a:29500"},
  };
  return rows;
}

const std::vector<Row>& bad() {
  static const std::vector<Row> rows{
      {"half a pair", {{"RANK", "0"}}, "RANK: RANK is set and WORLD_SIZE is not"},
      {"the other half", {{"OMPI_COMM_WORLD_SIZE", "2"}}, "OMPI_COMM_WORLD_RANK is not"},
      {"no number", {{"RANK", "one"}, {"WORLD_SIZE", "2"}}, "RANK=one: it is not a whole number"},
      {"a negative rank", {{"RANK", "-1"}, {"WORLD_SIZE", "2"}}, "RANK=-1"},
      {"no ranks", {{"RANK", "0"}, {"WORLD_SIZE", "0"}}, "WORLD_SIZE=0"},
      {"too many", {{"RANK", "2"}, {"WORLD_SIZE", "2"}}, "RANK=2: WORLD_SIZE=2 has ranks 0 to 1"},
      {"too many on this machine",
       {{"RANK", "0"}, {"WORLD_SIZE", "8"}, {"LOCAL_RANK", "4"}, {"LOCAL_WORLD_SIZE", "4"}},
       "LOCAL_RANK=4: LOCAL_WORLD_SIZE=4 has local ranks 0 to 3"},
      {"no master", {{"RANK", "0"}, {"WORLD_SIZE", "2"}}, "MASTER_ADDR: it is not set"},
      {"a port that is none",
       {{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "70000"}},
       "MASTER_PORT=70000"},
      {"ranks contradict each other",
       {{"RANK", "0"},
        {"WORLD_SIZE", "2"},
        {"MASTER_ADDR", "a"},
        {"OMPI_COMM_WORLD_RANK", "1"},
        {"OMPI_COMM_WORLD_SIZE", "2"}},
       "RANK=0, WORLD_SIZE=2: Open MPI says otherwise: OMPI_COMM_WORLD_RANK=1, "
       "OMPI_COMM_WORLD_SIZE=2"},
      {"worlds contradict each other",
       {{"RANK", "0"},
        {"WORLD_SIZE", "1"},
        {"OMPI_COMM_WORLD_RANK", "0"},
        {"OMPI_COMM_WORLD_SIZE", "2"}},
       "WORLD_SIZE=1: Open MPI says otherwise"},
      {"srun says another rank",
       {{"RANK", "0"},
        {"WORLD_SIZE", "2"},
        {"MASTER_ADDR", "a"},
        {"SLURM_STEP_ID", "0"},
        {"SLURM_PROCID", "1"},
        {"SLURM_NTASKS", "2"}},
       "SLURM says otherwise: SLURM_PROCID=1"},
      {"no list of hosts",
       {{"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "2"}},
       "SLURM_JOB_NODELIST: it is not set"},
  };
  return rows;
}

TEST(Place, IsFoundForEachLauncher) {
  for (const Row& row : good())
    EXPECT_EQ(text_of(place_of(row.variables)), row.expected) << row.name;
}

TEST(Place, RefusesWhatContradictsItself) {
  for (const Row& row : bad()) {
    const Result<Place> place = place_of(row.variables);
    EXPECT_FALSE(place) << row.name;
    EXPECT_NE(text_of(place).find(row.expected), std::string::npos)
        << row.name << ": " << text_of(place);
    if (!place) {
      EXPECT_EQ(place.error().code(), Errc::bad_config) << row.name;
    }
  }
}

TEST(Hosts, ExpandSlurmsShorthand) {
  const auto hosts = expand_hosts("n[08-10,3],login,r[1-2]-ib");
  ASSERT_TRUE(hosts) << hosts.error().message();
  EXPECT_EQ(*hosts,
            (std::vector<std::string>{"n08", "n09", "n10", "n3", "login", "r1-ib", "r2-ib"}));
  for (const char* broken :
       {"", "a,,b", "n[1", "n1]", "n[2-1]", "n[a-b]", "n[1-2]x[3]", "n[1-999999]"})
    EXPECT_FALSE(expand_hosts(broken)) << broken;
}

TEST(Environment, ShowsThisProcess) {
  ::setenv("FATHOM_TEST_VARIABLE", "a=b", 1);
  ::setenv("FATHOM_TEST_EMPTY", "", 1);
  const Environment variables = process_environment();
  ASSERT_NE(find(variables, "FATHOM_TEST_VARIABLE"), nullptr);
  EXPECT_EQ(*find(variables, "FATHOM_TEST_VARIABLE"), "a=b");
  EXPECT_EQ(find(variables, "FATHOM_TEST_EMPTY"), nullptr);
}

}  // namespace
}  // namespace fathom::comm
