// SPDX-License-Identifier: Apache-2.0
//
// Lineup: the requests that wait, and what runs next.
//
// Purpose      One line per priority, served strictly: demand before prefetch before write-back,
//              first come first served within a line, one piece of at most a block at a time, so
//              that an urgent request overtakes a large one between its pieces. Nothing is promised
//              to a lower priority while a higher one waits: what bounds its wait is that the
//              callers' buffers are finite, and a deadline of its own if it has one.
//              A piece that ends its request is joined by whole requests near it in line that go on
//              where it ends, in the file and in memory, up to a block: one operation then serves
//              several requests.
// Ownership    Refers to jobs of the submitter from add() until they are given out whole or
//              removed.
// Threads      None of its own. Pure: no clock, no I/O.
// Units        Bytes.
//
//   lineup.add(job);
//   if (const auto draft = lineup.next(can)) { start(*draft); lineup.take(*draft); }
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "aio/bounce.hpp"
#include "aio/job.hpp"

namespace fathom::aio {

// What one operation does for one request.
struct Piece {
  Job* job = nullptr;
  std::uint64_t first = 0;  // byte of the request
  std::uint64_t bytes = 0;
};

// One operation to be: a piece, or several that lie behind one another in file and memory.
struct Draft {
  static constexpr unsigned most_pieces = 16;
  std::array<Piece, most_pieces> all;
  unsigned count = 0;
  Route route = Route::direct;
  std::uint64_t lead = 0, span = 0;  // as in Cut, of all pieces

  std::span<const Piece> pieces() const { return {all.data(), count}; }
  const Request& request() const { return all[0].job->request; }
};

class Lineup {
 public:
  explicit Lineup(std::uint64_t block) : block_(block) {}

  void add(Job& job);
  void remove(Job& job);

  // What the submitter has room for beside direct pieces.
  struct Room {
    bool bounce = true;  // a bounce buffer is free
    bool edge = true;    // no other edge is being changed
  };

  // The first in line that there is room for. Changes nothing.
  std::optional<Draft> next(const Room& room) const;
  // The draft runs: its bytes count as issued, and requests given out whole leave their line.
  void take(const Draft& draft);
  // The pieces did not do: they go back to the front, to run again one by one.
  void give_back(const Draft& draft);

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }  // requests in line

  // Visits every request in the order in which they are served; `visit` may remove the one it got.
  template <class Visit>
  void for_each(Visit visit) {
    for (JobList& line : lines_) {
      for (Job* job = line.front(); job != nullptr;) {
        Job* following = job->next;
        visit(*job);
        job = following;
      }
    }
  }

 private:
  void extend(Draft& draft) const;
  JobList& line_of(const Job& job) {
    return lines_[static_cast<std::size_t>(job.request.priority)];
  }

  const std::uint64_t block_;
  std::array<JobList, priority_count> lines_;
  std::size_t size_ = 0;
};

}  // namespace fathom::aio
