// SPDX-License-Identifier: Apache-2.0
//
// Communicator: the collectives between the ranks of a job, over threads, MPI or NCCL.
//
// Purpose      All ranks make the same calls in the same order. On the CPU a call returns when this
//              rank's part is complete; on a GPU it returns when the call is in the transport's
//              stream, in the order of the calls, and finish() waits for all of them. Code that
//              calls finish() before it lets go of a buffer is right on both.
//              Over threads and MPI a reduction has the same bits run after run: ranks are added in
//              the order 0, 1, 2 …, in fp32, and half types are rounded once, to nearest even.
//              NCCL's order is its own; it repeats for the same ranks, sizes and NCCL.
// In place     all_gather: `part` may be this rank's slice of `whole`; reduce_scatter: likewise,
// and
//              the rest of `whole` is left as it was. Other overlaps are not allowed. Over threads
//              and MPI buffers need the alignment of their element only.
// Failure      When a rank fails, stalls, dies or leaves early, every call returns the same Error,
//              which names that rank (watch.hpp says within what time). A job that failed stays
//              failed: let go of the communicator and end the process. After a failed call its
//              buffers must outlive the communicator.
// Ownership    Of the buffers: none. A communicator that goes while others still call fails them.
// Threads      Calls come from one thread at a time (the engine's network lane, or before it
//              starts); report(), status() and traffic() from any.
// Units        Counts are elements; see call.hpp for what is counted.
//
//   FATHOM_CHECK(comm.all_gather(Element::bf16, weights + comm.rank() * n, weights, n));
//   FATHOM_CHECK(comm.reduce_scatter(Element::fp32, Reduction::sum, grads, mine, n));
//   FATHOM_CHECK(comm.finish());
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "comm/call.hpp"
#include "comm/watch.hpp"

namespace fathom::comm {

class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  virtual const char* transport() const = 0;  // "threads", "mpi", "nccl"

  // whole[r * count …) = rank r's part.
  Result<void> all_gather(Element element, const void* part, void* whole, std::size_t count);
  // part = the reduction over all ranks of their whole[rank * count …).
  Result<void> reduce_scatter(Element element, Reduction reduction, const void* whole, void* part,
                              std::size_t count);
  Result<void> all_reduce(Element element, Reduction reduction, void* data, std::size_t count);
  Result<void> broadcast(Element element, void* data, std::size_t count, int root);
  Result<void> barrier();
  Result<void> finish();

  // Control messages: one text of each rank, in rank order, through the store; for set-up, not for
  // steps. Blocks. agree.hpp builds on it.
  Result<std::vector<std::string>> gather_text(std::string_view text);

  void report(const Error& error) { watch_->report(error); }
  Result<void> status() { return watch_->status(); }
  Traffic traffic() const;

 protected:
  Communicator(int rank, int size, std::unique_ptr<Watch> watch);

  Watch& watch() { return *watch_; }

  // Performs or enqueues `call`, number `number`, which is entered already; a transport that only
  // enqueues leaves it (Watch::leave, add_seconds) when it is complete.
  virtual Result<void> perform(const Call& call, std::uint64_t number) = 0;
  virtual bool completes_later() const { return false; }
  virtual Result<void> complete_all() { return {}; }

  void add_seconds(Collective collective, double seconds);

 private:
  Result<void> run(const Call& call);
  void count(const Call& call);

  int rank_, size_;
  std::unique_ptr<Watch> watch_;
  std::uint64_t texts_ = 0;
  mutable std::mutex mutex_;  // of traffic_
  Traffic traffic_;
};

}  // namespace fathom::comm
