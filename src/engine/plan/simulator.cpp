// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/simulator.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <utility>

#include "base/assert.hpp"

namespace fathom::engine {

double op_seconds(const Op& op, const Rates& rates) {
  const auto bytes = static_cast<double>(op.bytes);
  switch (op.resource) {
    case Resource::nvme_read: return bytes / rates.read;
    case Resource::nvme_write: return bytes / rates.write;
    case Resource::h2d: return bytes / rates.h2d;
    case Resource::d2h: return bytes / rates.d2h;
    case Resource::network: return bytes / rates.network;
    case Resource::cpu:
    case Resource::device: break;
  }
  const bool update = op.kind == OpKind::update;
  if (op.resource == Resource::device)
    return op.flops / rates.flops +
           op.elements / (update ? rates.device_update : rates.device_convert);
  return op.flops / rates.flops + op.elements / (update ? rates.update : rates.convert);
}

namespace {

constexpr std::uint32_t least_passes = 3, most_passes = 8;
constexpr double same = 1e-6;  // relative: two passes that take the same time

// Simulates pass after pass. An instance is (pass, operation) as pass × count + operation; only the
// counts of the passes that can be open are kept.
class Run {
 public:
  Run(const StepProgram& program, const Rates& rates)
      : program_(program), rates_(rates), count_(program.ops.size()) {
    seconds_.reserve(count_);
    for (const Op& op : program.ops) seconds_.push_back(op_seconds(op, rates));
    has_streams_ = std::ranges::any_of(program.ops, &Op::on_stream);
    link();
    for (auto& left : unmet_) left.resize(count_);
    for (auto& times : times_) times.resize(count_);
  }

  Simulation run() {
    std::vector<double> ends;  // of the engine's passes
    begin_pass();
    for (;;) {
      if (engine_at_ == count_ && idle_streams()) {
        ends.push_back(now_);
        const std::size_t n = ends.size();
        if (n == most_passes) break;
        if (n >= least_passes && settled(ends)) break;
        begin_pass();
      }
      if (!step()) break;
    }
    FATHOM_ASSERT(ends.size() >= least_passes, "a program can be run in list order");
    Simulation result;
    const std::size_t n = ends.size();
    // The first pass fills what later ones find filled.
    result.seconds = settled(ends) ? ends[n - 1] - ends[n - 2]
                                   : (ends[n - 1] - ends[1]) / static_cast<double>(n - 2);
    finish_writes();
    result.times = std::move(times_[(begun_ - 1) % open_passes]);
    // A pass begins with its first computation, which may have had to wait for a read.
    double origin = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < count_; ++i)
      if (!program_.ops[i].is_transfer()) origin = std::min(origin, result.times[i].begin);
    for (OpTimes& t : result.times) {
      t.begin -= origin;
      t.end -= origin;
    }
    for (std::size_t i = 0; i < count_; ++i)
      result.busy[static_cast<std::size_t>(program_.ops[i].resource)] += seconds_[i];
    return result;
  }

 private:
  static constexpr std::size_t idle = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t open_passes = 2;

  struct Edge {
    OpId target = 0;
    std::uint32_t lag = 0;
  };
  struct Unmet {
    std::uint32_t host = 0;    // operations of nvme and cpu
    std::uint32_t stream = 0;  // operations of streams
    std::uint32_t all() const { return host + stream; }
  };
  struct Server {
    std::size_t current = idle;
    double left = 0;  // seconds at full rate
    double begun = 0, free_since = -1;
  };
  struct Stream : Server {
    std::vector<std::size_t> queue;
    std::size_t next = 0;
  };
  struct Transfers : Server {
    std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> waiting;
  };

  static bool settled(const std::vector<double>& ends) {
    const std::size_t n = ends.size();
    if (n < least_passes) return false;
    const double last = ends[n - 1] - ends[n - 2], before = ends[n - 2] - ends[n - 3];
    return std::abs(last - before) <= same * last;
  }

  void link() {
    first_edge_.assign(count_ + 1, 0);
    for (const Op& op : program_.ops)
      for (const swap::Dependency& d : op.after) ++first_edge_[d.node + 1];
    for (std::size_t i = 0; i < count_; ++i) first_edge_[i + 1] += first_edge_[i];
    edges_.resize(first_edge_[count_]);
    std::vector<std::uint32_t> at(first_edge_.begin(), first_edge_.end() - 1);
    for (OpId id = 0; id < count_; ++id)
      for (const swap::Dependency& d : program_.ops[id].after) edges_[at[d.node]++] = {id, d.lag};
  }

  Unmet& unmet(std::size_t instance) {
    return unmet_[(instance / count_) % open_passes][instance % count_];
  }
  const Op& op(std::size_t instance) const { return program_.ops[instance % count_]; }
  // Without a device the engine thread itself gathers and reduces.
  bool is_stream(const Op& o) const {
    return o.on_stream() || (o.resource == Resource::network && has_streams_);
  }
  Stream& stream(Resource resource) {
    switch (resource) {
      case Resource::h2d: return h2d_;
      case Resource::d2h: return d2h_;
      case Resource::network: return network_;
      default: return device_;
    }
  }
  bool idle_streams() const {
    for (const Stream* s : {&device_, &h2d_, &d2h_, &network_})
      if (s->current != idle || s->next < s->queue.size()) return false;
    return cpu_.current == idle;
  }

  // The engine begins a pass; transfers of the one after it may run ahead once the one before is
  // over.
  void begin_pass() {
    ++begun_;
    engine_at_ = 0;
    for (Stream* s : {&device_, &h2d_, &d2h_, &network_}) {
      s->queue.clear();
      s->next = 0;
    }
    open();
  }

