// SPDX-License-Identifier: Apache-2.0
#include "engine/cuda/program_run.hpp"

#include <utility>

#include <nvtx3/nvToolsExt.h>

#include "base/clock.hpp"
#include "engine/transfers.hpp"

namespace fathom::engine {
namespace {

// A range in the timeline of NVIDIA's profilers; costs a pointer comparison without one.
class Range {
 public:
  explicit Range(const std::string& name) { nvtxRangePushA(name.c_str()); }
  ~Range() { nvtxRangePop(); }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
};

}  // namespace

Result<std::unique_ptr<ProgramRun>> ProgramRun::prepare(const Plan& plan, Residence& residence,
                                                        const StepProgram& program,
                                                        const Streams& streams, Trace* trace) {
  auto run = std::unique_ptr<ProgramRun>(new ProgramRun(program, streams, trace));
  const std::size_t count = program.ops.size();
  run->passed_.resize(count);
  run->started_.resize(count);
  run->host_.resize(count);
  run->told_.resize(count);
  if (trace != nullptr) {
    FATHOM_ASSIGN(run->origin_, Event::create(true));
  }
  for (OpId id = 0; id < count; ++id) {
    const Op& op = program.ops[id];
    if (!op.on_stream()) continue;
    FATHOM_ASSIGN(run->passed_[id], Event::create(trace != nullptr));
    if (trace != nullptr) {
      FATHOM_ASSIGN(run->started_[id], Event::create(true));
    }
    // An operation of the CPU stands earlier in the list, so it is done; a transfer may not be.
    for (const swap::Dependency& on : op.after)
      if (program.ops[on.node].is_transfer()) run->host_[id].push_back(on);
  }
  if (program.has_transfers())
    run->swapper_ = std::make_unique<swap::Swapper>(*residence.store(),
                                                    transfer_nodes(plan, residence, program));
  if (run->swapper_ && trace != nullptr) {
    run->log_ = std::make_unique<TransferLog>();
    run->log_->attach(*run->swapper_);
  }
  for (OpId id = 0; id < count; ++id) run->told_[id] = {run->swapper_.get(), id};
  return run;
}

Result<void> ProgramRun::pass(bool more_follow, std::int64_t step,
                              const std::vector<std::string>& names, const RunOp& run_op) {
  if (log_) log_->begin_pass(step);
  if (swapper_) swapper_->begin_pass(more_follow);
  const double begin = now_seconds();
  if (trace_ != nullptr) FATHOM_CHECK(origin_.record(streams_.of(Resource::device)));
  const Result<void> walked = walk(names, step, run_op);
  // Also after a failure: nothing may run on when the caller looks at the buffers.
  const Result<void> idle = streams_.synchronize();
  FATHOM_CHECK(walked);
  FATHOM_CHECK(idle);
  if (swapper_ && !more_follow) FATHOM_CHECK(swapper_->drain());
  if (trace_ == nullptr) return {};
  add_streams(names, step, begin);
  if (log_) log_->move_to(*trace_, program_, names);
  return {};
}

Result<void> ProgramRun::walk(const std::vector<std::string>& names, std::int64_t step,
                              const RunOp& run_op) {
  for (OpId id = 0; id < program_.ops.size(); ++id) {
    const Op& op = program_.ops[id];
    if (op.is_transfer()) continue;
    const Range range(label(op, names));
    const double begin = now_seconds();
    FATHOM_CHECK(op.on_stream() ? enqueue(id, run_op) : compute(id, run_op));
    if (trace_ != nullptr && !op.on_stream())
      trace_->add("cpu", label(op, names), begin, now_seconds(), 0, step);
  }
  return {};
}

Result<void> ProgramRun::compute(OpId id, const RunOp& run_op) {
  const Op& op = program_.ops[id];
  for (const swap::Dependency& on : op.after)
    if (on.lag == 0 && program_.ops[on.node].on_stream()) FATHOM_CHECK(passed_[on.node].wait());
  if (swapper_) FATHOM_CHECK(swapper_->wait(id));
  FATHOM_CHECK(run_op(op));
  if (swapper_) swapper_->complete(id);
  return {};
}

Result<void> ProgramRun::enqueue(OpId id, const RunOp& run_op) {
  const Op& op = program_.ops[id];
  CUstream_st* stream = streams_.of(op.resource);
  if (swapper_ && !host_[id].empty()) FATHOM_CHECK(swapper_->wait_for(host_[id]));
  for (const swap::Dependency& on : op.after) {
    const Op& other = program_.ops[on.node];
    if (on.lag == 0 && other.on_stream() && other.resource != op.resource)
      FATHOM_CHECK(passed_[on.node].hold(stream));
  }
  if (trace_ != nullptr) FATHOM_CHECK(started_[id].record(stream));
  FATHOM_CHECK(run_op(op));
  FATHOM_CHECK(passed_[id].record(stream));
  if (!swapper_) return {};
  const auto tell = [](void* argument) {
    const auto* passed = static_cast<const Passed*>(argument);
    passed->swapper->complete(passed->op);
  };
  return streams_.tell(op.resource, passed_[id], tell, &told_[id]);
}

void ProgramRun::add_streams(const std::vector<std::string>& names, std::int64_t step,
                             double begin) const {
  for (OpId id = 0; id < program_.ops.size(); ++id) {
    const Op& op = program_.ops[id];
    if (!op.on_stream()) continue;
    trace_->add(to_string(op.resource), label(op, names),
                begin + started_[id].seconds_since(origin_),
                begin + passed_[id].seconds_since(origin_), op.bytes, step);
  }
}

Result<void> ProgramRun::drain() { return swapper_ ? swapper_->drain() : Result<void>{}; }

double ProgramRun::stalled_seconds() const { return swapper_ ? swapper_->stalled_seconds() : 0; }

StepBytes ProgramRun::planned() const {
  return {.nvme_read = program_.bytes(Resource::nvme_read),
          .nvme_write = program_.bytes(Resource::nvme_write),
          .h2d = program_.bytes(Resource::h2d),
          .d2h = program_.bytes(Resource::d2h)};
}

StepBytes ProgramRun::bytes() const {
  StepBytes bytes = transferred(program_, swapper_.get());
  for (const Op& op : program_.ops) {
    if (op.resource == Resource::h2d) bytes.h2d += op.bytes;
    if (op.resource == Resource::d2h) bytes.d2h += op.bytes;
  }
  return bytes;
}

}  // namespace fathom::engine
