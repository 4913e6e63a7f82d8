// SPDX-License-Identifier: Apache-2.0
//
// The trace: two processes, a lane per resource, nothing overlaps in a lane, bytes add up.
#include "engine/trace.hpp"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "engine/model_specs.hpp"
#include "engine/plan/simulator.hpp"

namespace fathom::engine {
namespace {

using testing_specs::llama_spec;

Plan streaming_plan() {
  PlanInput input;
  input.model = llama_spec(6, 256, 1000, true);
  input.length = 64;
  input.rates = {.read = 1e9, .write = 1e9, .duplex = 0.2, .flops = 1e12};
  input.host_memory = make_plan(input)->smallest_host_memory + 2 * MiB;
  return std::move(*make_plan(input));
}

struct Lane {
  std::string process, name;
  std::vector<std::pair<double, double>> spans;
  std::uint64_t bytes = 0;
};

// Rows by (process, thread), with their names.
std::map<std::pair<int, int>, Lane> lanes_of(const nlohmann::json& trace) {
  std::map<std::pair<int, int>, Lane> lanes;
  std::map<int, std::string> processes;
  for (const nlohmann::json& event : trace.at("traceEvents")) {
    if (event.at("ph") == "M" && event.at("name") == "process_name")
      processes[event.at("pid")] = event.at("args").at("name");
    if (event.at("ph") == "M" && event.at("name") == "thread_name")
      lanes[{event.at("pid"), event.at("tid")}].name = event.at("args").at("name");
    if (event.at("ph") != "X") continue;
    Lane& lane = lanes[{event.at("pid"), event.at("tid")}];
    const double begin = event.at("ts"), length = event.at("dur");
    lane.spans.emplace_back(begin, begin + length);
    lane.bytes += event.at("args").at("bytes").get<std::uint64_t>();
  }
  for (auto& [key, lane] : lanes) lane.process = processes[key.first];
  return lanes;
}

void expect_no_overlap(const std::map<std::pair<int, int>, Lane>& lanes) {
  for (const auto& [key, lane] : lanes) {
    ASSERT_FALSE(lane.name.empty()) << "every row has a name";
    auto spans = lane.spans;
    std::sort(spans.begin(), spans.end());
    for (std::size_t i = 0; i < spans.size(); ++i) {
      EXPECT_GE(spans[i].first, -1e-6);
      if (i > 0) {
        EXPECT_GE(spans[i].first, spans[i - 1].second - 1e-3) << lane.name;
      }
    }
  }
}

std::uint64_t bytes_of(const std::map<std::pair<int, int>, Lane>& lanes, const std::string& process,
                       const std::string& resource) {
  std::uint64_t sum = 0;
  for (const auto& [key, lane] : lanes)
    if (lane.process == process && lane.name.starts_with(resource)) sum += lane.bytes;
  return sum;
}

TEST(Simulator, TimesEveryOperationOfASteadyPassAfterWhatItComesAfter) {
  const Plan plan = streaming_plan();
  const auto times = simulate(plan.steady, plan.input.rates).times;
  ASSERT_EQ(times.size(), plan.steady.ops.size());
  double first = 1e9, last = 0;
  for (OpId id = 0; id < times.size(); ++id) {
    const Op& op = plan.steady.ops[id];
    EXPECT_GE(times[id].end - times[id].begin, op_seconds(op, plan.input.rates) * (1 - 1e-9));
    for (const swap::Dependency& on : op.after)
      if (on.lag == 0) {
        EXPECT_GE(times[id].begin, times[on.node].end - 1e-9) << id;
      }
    if (op.is_transfer()) continue;
    first = std::min(first, times[id].begin);
    last = std::max(last, times[id].end);
  }
  EXPECT_EQ(first, 0) << "computing begins the pass";
  EXPECT_LE(last, plan.prediction.seconds * (1 + 1e-6)) << "a steady pass fits the prediction";
}

TEST(Trace, ShowsThePlannedPassWithItsBytes) {
  const Plan plan = streaming_plan();
  Trace trace;
  trace.plan(plan);
  const auto lanes = lanes_of(nlohmann::json::parse(trace.json()));
  expect_no_overlap(lanes);
  std::map<std::string, std::size_t> names;
  std::size_t events = 0;
  for (const auto& [key, lane] : lanes) {
    EXPECT_EQ(lane.process, "planned");
    ++names[lane.name];
    events += lane.spans.size();
  }
  EXPECT_EQ(names,
            (std::map<std::string, std::size_t>{{"cpu", 1}, {"nvme-read", 1}, {"nvme-write", 1}}))
      << "a resource serves one operation at a time";
  EXPECT_EQ(events, plan.steady.ops.size());
  EXPECT_EQ(bytes_of(lanes, "planned", "nvme-read"), plan.prediction.bytes.nvme_read);
  EXPECT_EQ(bytes_of(lanes, "planned", "nvme-write"), plan.prediction.bytes.nvme_write);
}

TEST(Trace, TransfersUnderWayTogetherTakeRowsOfTheirOwn) {
  Trace trace;
  trace.add("nvme-read", "fetch W layers.0", 10, 13, 100, 1);
  trace.add("nvme-read", "fetch W layers.1", 11, 14, 200, 1);
  trace.add("nvme-read", "fetch W layers.2", 13, 15, 400, 2);
  trace.add("cpu", "forward layers.0", 13, 14, 0, 1);
  const nlohmann::json json = nlohmann::json::parse(trace.json());
  const auto lanes = lanes_of(json);
  expect_no_overlap(lanes);
  std::map<std::string, std::size_t> events;
  for (const auto& [key, lane] : lanes) events[lane.name] = lane.spans.size();
  EXPECT_EQ(events,
            (std::map<std::string, std::size_t>{{"cpu", 1}, {"nvme-read", 2}, {"nvme-read 2", 1}}));
  EXPECT_EQ(bytes_of(lanes, "actual", "nvme-read"), 700U);
  for (const nlohmann::json& event : json.at("traceEvents"))
    if (event.at("ph") == "X" && event.at("name") == "fetch W layers.2") {
      EXPECT_EQ(event.at("args").at("step"), 2);
      EXPECT_EQ(event.at("ts"), 3e6) << "microseconds from the first event";
      EXPECT_EQ(event.at("dur"), 2e6);
    }
}

TEST(Trace, ThePlannedPassBeginsWithTheSecondStep) {
  const Plan plan = streaming_plan();
  Trace trace;
  trace.plan(plan);
  for (std::int64_t step = 1; step <= 3; ++step) {
    const double begin = 100 + static_cast<double>(step);
    trace.add("nvme-read", "fetch W layers.0", begin - 0.5, begin, 8, step);
    trace.add("cpu", "forward embed_tokens", begin, begin + 0.5, 0, step);
  }
  const nlohmann::json json = nlohmann::json::parse(trace.json());
  double planned = 1e18, second = -1;
  for (const nlohmann::json& event : json.at("traceEvents")) {
    if (event.at("ph") != "X" || event.at("cat") != "cpu") continue;
    if (event.at("pid") == 1) planned = std::min(planned, event.at("ts").get<double>());
    if (event.at("pid") == 2 && event.at("args").at("step") == 2) second = event.at("ts");
  }
  EXPECT_NEAR(planned, second, 1e-3);
  EXPECT_GT(second, 0);
}

TEST(Trace, BeyondItsLimitEventsAreCounted) {
  Trace trace(2);
  for (int i = 0; i < 5; ++i) trace.add("cpu", "x", i, i + 1, 0, 1);
  const nlohmann::json json = nlohmann::json::parse(trace.json());
  EXPECT_EQ(json.at("otherData").at("dropped_events"), 3);
}

}  // namespace
}  // namespace fathom::engine
