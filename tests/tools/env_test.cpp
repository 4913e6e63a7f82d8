// SPDX-License-Identifier: Apache-2.0
//
// `fathom env`: what a bug report needs, and a reason for everything that can't be used.
#include <set>

#include "program.hpp"

namespace fathom::tools {
namespace {

TEST(Env, SaysWhyWhateverCannotBeUsed) {
  const Outcome told = fathom({"env", "--json", "--path", new_scratch_directory("env")});
  ASSERT_TRUE(succeeded(told));
  const json env = json::parse(told.out);
  for (const char* key : {"versions", "cpu", "memory", "huge_pages", "limits", "cgroup", "shm",
                          "numa", "storage", "engines", "compute", "facilities"})
    EXPECT_TRUE(env.contains(key)) << key;
  std::set<std::string> facilities;
  for (const json& facility : env.at("facilities")) {
    facilities.insert(facility.at("name"));
    const bool usable = facility.at("usable");
    EXPECT_EQ(usable, facility.at("reason").get<std::string>().empty()) << facility;
    EXPECT_EQ(usable, !facility.at("version").get<std::string>().empty()) << facility;
  }
  EXPECT_EQ(facilities, (std::set<std::string>{"cuda", "nccl", "mpi", "gds"}));
  for (const json& device : env.at("compute")) {
    EXPECT_EQ(device.at("usable").get<bool>(), device.at("reason").get<std::string>().empty());
    if (device.at("device") == "cpu") {
      EXPECT_TRUE(device.at("usable").get<bool>());
    }
  }
  EXPECT_FALSE(env.at("numa").at("nodes").empty());
}

TEST(Env, ShowsTheLimitsOfTheProcessItRunsIn) {
  // A shell lowers the limit, as a container or a job scheduler would.
  const Outcome told =
      run({"/bin/sh", "-c", "ulimit -l 64; ulimit -n 99; exec \"$0\" env --json", program()});
  ASSERT_TRUE(succeeded(told));
  const json limits = json::parse(told.out).at("limits");
  EXPECT_EQ(limits.at("memlock"), 64 * 1024);
  EXPECT_EQ(limits.at("open_files"), 99);
}

TEST(Env, TextHasALineForEach) {
  const Outcome told = fathom({"env"});
  ASSERT_TRUE(succeeded(told));
  for (const char* head :
       {"fathom ", "libtorch ", "cpu ", "memory ", "pages ", "limits ", "cgroup ", "shm ", "numa ",
        "storage ", "cuda ", "nccl ", "mpi ", "gds "})
    EXPECT_NE(("\n" + told.out).find("\n" + std::string(head)), std::string::npos) << head << "\n"
                                                                                   << told.out;
}

}  // namespace
}  // namespace fathom::tools
