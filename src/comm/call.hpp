// SPDX-License-Identifier: Apache-2.0
//
// Call: one collective as a value, and Traffic: what the collectives of a rank have moved.
//
// Purpose      The one thing a transport has to perform. Counts follow ZeRO's convention, whatever
//              the transport does underneath: a gather or a scatter moves the whole buffer (ranks ×
//              part), an all-reduce is a reduce-scatter and a gather (2 × count), a broadcast moves
//              count. A training step at stage 3 is then 3N elements: two gathers of the weights
//              and one reduce-scatter of the gradients. One rank alone moves nothing.
// Ownership    A Call points at the caller's buffers.
// Threads      Plain values.
// Units        Counts are elements, sizes bytes, times seconds.
//
//   describe(call) -> "all_gather of 1024 bf16 from each rank"
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "comm/element.hpp"

namespace fathom::comm {

// `texts` is Communicator::gather_text: control messages, no data.
enum class Collective : std::uint8_t {
  all_gather,
  reduce_scatter,
  all_reduce,
  broadcast,
  barrier,
  texts
};
inline constexpr std::size_t collectives = 6;

const char* to_string(Collective collective);

struct Call {
  Collective collective = Collective::barrier;
  Element element = Element::bytes;
  Reduction reduction = Reduction::sum;
  const void* in = nullptr;
  void* out = nullptr;
  std::size_t count = 0;  // of one part (gather, scatter), of the whole buffer (the others)
  int root = 0;           // broadcast
};

std::string describe(const Call& call);

// Elements that `call` moves among `ranks`, by the convention above.
std::uint64_t elements_moved(const Call& call, int ranks);

struct Traffic {
  struct Count {
    std::uint64_t calls = 0, elements = 0, bytes = 0;
    double seconds = 0;  // from issuing to completion, waiting for slower ranks included
  };
  std::array<Count, collectives> of;

  Count& operator[](Collective collective) { return of[static_cast<std::size_t>(collective)]; }
  const Count& operator[](Collective collective) const {
    return of[static_cast<std::size_t>(collective)];
  }
  Count total() const;
};

}  // namespace fathom::comm
