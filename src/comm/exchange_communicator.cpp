// SPDX-License-Identifier: Apache-2.0
#include "comm/exchange_communicator.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/units.hpp"
#include "comm/reduce.hpp"

namespace fathom::comm {
namespace {

// All ranks' parts of a piece lie in staging at once: pieces shrink as ranks grow.
constexpr std::size_t staging_elements = 4 * MiB, least_piece = 4 * KiB;
// What needs no staging travels in pieces of this size, far below the 2^31 of MPI's counts.
constexpr std::size_t gather_bytes = 64 * MiB;

std::size_t piece_of(int size) {
  return std::max(staging_elements / static_cast<std::size_t>(size), least_piece);
}

std::byte* at(void* base, std::size_t bytes) { return static_cast<std::byte*>(base) + bytes; }
const std::byte* at(const void* base, std::size_t bytes) {
  return static_cast<const std::byte*>(base) + bytes;
}

}  // namespace

std::size_t ExchangeCommunicator::staging_bytes(int size) {
  if (size == 1) return 0;
  return (static_cast<std::size_t>(size) + 2) * piece_of(size) * sizeof(float);
}

ExchangeCommunicator::ExchangeCommunicator(int rank, int size, std::unique_ptr<Watch> watch)
    : Communicator(rank, size, std::move(watch)),
      lanes_(static_cast<std::size_t>(size)),
      parts_(static_cast<std::size_t>(size)) {
  if (size == 1) return;
  piece_ = piece_of(size);
  staging_ = std::make_unique_for_overwrite<std::byte[]>(rank_index(size) * piece_ * sizeof(float));
  scratch_ = std::make_unique_for_overwrite<float[]>(2 * piece_);
}

Result<void> ExchangeCommunicator::perform(const Call& call, std::uint64_t number) {
  const std::size_t bytes = width(call.element);
  switch (call.collective) {
    case Collective::all_gather: return gather(call, number);
    case Collective::reduce_scatter: return scatter(call, number);
    case Collective::barrier: return barrier(call, number);
    case Collective::texts: return {};
    case Collective::all_reduce:
    case Collective::broadcast: break;
  }
  if (size() == 1) return {};
  const std::size_t block = piece_ * rank_index(size());
  for (std::size_t begin = 0; begin < call.count; begin += block) {
    std::byte* data = at(call.out, begin * bytes);
    const std::size_t count = std::min(block, call.count - begin);
    FATHOM_CHECK(call.collective == Collective::broadcast
                     ? broadcast_block(call, number, data, count)
                     : all_reduce_block(call, number, data, count));
  }
  return {};
}

Result<void> ExchangeCommunicator::trade(const Call& call, std::uint64_t number) {
  FATHOM_CHECK(exchange(lanes_, call, number));
  std::ranges::fill(lanes_, Lane{});
  return {};
}

Result<void> ExchangeCommunicator::gather(const Call& call, std::uint64_t number) {
  const std::size_t part = call.count * width(call.element);
  std::byte* own = at(call.out, part * rank_index(rank()));
  if (own != call.in && part != 0) std::memcpy(own, call.in, part);
  if (size() == 1) return {};
  for (std::size_t begin = 0; begin < part; begin += gather_bytes) {
    const std::size_t bytes = std::min(gather_bytes, part - begin);
    for (int peer = 0; peer < size(); ++peer)
      lanes_[rank_index(peer)] = {.out = own + begin,
                                  .out_bytes = bytes,
                                  .in = at(call.out, part * rank_index(peer) + begin),
                                  .in_bytes = bytes};
    FATHOM_CHECK(trade(call, number));
  }
  return {};
}

Result<void> ExchangeCommunicator::scatter(const Call& call, std::uint64_t number) {
  const std::size_t element = width(call.element);
  const auto part = [&](int rank, std::size_t begin) {
    return at(call.in, (call.count * rank_index(rank) + begin) * element);
  };
  if (size() == 1) {
    if (call.in != call.out && call.count != 0)
      std::memcpy(call.out, call.in, call.count * element);
    return {};
  }
  for (std::size_t begin = 0; begin < call.count; begin += piece_) {
    const std::size_t count = std::min(piece_, call.count - begin), bytes = count * element;
    for (int peer = 0; peer < size(); ++peer) {
      lanes_[rank_index(peer)] = {.out = part(peer, begin),
                                  .out_bytes = bytes,
                                  .in = staged(peer, bytes),
                                  .in_bytes = bytes};
      parts_[rank_index(peer)] = peer == rank() ? part(peer, begin) : staged(peer, bytes);
    }
    FATHOM_CHECK(trade(call, number));
    reduce(call.element, call.reduction, parts_, at(call.out, begin * element), count,
           scratch_.get());
  }
  return {};
}

ExchangeCommunicator::Range ExchangeCommunicator::share(int rank, std::size_t count) const {
  const std::size_t each = ceil_div(count, rank_index(size()));
  return {.begin = std::min(each * rank_index(rank), count),
          .end = std::min(each * rank_index(rank + 1), count)};
}

Result<void> ExchangeCommunicator::all_reduce_block(const Call& call, std::uint64_t number,
                                                    std::byte* block, std::size_t count) {
  const std::size_t element = width(call.element);
  const Range mine = share(rank(), count);
  const std::size_t bytes = mine.size() * element;
  for (int peer = 0; peer < size(); ++peer) {
    const Range theirs = share(peer, count);
    lanes_[rank_index(peer)] = {.out = block + theirs.begin * element,
                                .out_bytes = theirs.size() * element,
                                .in = staged(peer, bytes),
                                .in_bytes = bytes};
    parts_[rank_index(peer)] = peer == rank() ? block + mine.begin * element : staged(peer, bytes);
  }
  FATHOM_CHECK(trade(call, number));
  reduce(call.element, call.reduction, parts_, block + mine.begin * element, mine.size(),
         scratch_.get());
  for (int peer = 0; peer < size(); ++peer) {
    const Range theirs = share(peer, count);
    lanes_[rank_index(peer)] = {.out = block + mine.begin * element,
                                .out_bytes = bytes,
                                .in = block + theirs.begin * element,
                                .in_bytes = theirs.size() * element};
  }
  return trade(call, number);
}

// The root hands each rank a share, then the ranks hand theirs around: the root sends the block
// twice at most, however many ranks there are.
Result<void> ExchangeCommunicator::broadcast_block(const Call& call, std::uint64_t number,
                                                   std::byte* block, std::size_t count) {
  const std::size_t element = width(call.element);
  const Range mine = share(rank(), count);
  const bool root = rank() == call.root;
  for (int peer = 0; peer < size(); ++peer) {
    const Range theirs = share(peer, count);
    Lane& lane = lanes_[rank_index(peer)];
    if (root)
      lane = {.out = block + theirs.begin * element, .out_bytes = theirs.size() * element};
    else if (peer == call.root)
      lane = {.in = block + mine.begin * element, .in_bytes = mine.size() * element};
  }
  FATHOM_CHECK(trade(call, number));
  for (int peer = 0; peer < size(); ++peer) {
    const Range theirs = share(peer, count);
    Lane& lane = lanes_[rank_index(peer)];
    if (peer != call.root) {
      lane.out = block + mine.begin * element;
      lane.out_bytes = mine.size() * element;
    }
    if (!root) {
      lane.in = block + theirs.begin * element;
      lane.in_bytes = theirs.size() * element;
    }
  }
  return trade(call, number);
}

Result<void> ExchangeCommunicator::barrier(const Call& call, std::uint64_t number) {
  if (size() == 1) return {};
  std::ranges::fill_n(staging_.get(), 1, std::byte{0});
  for (int peer = 0; peer < size(); ++peer)
    lanes_[rank_index(peer)] = {
        .out = staging_.get(), .out_bytes = 1, .in = staging_.get() + 1 + peer, .in_bytes = 1};
  return trade(call, number);
}

}  // namespace fathom::comm
