// SPDX-License-Identifier: Apache-2.0
//
// FaultyBackend: any backend, with the failures of real devices put in on purpose.
//
// Purpose      Every layer above must give the right bytes or a typed Error whatever a device does.
//              A rule names a fault and when it strikes: the n-th operation, once or from then on,
//              or a seeded share of all operations. Loops over n visit every operation of a
//              workload.
// Ownership    Owns the inner backend; nothing else keeps it.
// Threads      As backend.hpp; operations(), struck() and release() may be called from any thread.
//
//   auto faulty = std::make_unique<FaultyBackend>(make_posix_backend(8),
//       std::vector<FaultRule>{{.fault = Fault::device_error, .at = 3}});
//   auto queue = Queue::over(std::move(faulty), options);
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "aio/backend.hpp"

namespace fathom::aio {

enum class Fault : std::uint8_t {
  device_error,       // -EIO, nothing transferred
  no_space,           // -ENOSPC, nothing transferred
  busy,               // -EAGAIN
  interrupted,        // -EINTR
  zero,               // 0 bytes
  short_aligned,      // the first half, cut to 4096
  short_ragged,       // all but the last 100 bytes
  torn,               // write: the first half only, reported as whole
  flip_on_read,       // one bit of the buffer
  flip_before_write,  // one bit of what reaches the device
  misdirected,        // the neighbouring place in the file
  stale,              // read: what was there before the last write
  lost_write,         // reported as done, never made
  delay,              // reported after everything else in flight
  reorder,            // the batch is reported backwards
  hang,               // not answered before release()
  submit_busy,        // submit() says -EAGAIN once, the operation stays queued
};
const char* to_string(Fault fault);

struct FaultRule {
  Fault fault = Fault::device_error;
  std::uint64_t at = 0;    // the operation that is struck, counted from 1; 0: none
  bool for_ever = false;   // and all after it
  double probability = 0;  // share of the operations struck at random
  std::uint64_t seed = 1;
  std::optional<Direction> only = {};  // strikes (and counts) only reads or only writes
};

class FaultyBackend final : public Backend {
 public:
  FaultyBackend(std::unique_ptr<Backend> inner, std::vector<FaultRule> rules);
  ~FaultyBackend() override;

  // Operations seen and faults applied so far.
  std::uint64_t operations() const { return operations_.load(); }
  std::uint64_t struck() const { return struck_.load(); }
  // Lets operations that hang complete, as -ECANCELED, now and from now on.
  void release();

  Engine engine() const override { return inner_->engine(); }
  unsigned capacity() const override { return inner_->capacity(); }
  Result<void> start() override { return inner_->start(); }
  void stop() override { inner_->stop(); }
  Result<void> attach(const Arena& arena) override { return inner_->attach(arena); }
  Result<void> attach(const File& file) override { return inner_->attach(file); }
  void detach(const File& file) override { inner_->detach(file); }
  std::string describe() const override { return inner_->describe(); }
  bool prepare(const Operation& operation) override;
  int submit() override;
  int reap(std::span<Completed> out, double timeout) override;
  void wake() override { inner_->wake(); }
  void cancel() override { inner_->cancel(); }

 private:
  struct Flight {
    Operation operation;  // as the caller gave it
    std::optional<Fault> fault;
    std::vector<std::byte> copy;  // what is written, or read, in place of the caller's bytes
  };
  using Place = std::tuple<int, std::uint64_t, std::uint64_t>;  // descriptor, offset, bytes

  std::optional<Fault> choose(const Operation& operation);
  bool pass_on(const Operation& changed, Flight flight);
  void answer(const Operation& operation, std::int64_t result);
  Completed deliver(const Completed& completed);
  void remember(const Operation& operation);

  const std::unique_ptr<Backend> inner_;
  const std::vector<FaultRule> rules_;
  const bool keeps_history_;
  std::vector<std::uint64_t> seen_;  // operations per rule
  std::atomic<std::uint64_t> operations_{0}, struck_{0};
  std::atomic<bool> released_{false};
  std::map<std::uint64_t, Flight> flights_;         // in the inner backend, by id
  std::vector<Completed> answered_, held_, ready_;  // own answers, delayed ones, to deliver
  std::vector<Operation> hanging_;
  std::map<Place, std::vector<std::byte>> history_;  // contents before the last write
  bool busy_once_ = false, reorder_ = false;
};

}  // namespace fathom::aio
