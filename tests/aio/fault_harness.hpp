// SPDX-License-Identifier: Apache-2.0
//
// FaultHarness: one engine under a FaultyBackend under a queue, and a mixed workload that judges
// it.
//
// Purpose      The engine is set up once and serves any number of runs with other rules, because
//              closing a libaio context costs tens of milliseconds. Nothing of a run may show in
//              the next one, which is checked along the way.
// Threads      One.
//
//   FaultHarness harness(engine);
//   if (!harness.reason().empty()) GTEST_SKIP() << harness.reason();
//   const Outcome outcome = harness.run({{.fault = Fault::busy, .at = 3}});
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "aio/engines.hpp"
#include "aio/faulty_backend.hpp"
#include "scratch_directory.hpp"
#include "transfers.hpp"

namespace fathom::aio {

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count - 1;  // the iterator's own
}

// The error names the direction, the file, and an offset that lies inside the request.
inline bool names_its_place(const Error& error, const Request& request) {
  const std::string text = error.message();
  const std::string start =
      std::string(request.direction == Direction::read ? "read: " : "write: ") +
      request.file->path() + " at ";
  if (!text.starts_with(start)) return false;
  unsigned long long offset = 0, want = 0;
  if (std::sscanf(text.c_str() + start.size(), "%llu, want %llu bytes", &offset, &want) != 2)
    return false;
  return offset >= request.offset && offset + want <= request.offset + request.bytes;
}

struct Outcome {
  unsigned failed = 0;   // requests that ended in an error
  unsigned wrong = 0;    // reads that succeeded with other bytes than were last written
  unsigned unnamed = 0;  // errors that do not name their place
  unsigned touched = 0;  // write buffers that were changed, or bytes behind a read buffer
  std::uint64_t operations = 0, struck = 0, retries = 0;
  std::set<Errc> codes;
  std::string first_error;
};

class FaultHarness {
 public:
  static constexpr std::uint64_t block = 16 * KiB, piece = 40 * KiB;  // two and a half blocks
  static constexpr unsigned pieces = 3, depth = 4;                    // pieces per file

  explicit FaultHarness(Engine engine) {
    auto inner = make_backend(engine, depth);
    if (!inner) {
      reason_ = inner.error().message();
      return;
    }
    for (Place& place : places_) {
      place.out = Block(piece);
      place.in = Block(piece + io_alignment);  // with a guard behind it
    }
    for (File& file : files_) {
      auto created = File::create_scratch(directory_.path(), pieces * piece);
      if (!created) {
        reason_ = created.error().message();
        return;
      }
      file = std::move(*created);
    }
    auto faulty = std::make_unique<FaultyBackend>(std::move(*inner), std::vector<FaultRule>{});
    faults_ = faulty.get();
    queue_ = Queue::over(std::move(faulty), {.block_size = block, .queue_depth = depth});
  }

  const std::string& reason() const { return reason_; }  // why it cannot be used; empty when it can
  Queue& queue() { return *queue_; }
  FaultyBackend& faults() { return *faults_; }
  const File& file(unsigned index) const { return files_.at(index); }

  // Writes both files, reads the first while it writes the second again, and reads the second.
  Outcome run(std::vector<FaultRule> rules) {
    Outcome outcome;
    const bool hangs =
        std::ranges::any_of(rules, [](const FaultRule& rule) { return rule.fault == Fault::hang; });
    const std::uint64_t retries = queue_->counters().retries;
    faults_->set_rules(std::move(rules));
    for (unsigned phase = 0; phase < 3; ++phase) {
      for (unsigned i = 0; i < places_.size(); ++i) {
        const bool first_file = i < pieces;
        if (phase == 0 || (phase == 1 && !first_file)) begin_write(i);
        if ((phase == 1) == first_file && phase > 0) begin_read(i);
      }
      if (hangs) faults_->release();
      for (Place& place : places_) settle(place, outcome);
      // All slots must be there again: a leaked one would show as an operation that never starts.
    }
    outcome.operations = faults_->operations();
    outcome.struck = faults_->struck();
    outcome.retries = queue_->counters().retries - retries;
    return outcome;
  }

  // Whether the queue still has `depth` operations in flight when it has more to do: a slot that a
  // failure kept would be missing.
  bool has_all_slots() {
    faults_->set_rules({{.fault = Fault::hang, .at = 1, .for_ever = true}});
    std::vector<Block> blocks;
    std::vector<std::future<Result<void>>> pending;
    for (unsigned i = 0; i < 2 * depth; ++i) blocks.emplace_back(io_alignment);
    for (const Block& target : blocks)
      pending.push_back(start(*queue_, request_of(Direction::read, files_[0], 0, target)));
    // Bounded, because a missing slot would be waited for in vain.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (faults_->operations() < depth && std::chrono::steady_clock::now() < end)
      std::this_thread::yield();
    const bool all = faults_->operations() == depth;
    faults_->release();
    for (auto& done : pending) done.get();
    faults_->set_rules({});
    return all;
  }

 private:
  struct Place {
    Block out{io_alignment}, in{io_alignment};
    std::optional<std::uint64_t> written;  // the seed of what the file holds, when that is known
    std::uint64_t seed = 0;
    Request request;
    std::future<Result<void>> pending;
  };
  static constexpr int guard = 0xA5;

  Request make_request(Direction direction, unsigned index, const Block& buffer) const {
    return {.direction = direction,
            .priority = static_cast<Priority>(index % priority_count),
            .file = &files_[index / pieces],
            .offset = index % pieces * piece,
            .buffer = buffer.data(),
            .bytes = piece};
  }
  void begin_write(unsigned index) {
    Place& place = places_[index];
    place.out.fill(place.seed = ++seeds_);
    place.written.reset();
    place.request = make_request(Direction::write, index, place.out);
    place.pending = start(*queue_, place.request);
  }
  void begin_read(unsigned index) {
    Place& place = places_[index];
    std::memset(place.in.data(), guard, place.in.size());
    place.request = make_request(Direction::read, index, place.in);
    place.pending = start(*queue_, place.request);
  }
  void settle(Place& place, Outcome& outcome) {
    if (!place.pending.valid()) return;
    const Result<void> done = place.pending.get();
    if (!done) {
      ++outcome.failed;
      outcome.codes.insert(done.error().code());
      if (outcome.first_error.empty()) outcome.first_error = done.error().message();
      outcome.unnamed += !names_its_place(done.error(), place.request);
    }
    Block expected(piece);
    if (place.request.direction == Direction::write) {
      expected.fill(place.seed);
      outcome.touched += !(place.out == expected);
      if (done) place.written = place.seed;
      return;
    }
    const std::byte* behind = place.in.data() + piece;
    outcome.touched += std::any_of(behind, behind + io_alignment,
                                   [](std::byte value) { return value != std::byte{guard}; });
    if (!done || !place.written) return;
    expected.fill(*place.written);
    outcome.wrong += std::memcmp(place.in.data(), expected.data(), piece) != 0;
  }

  std::string reason_;
  ScratchDirectory directory_;
  std::array<File, 2> files_;
  std::array<Place, 2 * pieces> places_;
  FaultyBackend* faults_ = nullptr;
  std::unique_ptr<Queue> queue_;
  std::uint64_t seeds_ = 0;
};

}  // namespace fathom::aio
