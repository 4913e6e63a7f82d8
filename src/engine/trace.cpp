// SPDX-License-Identifier: Apache-2.0
#include "engine/trace.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/text_file.hpp"
#include "engine/plan/simulator.hpp"

namespace fathom::engine {
namespace {

using nlohmann::json;

json metadata(const char* kind, int process, int thread, json arguments) {
  return {{"ph", "M"},
          {"pid", process},
          {"tid", thread},
          {"name", kind},
          {"args", std::move(arguments)}};
}

std::size_t lane_order(const char* lane) {
  for (std::size_t i = 0; i < resource_count; ++i)
    if (std::strcmp(lane, to_string(static_cast<Resource>(i))) == 0) return i;
  return resource_count;
}

// The rows of one process: events of a lane that overlap go to different rows.
class Process {
 public:
  Process(json& out, int id, const char* name, double origin)
      : out_(out), id_(id), origin_(origin) {
    out_.push_back(metadata("process_name", id, 0, {{"name", name}}));
    out_.push_back(metadata("process_sort_index", id, 0, {{"sort_index", id}}));
  }

  template <class Events>
  void add(const Events& events, double shift) {
    std::vector<std::size_t> order(events.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return events[a].begin < events[b].begin;
    });
    for (const std::size_t i : order) {
      const auto& event = events[i];
      const int row = row_of(event.lane, event.begin, event.end);
      json arguments = {{"bytes", event.bytes}};
      if (event.step != 0) arguments["step"] = event.step;
      out_.push_back({{"ph", "X"},
                      {"pid", id_},
                      {"tid", row},
                      {"cat", event.lane},
                      {"name", event.name},
                      {"ts", (event.begin + shift - origin_) * 1e6},
                      {"dur", (event.end - event.begin) * 1e6},
                      {"args", std::move(arguments)}});
    }
  }

 private:
  static constexpr int rows_per_lane = 1000;

  // The first row of the lane that is free at `begin`; a new one, with its name, if none is.
  int row_of(const char* lane, double begin, double end) {
    const std::size_t order = lane_order(lane);
    std::vector<double>& busy = busy_until_[order];
    const auto free =
        std::find_if(busy.begin(), busy.end(), [&](double until) { return until <= begin; });
    const auto index = static_cast<std::size_t>(free - busy.begin());
    const int row = static_cast<int>(order) * rows_per_lane + static_cast<int>(index) + 1;
    if (free == busy.end()) {
      busy.push_back(end);
      const std::string name =
          index == 0 ? std::string(lane) : std::string(lane) + " " + std::to_string(index + 1);
      out_.push_back(metadata("thread_name", id_, row, {{"name", name}}));
      out_.push_back(metadata("thread_sort_index", id_, row, {{"sort_index", row}}));
    } else {
      *free = end;
    }
    return row;
  }

  json& out_;
  int id_;
  double origin_;
  std::map<std::size_t, std::vector<double>> busy_until_;  // by lane, each row's last end
};

}  // namespace

void Trace::add(const char* lane, std::string name, double begin, double end, std::uint64_t bytes,
                std::int64_t step) {
  if (events_.size() >= limit_) {
    ++dropped_;
    return;
  }
  events_.push_back({lane, std::move(name), begin, end, bytes, step});
}

void Trace::plan(const Plan& plan) {
  std::vector<std::string> names;
  for (const models::UnitSpec& unit : plan.input.model.units) names.push_back(unit.name);
  const std::vector<OpTimes> times = simulate(plan.steady, plan.input.rates).times;
  planned_.clear();
  for (OpId id = 0; id < times.size(); ++id) {
    const Op& op = plan.steady.ops[id];
    planned_.push_back(
        {to_string(op.resource), label(op, names), times[id].begin, times[id].end, op.bytes, 0});
  }
}

// Where the computations of the second step begin; of the first, when there is one only.
double Trace::planned_origin() const {
  std::optional<std::int64_t> first;
  double begin = 0, second = 0;
  bool second_found = false;
  for (const Event& event : events_) {
    if (std::strcmp(event.lane, to_string(Resource::cpu)) != 0) continue;
    if (!first) {
      first = event.step;
      begin = event.begin;
    } else if (!second_found && event.step > *first) {
      second = event.begin;
      second_found = true;
    }
  }
  return second_found ? second : begin;
}

std::string Trace::json() const {
  const double shift = planned_origin();
  std::optional<double> origin;
  const auto earlier = [&](double begin) { origin = std::min(origin.value_or(begin), begin); };
  for (const Event& event : events_) earlier(event.begin);
  for (const Event& event : planned_) earlier(event.begin + shift);
  nlohmann::json out = nlohmann::json::array();
  if (!planned_.empty()) Process(out, 1, "planned", origin.value_or(0)).add(planned_, shift);
  Process(out, 2, "actual", origin.value_or(0)).add(events_, 0);
  return nlohmann::json({{"traceEvents", std::move(out)},
                         {"displayTimeUnit", "ms"},
                         {"otherData", {{"dropped_events", dropped_}}}})
      .dump();
}

Result<void> Trace::write(const std::string& path) const { return write_text_file(path, json()); }

}  // namespace fathom::engine
