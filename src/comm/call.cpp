// SPDX-License-Identifier: Apache-2.0
#include "comm/call.hpp"

#include <fmt/format.h>

namespace fathom::comm {

const char* to_string(Collective collective) {
  switch (collective) {
    case Collective::all_gather: return "all_gather";
    case Collective::reduce_scatter: return "reduce_scatter";
    case Collective::all_reduce: return "all_reduce";
    case Collective::broadcast: return "broadcast";
    case Collective::barrier: return "barrier";
    case Collective::texts: return "gather_text";
  }
  return "unknown";
}

std::string describe(const Call& call) {
  const char* name = to_string(call.collective);
  const char* element = to_string(call.element);
  const char* reduction = call.reduction == Reduction::sum ? "sum" : "max";
  switch (call.collective) {
    case Collective::all_gather:
      return fmt::format("{} of {} {} from each rank", name, call.count, element);
    case Collective::reduce_scatter:
      return fmt::format("{} ({}) of {} {} for each rank", name, reduction, call.count, element);
    case Collective::all_reduce:
      return fmt::format("{} ({}) of {} {}", name, reduction, call.count, element);
    case Collective::broadcast:
      return fmt::format("{} of {} {} from rank {}", name, call.count, element, call.root);
    case Collective::barrier:
    case Collective::texts: return name;
  }
  return name;
}

std::uint64_t elements_moved(const Call& call, int ranks) {
  if (ranks == 1) return 0;
  const std::uint64_t count = call.count;
  switch (call.collective) {
    case Collective::all_gather:
    case Collective::reduce_scatter: return count * static_cast<std::uint64_t>(ranks);
    case Collective::all_reduce: return 2 * count;
    case Collective::broadcast: return count;
    case Collective::barrier:
    case Collective::texts: return 0;
  }
  return 0;
}

Traffic::Count Traffic::total() const {
  Count sum;
  for (const Count& count : of) {
    sum.calls += count.calls;
    sum.elements += count.elements;
    sum.bytes += count.bytes;
    sum.seconds += count.seconds;
  }
  return sum;
}

}  // namespace fathom::comm
