// SPDX-License-Identifier: Apache-2.0
//
// Job: a request on its way through a queue, and lists of them that never allocate.
//
// Purpose      What the submitter has to know about a request besides the request itself. A JobList
//              links jobs through themselves, so that moving one between lists costs no memory.
// Ownership    A JobList owns nothing; a job is in at most one list. Its owner keeps it in place.
// Threads      None of its own: the submitter's lock or thread guards both.
// Units        Bytes, seconds on the queue's clock.
//
//   JobList waiting;
//   waiting.push_back(job);
//   while (Job* next = waiting.pop_front()) start(*next);
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "aio/queue.hpp"

namespace fathom::aio {

inline constexpr double never = std::numeric_limits<double>::infinity();

struct Job {
  Request request;
  Completion completion = {};
  std::uint64_t ticket = 0;
  double submitted = 0;      // when
  double due = never;        // when its own deadline passes
  std::uint64_t issued = 0;  // bytes given to operations
  std::uint64_t done = 0;    // bytes that operations have moved
  unsigned running = 0;      // operations not finished
  bool waiting = false;      // in the line-up
  bool alone = false;        // never merged (again)
  bool cancelled = false;    // no further I/O for it
  std::optional<Error> error = {};
  Job* next = nullptr;
  Job* previous = nullptr;
};

class JobList {
 public:
  JobList() = default;
  JobList(const JobList&) = delete;
  JobList& operator=(const JobList&) = delete;

  bool empty() const { return first_ == nullptr; }
  Job* front() const { return first_; }

  void push_back(Job& job) { link(job, last_, nullptr); }
  void push_front(Job& job) { link(job, nullptr, first_); }

  void erase(Job& job) {
    (job.previous != nullptr ? job.previous->next : first_) = job.next;
    (job.next != nullptr ? job.next->previous : last_) = job.previous;
    job.next = job.previous = nullptr;
  }

  Job* pop_front() {
    Job* job = first_;
    if (job != nullptr) erase(*job);
    return job;
  }

  // All of `other`, behind what is here.
  void append(JobList& other) {
    if (other.empty()) return;
    other.first_->previous = last_;
    (last_ != nullptr ? last_->next : first_) = other.first_;
    last_ = other.last_;
    other.first_ = other.last_ = nullptr;
  }

 private:
  void link(Job& job, Job* before, Job* behind) {
    job.previous = before;
    job.next = behind;
    (before != nullptr ? before->next : first_) = &job;
    (behind != nullptr ? behind->previous : last_) = &job;
  }

  Job* first_ = nullptr;
  Job* last_ = nullptr;
};

}  // namespace fathom::aio
