// SPDX-License-Identifier: Apache-2.0
//
// Trace: what ran when, in the JSON that chrome://tracing and Perfetto open.
//
// Purpose      One event per operation: computations on the lane "cpu", transfers on "nvme-read"
// and
//              "nvme-write" (queued from when they were submitted to when they were verified).
// Ownership    Holds the events until written; bounded: after `limit` events the rest is counted
// only. Threads      One thread adds. Units        Seconds of the monotonic clock in, microseconds
// from the first event out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace fathom::engine {

class Trace {
 public:
  explicit Trace(std::size_t limit = 400'000) : limit_(limit) {}

  void add(const char* lane, std::string name, double begin, double end, std::uint64_t bytes,
           std::int64_t step);
  Result<void> write(const std::string& path) const;

 private:
  struct Event {
    const char* lane;
    std::string name;
    double begin, end;
    std::uint64_t bytes;
    std::int64_t step;
  };
  std::size_t limit_, dropped_ = 0;
  std::vector<Event> events_;
};

}  // namespace fathom::engine
