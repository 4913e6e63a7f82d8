// SPDX-License-Identifier: Apache-2.0
//
// TicketBook: which requests have finished, by the order of their submission.
//
// Purpose      Finds a job by its ticket and knows up to which ticket everything has finished,
//              which is what drain() waits for. It grows to the widest span of unfinished tickets
//              and allocates nothing after that.
// Ownership    Refers to jobs of the submitter until they finish.
// Threads      None of its own: the submitter's lock guards it.
//
//   const std::uint64_t ticket = book.issue(job);
//   book.find(ticket) == &job;      // until
//   book.finish(ticket);
//   book.oldest() > ticket;         // and all before it have finished
#pragma once

#include <cstdint>
#include <vector>

#include "base/assert.hpp"

namespace fathom::aio {

struct Job;

class TicketBook {
 public:
  std::uint64_t issue(Job& job) {
    if (next_ - oldest_ == jobs_.size()) grow();
    at(next_) = &job;
    return next_++;
  }

  // Null when it has finished or was never issued.
  Job* find(std::uint64_t ticket) const {
    return ticket < oldest_ || ticket >= next_ ? nullptr : jobs_[ticket & (jobs_.size() - 1)];
  }

  void finish(std::uint64_t ticket) {
    FATHOM_ASSERT(find(ticket) != nullptr, "a ticket finishes once");
    at(ticket) = nullptr;
    while (oldest_ < next_ && at(oldest_) == nullptr) ++oldest_;
  }

  std::uint64_t oldest() const { return oldest_; }  // the first that has not finished
  std::uint64_t next() const { return next_; }      // the one that is issued next

 private:
  Job*& at(std::uint64_t ticket) { return jobs_[ticket & (jobs_.size() - 1)]; }

  void grow() {
    std::vector<Job*> larger(jobs_.size() * 2);
    for (std::uint64_t ticket = oldest_; ticket < next_; ++ticket)
      larger[ticket & (larger.size() - 1)] = at(ticket);
    jobs_.swap(larger);
  }

  std::vector<Job*> jobs_ = std::vector<Job*>(256);  // a power of two
  std::uint64_t oldest_ = 0, next_ = 0;
};

}  // namespace fathom::aio
