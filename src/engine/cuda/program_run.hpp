// SPDX-License-Identifier: Apache-2.0
//
// ProgramRun: passes of one StepProgram over streams, CPU and store.
//
// Purpose      Walks the list once a pass and knows nothing of models: it waits for what the host
//              does, orders streams by events, lets `run_op` enqueue or compute, and tells the
//              Swapper what has passed. A pass ends with idle streams.
// Ownership    Borrows residence, program, streams and trace; owns events and the Swapper.
// Threads      One thread drives it; progress is told from a thread of the driver.
//
//   FATHOM_ASSIGN(auto run, ProgramRun::prepare(plan, residence, plan.steady, streams, trace));
//   FATHOM_CHECK(run->pass(more_follow, step, names, [&](const Op& op) { return run_op(op); }));
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/cuda/streams.hpp"
#include "engine/residence.hpp"
#include "engine/trace.hpp"
#include "engine/transfers.hpp"
#include "swap/swapper.hpp"

namespace fathom::engine {

class ProgramRun {
 public:
  static Result<std::unique_ptr<ProgramRun>> prepare(const Plan& plan, Residence& residence,
                                                     const StepProgram& program,
                                                     const Streams& streams, Trace* trace);
  ProgramRun(const ProgramRun&) = delete;
  ProgramRun& operator=(const ProgramRun&) = delete;

  using RunOp = std::function<Result<void>(const Op&)>;
  Result<void> pass(bool more_follow, std::int64_t step, const std::vector<std::string>& names,
                    const RunOp& run_op);
  Result<void> drain();

  double stalled_seconds() const;
  StepBytes bytes() const;    // of the latest pass, as its transfers and copies went
  StepBytes planned() const;  // of a pass

 private:
  // What a host function is given.
  struct Passed {
    swap::Swapper* swapper = nullptr;
    OpId op = 0;
  };
  ProgramRun(const StepProgram& program, const Streams& streams, Trace* trace)
      : program_(program), streams_(streams), trace_(trace) {}

  Result<void> walk(const std::vector<std::string>& names, std::int64_t step, const RunOp& run_op);
  Result<void> compute(OpId id, const RunOp& run_op);
  Result<void> enqueue(OpId id, const RunOp& run_op);
  void add_streams(const std::vector<std::string>& names, std::int64_t step, double begin) const;

  const StepProgram& program_;
  const Streams& streams_;
  Trace* trace_;
  std::vector<Event> started_, passed_;              // by operation; started_ only for a trace
  Event origin_;                                     // a trace's: when the pass began
  std::vector<std::vector<swap::Dependency>> host_;  // by operation: what the host does before it
  std::unique_ptr<TransferLog> log_;                 // null without a trace; outlives the swapper
  std::unique_ptr<swap::Swapper> swapper_;           // null when nothing is transferred
  std::vector<Passed> told_;                         // by operation
};

}  // namespace fathom::engine
