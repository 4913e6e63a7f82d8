// SPDX-License-Identifier: Apache-2.0
//
// Trace: what ran when, planned and actual, in the JSON that chrome://tracing and Perfetto open.
//
// Purpose      Two processes, "planned" and "actual", each with a lane per resource: computations
//              on "cpu", transfers on "nvme-read" and "nvme-write". Transfers that are under way at
//              the same time (from submitted to verified) take rows of their own, "nvme-read 2", …,
//              so that no lane overlaps. The planned pass is the steady one of the simulator; its
//              computations begin where those of the second actual step do (the first that is
//              steady).
// Ownership    Holds the events until written; bounded: after `limit` events the rest is counted
//              only.
// Threads      One thread adds.
// Units        Seconds of the monotonic clock in, microseconds from the first event out.
//
//   Trace trace;
//   trace.plan(plan);
//   trace.add("cpu", "forward layers.0", begin, end, 0, step);
//   FATHOM_CHECK(trace.write("trace.json"));
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "engine/plan/plan.hpp"

namespace fathom::engine {

class Trace {
 public:
  explicit Trace(std::size_t limit = 400'000) : limit_(limit) {}

  // What ran. `lane` is the name of a Resource and outlives the trace.
  void add(const char* lane, std::string name, double begin, double end, std::uint64_t bytes,
           std::int64_t step);
  // What was planned: one steady pass of the plan.
  void plan(const Plan& plan);

  std::string json() const;
  Result<void> write(const std::string& path) const;

 private:
  struct Event {
    const char* lane;
    std::string name;
    double begin, end;
    std::uint64_t bytes;
    std::int64_t step;  // 0: of the plan
  };
  double planned_origin() const;

  std::size_t limit_, dropped_ = 0;
  std::vector<Event> events_, planned_;
};

}  // namespace fathom::engine
