// SPDX-License-Identifier: Apache-2.0
//
// ExchangeCommunicator: every collective out of one primitive, an exchange of bytes with all peers.
//
// Purpose      Threads and MPI share the collectives, so they have the same bits. A reduce-scatter
//              sends each peer its part and adds what the peers sent in rank order: N elements of
//              traffic and a fixed order. Large buffers travel in pieces through a staging buffer
//              that is allocated once; counts of any size are right.
// Ownership    staging_bytes(size) of host memory.
// Threads      As Communicator.
// Units        Lanes are in bytes.
//
// A transport overrides exchange(): lanes[r] says what to send to rank r and what to receive from
// it. Every rank calls it with lanes that fit the others' (what r sends p, p expects of r); a
// direction of 0 bytes is none, this rank's own lane is unused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.hpp"

namespace fathom::comm {

class ExchangeCommunicator : public Communicator {
 public:
  // Host memory of a communicator of this size; none for one rank.
  static std::size_t staging_bytes(int size);

 protected:
  ExchangeCommunicator(int rank, int size, std::unique_ptr<Watch> watch);

  struct Lane {
    const void* out = nullptr;
    std::size_t out_bytes = 0;
    void* in = nullptr;
    std::size_t in_bytes = 0;
  };
  // Returns when all of it is sent and received, or when the job has failed.
  virtual Result<void> exchange(std::span<const Lane> lanes, const Call& call,
                                std::uint64_t number) = 0;

 private:
  struct Range {
    std::size_t begin, end;  // elements
    std::size_t size() const { return end - begin; }
  };

  Result<void> perform(const Call& call, std::uint64_t number) final;
  Result<void> gather(const Call& call, std::uint64_t number);
  Result<void> scatter(const Call& call, std::uint64_t number);
  Result<void> all_reduce_block(const Call& call, std::uint64_t number, std::byte* block,
                                std::size_t count);
  Result<void> broadcast_block(const Call& call, std::uint64_t number, std::byte* block,
                               std::size_t count);
  Result<void> barrier(const Call& call, std::uint64_t number);

  Result<void> trade(const Call& call, std::uint64_t number);  // exchanges lanes_, then clears them
  std::byte* staged(int rank, std::size_t bytes) {
    return staging_.get() + bytes * rank_index(rank);
  }
  static std::size_t rank_index(int rank) { return static_cast<std::size_t>(rank); }
  Range share(int rank, std::size_t count) const;  // of a block of count elements

  std::size_t piece_ = 0;  // elements that a rank reduces at a time
  std::unique_ptr<std::byte[]> staging_;
  std::unique_ptr<float[]> scratch_;
  std::vector<Lane> lanes_;
  std::vector<const void*> parts_;
};

}  // namespace fathom::comm
