// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/simulator.hpp"

#include <algorithm>
#include <limits>
#include <queue>
#include <utility>

namespace fathom::engine {

double op_seconds(const Op& op, const Rates& rates) {
  switch (op.resource) {
    case Resource::nvme_read: return static_cast<double>(op.bytes) / rates.read;
    case Resource::nvme_write: return static_cast<double>(op.bytes) / rates.write;
    default: break;
  }
  return op.flops / rates.flops +
         op.elements / (op.kind == OpKind::update ? rates.update : rates.convert);
}

namespace {

// One simulated run of `passes` passes.
class Run {
 public:
  Run(const StepProgram& program, const Rates& rates, std::uint32_t passes)
      : program_(program),
        rates_(rates),
        count_(program.ops.size()),
        missing_(count_ * passes),
        dependents_(count_),
        passes_(passes),
        times_(count_) {
    for (OpId id = 0; id < count_; ++id)
      for (const swap::Dependency& dependency : program.ops[id].after) {
        dependents_[dependency.node].emplace_back(id, dependency.lag);
        for (std::uint32_t pass = dependency.lag; pass < passes; ++pass)
          ++missing_[pass * count_ + id];
      }
    for (OpId id = 0; id < count_; ++id) {
      if (!program.ops[id].is_transfer()) compute_.push_back(id);
      for (std::uint32_t pass = 0; pass < passes; ++pass)
        if (missing_[pass * count_ + id] == 0) ready(pass * count_ + id);
    }
    pass_end_.assign(passes, 0);
  }

  // Of the operations of the pass in the middle, which neither fills nor drains.
  std::vector<OpTimes> times() const {
    double origin = std::numeric_limits<double>::infinity();
    for (const OpId id : compute_) origin = std::min(origin, times_[id].begin);
    std::vector<OpTimes> times = times_;
    for (OpTimes& time : times) {
      time.begin -= origin;
      time.end -= origin;
    }
    return times;
  }

  // Returns the time at which each pass ended.
  const std::vector<double>& ends() {
    while (step()) {
    }
    return pass_end_;
  }

 private:
  static constexpr std::size_t idle = std::numeric_limits<std::size_t>::max();
  struct Server {
    std::size_t current = idle;
    double left = 0;  // seconds at full rate
    double began = 0;
    std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> waiting;
  };

  void ready(std::size_t instance) {
    const Op& op = program_.ops[instance % count_];
    if (op.resource == Resource::nvme_read)
      read_.waiting.push(instance);
    else if (op.resource == Resource::nvme_write)
      write_.waiting.push(instance);
  }

  void start(Server& server) {
    if (server.current != idle || server.waiting.empty()) return;
    server.current = server.waiting.top();
    server.waiting.pop();
    server.left = op_seconds(program_.ops[server.current % count_], rates_);
    server.began = now_;
  }

  void start_compute() {
    if (cpu_.current != idle || compute_.empty() || next_compute_ >= compute_.size() * passes_)
      return;
    const std::size_t pass = next_compute_ / compute_.size();
    const std::size_t instance = pass * count_ + compute_[next_compute_ % compute_.size()];
    if (missing_[instance] != 0) return;
    cpu_.current = instance;
    cpu_.left = op_seconds(program_.ops[instance % count_], rates_);
    cpu_.began = now_;
    ++next_compute_;
  }

  void complete(Server& server) {
    const std::size_t instance = std::exchange(server.current, idle);
    const std::size_t pass = instance / count_;
    pass_end_[pass] = std::max(pass_end_[pass], now_);
    if (pass == passes_ / 2) times_[instance % count_] = {server.began, now_};
    for (const auto& [dependent, lag] : dependents_[instance % count_]) {
      if (pass + lag >= passes_) continue;
      const std::size_t target = (pass + lag) * count_ + dependent;
      if (--missing_[target] == 0) ready(target);
    }
  }

  bool step() {
    start(read_);
    start(write_);
    start_compute();
    const bool reading = read_.current != idle, writing = write_.current != idle;
    const double share = reading && writing ? (1 + rates_.duplex) / 2 : 1;
    double next = std::numeric_limits<double>::infinity();
    if (reading) next = std::min(next, read_.left / share);
    if (writing) next = std::min(next, write_.left / share);
    if (cpu_.current != idle) next = std::min(next, cpu_.left);
    if (next == std::numeric_limits<double>::infinity()) return false;
    now_ += next;
    const auto advance = [&](Server& server, double speed) {
      if (server.current == idle) return;
      server.left -= next * speed;
      if (server.left <= 1e-12) complete(server);
    };
    advance(read_, share);
    advance(write_, share);
    advance(cpu_, 1);
    return true;
  }

  const StepProgram& program_;
  const Rates& rates_;
  std::size_t count_;
  std::vector<std::uint32_t> missing_;
  std::vector<std::vector<std::pair<OpId, std::uint32_t>>> dependents_;
  std::vector<OpId> compute_;
  std::size_t next_compute_ = 0;
  Server read_, write_, cpu_;
  double now_ = 0;
  std::uint32_t passes_;
  std::vector<double> pass_end_;
  std::vector<OpTimes> times_;
};

}  // namespace

Simulation simulate(const StepProgram& program, const Rates& rates) {
  Simulation result;
  if (program.ops.empty()) return result;
  for (const Op& op : program.ops)
    result.busy[static_cast<std::size_t>(op.resource)] += op_seconds(op, rates);
  // The difference of two runs leaves the filling of the first pass and the draining of the last
  // out.
  constexpr std::uint32_t few = 2, many = 6;
  const double short_run = Run(program, rates, few).ends().back();
  Run long_run(program, rates, many);
  result.seconds = (long_run.ends().back() - short_run) / (many - few);
  result.times = long_run.times();
  return result;
}

LowerBound lower_bound(const StepProgram& program, const Rates& rates) {
  double cpu = 0;
  for (const Op& op : program.ops)
    if (op.resource == Resource::cpu) cpu += op_seconds(op, rates);
  const double reading = static_cast<double>(program.bytes(Resource::nvme_read)) / rates.read;
  const double writing = static_cast<double>(program.bytes(Resource::nvme_write)) / rates.write;
  const double nvme = std::max({reading, writing, (reading + writing) / (1 + rates.duplex)});
  if (nvme > cpu) return {nvme, "nvme"};
  return {cpu, "cpu"};
}

}  // namespace fathom::engine