  void open() {
    while (opened_ <= begun_ && (opened_ < 2 || left_[opened_ % open_passes] == 0)) {
      const std::size_t pass = opened_++;
      auto& counts = unmet_[pass % open_passes];
      left_[pass % open_passes] = count_;
      const auto& before = done_[(pass + 1) % open_passes];
      auto& done = done_[pass % open_passes];
      done.assign(count_, false);
      for (OpId id = 0; id < count_; ++id) {
        Unmet& u = counts[id];
        u = {};
        for (const swap::Dependency& d : program_.ops[id].after) {
          if (d.lag == 1 && (pass == 0 || before[d.node])) continue;
          ++(is_stream(program_.ops[d.node]) ? u.stream : u.host);
        }
        if (u.all() == 0) ready(pass * count_ + id);
      }
    }
  }

  void ready(std::size_t instance) {
    if (op(instance).resource == Resource::nvme_read) read_.waiting.push(instance);
    if (op(instance).resource == Resource::nvme_write) write_.waiting.push(instance);
  }

  void begin(Server& server, std::size_t instance, double extra) {
    server.current = instance;
    server.left = seconds_[instance % count_] + extra;
    server.begun = now_;
  }

  void start_transfer(Transfers& server) {
    if (server.current != idle || server.waiting.empty()) return;
    const std::size_t instance = server.waiting.top();
    server.waiting.pop();
    // A queue that was never empty hides the latency of its requests.
    begin(server, instance, server.free_since < now_ ? rates_.latency : 0);
  }

  void start_stream(Stream& s) {
    if (s.current != idle || s.next == s.queue.size()) return;
    const std::size_t instance = s.queue[s.next];
    if (unmet(instance).all() != 0) return;
    ++s.next;
    begin(s, instance, op(instance).is_copy() ? rates_.copy_latency : 0);
  }

  // The engine thread goes on until it computes, waits, or is at the end of the pass.
  void walk() {
    if (cpu_.current != idle) return;
    for (; engine_at_ < count_; ++engine_at_) {
      const std::size_t instance = (begun_ - 1) * count_ + engine_at_;
      const Op& o = op(instance);
      if (o.is_transfer()) continue;
      if (opened_ < begun_) return;
      const Unmet& u = unmet(instance);
      if (is_stream(o)) {
        if (u.host != 0) return;
        stream(o.resource).queue.push_back(instance);
        continue;
      }
      if (u.all() != 0) return;
      begin(cpu_, instance, 0);
      ++engine_at_;
      return;
    }
  }

  void complete(Server& server) {
    const std::size_t instance = std::exchange(server.current, idle);
    server.free_since = now_;
    const std::size_t pass = instance / count_, id = instance % count_;
    times_[pass % open_passes][id] = {server.begun, now_};
    done_[pass % open_passes][id] = true;
    const bool streamed = is_stream(program_.ops[id]);
    for (std::uint32_t e = first_edge_[id]; e < first_edge_[id + 1]; ++e) {
      const std::size_t target_pass = pass + edges_[e].lag;
      if (target_pass >= opened_) continue;
      const std::size_t target = target_pass * count_ + edges_[e].target;
      Unmet& u = unmet(target);
      --(streamed ? u.stream : u.host);
      if (u.all() == 0) ready(target);
    }
    if (--left_[pass % open_passes] == 0) open();
  }

  bool step() {
    walk();
    start_transfer(read_);
    start_transfer(write_);
    for (Stream* s : {&device_, &h2d_, &d2h_, &network_}) start_stream(*s);
    return advance();
  }

  bool advance() {
    const bool reading = read_.current != idle, writing = write_.current != idle;
    const double share = reading && writing ? (1 + rates_.duplex) / 2 : 1;
    const std::array<std::pair<Server*, double>, 7> servers = {{{&read_, share},
                                                                {&write_, share},
                                                                {&cpu_, 1},
                                                                {&device_, 1},
                                                                {&h2d_, 1},
                                                                {&d2h_, 1},
                                                                {&network_, 1}}};
    double next = std::numeric_limits<double>::infinity();
    for (const auto& [server, speed] : servers)
      if (server->current != idle) next = std::min(next, server->left / speed);
    if (next == std::numeric_limits<double>::infinity()) return false;
    now_ += next;
    for (const auto& [server, speed] : servers) {
      if (server->current == idle) continue;
      server->left -= next * speed;
      if (server->left <= 1e-12) complete(*server);
    }
    return true;
  }

  // Lets the writes of the last pass end, for their times.
  void finish_writes() {
    const std::size_t end = begun_ * count_;
    while (read_.current != idle || write_.current != idle || !write_.waiting.empty()) {
      // Reads ahead for a pass that does not come are of no interest, but share the disk.
      if (left_[(begun_ - 1) % open_passes] == 0) break;
      start_transfer(read_);
      start_transfer(write_);
      if (write_.current != idle && write_.current >= end) break;
      if (!advance()) break;
    }
  }

  const StepProgram& program_;
  const Rates& rates_;
  std::size_t count_;
  bool has_streams_ = false;
  std::vector<double> seconds_;
  std::vector<std::uint32_t> first_edge_;
  std::vector<Edge> edges_;
  std::array<std::vector<Unmet>, open_passes> unmet_;
  std::array<std::vector<bool>, open_passes> done_;
  std::array<std::size_t, open_passes> left_{};
  std::size_t begun_ = 0, opened_ = 0, engine_at_ = 0;
  Transfers read_, write_;
  Server cpu_;
  Stream device_, h2d_, d2h_, network_;
  double now_ = 0;
  std::array<std::vector<OpTimes>, open_passes> times_;
};

}  // namespace

Simulation simulate(const StepProgram& program, const Rates& rates) {
  if (program.ops.empty()) return {};
  return Run(program, rates).run();
}

}  // namespace fathom::engine
