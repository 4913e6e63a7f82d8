// SPDX-License-Identifier: Apache-2.0
#include "engine/trace.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/text_file.hpp"

namespace fathom::engine {

void Trace::add(const char* lane, std::string name, double begin, double end, std::uint64_t bytes,
                std::int64_t step) {
  if (events_.size() >= limit_) {
    ++dropped_;
    return;
  }
  events_.push_back({lane, std::move(name), begin, end, bytes, step});
}

Result<void> Trace::write(const std::string& path) const {
  double origin = events_.empty() ? 0 : events_.front().begin;
  for (const Event& event : events_) origin = std::min(origin, event.begin);
  nlohmann::json out = nlohmann::json::array();
  std::map<std::string, int> lanes;
  for (const Event& event : events_) {
    const auto [lane, added] = lanes.emplace(event.lane, static_cast<int>(lanes.size()));
    if (added)
      out.push_back({{"ph", "M"},
                     {"pid", 0},
                     {"tid", lane->second},
                     {"name", "thread_name"},
                     {"args", {{"name", event.lane}}}});
    out.push_back({{"ph", "X"},
                   {"pid", 0},
                   {"tid", lane->second},
                   {"name", event.name},
                   {"ts", (event.begin - origin) * 1e6},
                   {"dur", (event.end - event.begin) * 1e6},
                   {"args", {{"bytes", event.bytes}, {"step", event.step}}}});
  }
  nlohmann::json document = {{"traceEvents", std::move(out)},
                             {"displayTimeUnit", "ms"},
                             {"otherData", {{"dropped_events", dropped_}}}};
  return write_text_file(path, document.dump());
}

}  // namespace fathom::engine
