// SPDX-License-Identifier: Apache-2.0
#include "aio/lineup.hpp"

#include "base/assert.hpp"

namespace fathom::aio {
namespace {

// How many requests behind the first are looked at for neighbours. Callers submit neighbours
// together, and looking costs time for every operation.
constexpr unsigned merge_window = 8;

}  // namespace

void Lineup::add(Job& job) {
  FATHOM_ASSERT(!job.waiting && job.issued < job.request.bytes, "only what has work waits");
  line_of(job).push_back(job);
  job.waiting = true;
  ++size_;
}

void Lineup::remove(Job& job) {
  FATHOM_ASSERT(job.waiting, "only what waits is removed");
  line_of(job).erase(job);
  job.waiting = false;
  --size_;
}

std::optional<Draft> Lineup::next(const Room& room) const {
  for (const JobList& line : lines_) {
    for (Job* job = line.front(); job != nullptr; job = job->next) {
      const Cut piece = cut(job->request, job->issued, block_);
      if (piece.route != Route::direct && !room.bounce) continue;
      if (piece.route == Route::edge && !room.edge) continue;
      Draft draft;
      draft.all[draft.count++] = {job, job->issued, piece.bytes};
      draft.route = piece.route;
      draft.lead = piece.lead;
      draft.span = piece.span;
      if (piece.route == Route::direct && !job->alone) extend(draft);
      return draft;
    }
  }
  return std::nullopt;
}

void Lineup::extend(Draft& draft) const {
  const Piece& begin = draft.all[0];
  if (begin.first + begin.bytes != begin.job->request.bytes) return;
  const Request& first = begin.job->request;
  Job* at = begin.job->next;
  for (unsigned seen = 0; at != nullptr && seen < merge_window; ++seen, at = at->next) {
    if (draft.count == Draft::most_pieces || draft.span >= block_) return;
    const Request& request = at->request;
    if (request.file != first.file || request.direction != first.direction || at->issued != 0 ||
        at->alone || request.bytes > block_ - draft.span ||
        request.offset != first.offset + begin.first + draft.span ||
        request.buffer != first.buffer + begin.first + draft.span)
      continue;
    const Cut piece = cut(request, 0, block_);
    if (piece.route != Route::direct || piece.bytes != request.bytes) continue;
    draft.all[draft.count++] = {at, 0, request.bytes};
    draft.span += request.bytes;
  }
}

void Lineup::take(const Draft& draft) {
  for (const Piece& piece : draft.pieces()) {
    Job& job = *piece.job;
    FATHOM_ASSERT(job.waiting && job.issued == piece.first, "pieces are taken in their order");
    job.issued += piece.bytes;
    if (job.issued == job.request.bytes) remove(job);
  }
}

void Lineup::give_back(const Draft& draft) {
  for (unsigned i = draft.count; i > 0; --i) {
    const Piece& piece = draft.all[i - 1];
    Job& job = *piece.job;
    if (job.error) continue;
    FATHOM_ASSERT(!job.waiting && job.issued == piece.first + piece.bytes,
                  "a piece that is given back ends its request");
    job.issued = piece.first;
    job.alone = true;
    line_of(job).push_front(job);
    job.waiting = true;
    ++size_;
  }
}

}  // namespace fathom::aio
