// SPDX-License-Identifier: Apache-2.0
//
// The device profile: what aio_bench writes is what the planner reads.
#include "engine/plan/profile.hpp"

#include <gtest/gtest.h>

#include "report.hpp"  // of aio_bench

namespace fathom::engine {
namespace {

TEST(Profile, IsReadFromTheReportThatAioBenchMakes) {
  aio_bench::Candidate candidate;
  candidate.ratios = {1};
  candidate.samples = {{.seconds = 1, .rates = {.read = 6.9e9, .write = 5.3e9}}};
  aio_bench::Outcome outcome;
  outcome.decided = true;
  outcome.duplex = 0.31;
  outcome.rounds = {candidate};
  outcome.decision = {.chosen = 0, .best = 0, .intervals = {{1, 1, 1}}};
  const std::string report = aio_bench::report_json({}, {}, outcome).dump(2);

  const auto profile = parse_profile(report, "report.json");
  ASSERT_TRUE(profile) << profile.error().message();
  EXPECT_EQ(profile->read, 6.9e9);
  EXPECT_EQ(profile->write, 5.3e9);
  EXPECT_EQ(profile->duplex, 0.31);
}

TEST(Profile, StandsAloneTooAndMayBePartial) {
  const auto alone = parse_profile(R"({"read_bytes_per_second": 2e9, "made_by": "hand"})", "p");
  ASSERT_TRUE(alone) << alone.error().message();
  EXPECT_EQ(alone->read, 2e9);
  EXPECT_FALSE(alone->write);
  EXPECT_FALSE(alone->duplex);
  // A direction for which aio_bench had no bytes left to write.
  const auto reads = parse_profile(
      R"({"profile":{"read_bytes_per_second":2e9,"write_bytes_per_second":0,"duplex":0}})", "p");
  ASSERT_TRUE(reads);
  EXPECT_FALSE(reads->write);
  EXPECT_EQ(reads->duplex, 0.0);
}

TEST(Profile, RefusesWhatIsNoneByNameWithAioBenchAsTheRemedy) {
  for (const char* text :
       {"", "[]", "{}", "{\"profile\": 3}", "{\"aio\": {\"block_size\": 1048576}}",
        R"({"profile":{"read_bytes_per_second":-1}})",
        R"({"profile":{"read_bytes_per_second":"fast"}})",
        R"({"profile":{"read_bytes_per_second":1e9,"duplex":1.5}})",
        R"({"profile":{"read_bytes_per_second":0,"write_bytes_per_second":0}})"}) {
    const auto refused = parse_profile(text, "some/report.json");
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code(), Errc::bad_config);
    EXPECT_NE(refused.error().message().find("some/report.json"), std::string::npos);
    EXPECT_NE(refused.error().message().find("aio_bench --out"), std::string::npos);
  }
  EXPECT_EQ(read_profile("/nonexistent/report.json").error().code(), Errc::not_found);
}

}  // namespace
}  // namespace fathom::engine
