// SPDX-License-Identifier: Apache-2.0
//
// FaultyBackend: any backend, with the failures of real devices put in on purpose.
//
// Purpose      Every layer above must give the right bytes or a typed Error whatever a device does.
//              Over a real engine it is also the seam that changes what the kernel reported.
//              fault_plan.hpp says which operations are struck; loops over n visit every operation
//              of a workload.
// Ownership    Owns the inner backend; nothing else keeps it. The caller's write buffers are never
//              changed: what is written in their place is a copy that lives until its completion.
// Threads      As backend.hpp; set_rules(), release() and the counters from any thread.
//
//   auto faulty = std::make_unique<FaultyBackend>(make_posix_backend(8),
//       std::vector<FaultRule>{{.fault = Fault::device_error, .at = 3}});
//   auto queue = Queue::over(std::move(faulty), options);
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "aio/backend.hpp"
#include "aio/fault_plan.hpp"

namespace fathom::aio {

class FaultyBackend final : public Backend {
 public:
  FaultyBackend(std::unique_ptr<Backend> inner, std::vector<FaultRule> rules);
  ~FaultyBackend() override;

  // Other rules from the next operation on; the counters start again, and what hangs from then on
  // waits for a release() of its own.
  void set_rules(std::vector<FaultRule> rules);

  // Operations taken and struck since the rules were set.
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
  using AlignedBytes = std::unique_ptr<std::byte, decltype(&std::free)>;
  struct Flight {
    Operation operation;  // as the caller gave it
    std::optional<Fault> fault;
    AlignedBytes copy{nullptr, &std::free};  // what is written in place of the caller's bytes
  };
  struct Held {
    Completed completed;
    std::uint64_t others;  // completions that come before it
  };
  using Block = std::pair<int, std::uint64_t>;  // descriptor, offset

  std::size_t occupied() const;
  // What the inner backend gets in place of the flight's operation; nothing when the fault needs no
  // inner operation, and then it has been answered.
  std::optional<Operation> change(Flight& flight, const FaultRule* rule);
  void remember(const Operation& operation);
  void make_stale(const Operation& operation, std::uint64_t bytes);
  void settle(const Completed& completed);
  void pass(const Completed& completed);

  const std::unique_ptr<Backend> inner_;
  std::mutex mutex_;  // guards plan_ and history_
  FaultPlan plan_;
  std::map<Block, std::vector<std::byte>> history_;  // contents before the last write
  std::atomic<std::uint64_t> operations_{0}, struck_{0};
  std::atomic<bool> released_{false};

  // The submitter thread's own.
  std::map<std::uint64_t, Flight> flights_;  // in the inner backend, by id
  std::vector<Operation> hanging_;
  std::vector<Completed> answered_, ready_, batch_;  // own answers, to deliver, the inner's
  std::vector<Held> held_;
  bool submit_busy_ = false, submit_interrupted_ = false, reap_interrupted_ = false;
};

}  // namespace fathom::aio
