// SPDX-License-Identifier: Apache-2.0
#include "swap/swapper.hpp"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "base/assert.hpp"
#include "base/clock.hpp"
#include "swap/program.hpp"

namespace fathom::swap {

namespace {

// A node's course in one pass. A computed node goes from waiting to done.
enum class Stage : std::uint8_t { waiting, ready, submitted, done };

// One open or just finished pass. Pass p lives in slot p % 2.
struct Pass {
  std::vector<std::uint32_t> unmet;  // dependencies of each node that are not complete
  std::vector<Stage> stage;
  std::vector<std::uint8_t> demanded;  // the engine is blocked on something that needs the node
  std::vector<TransferTimes> times;
  std::size_t left = 0;  // nodes not done
};

struct Ready {
  std::uint64_t pass = 0;
  NodeId node = 0;
};

// Orders a heap so that the earliest (pass, node) is at its front.
bool later(const Ready& a, const Ready& b) {
  return a.pass != b.pass ? a.pass > b.pass : a.node > b.node;
}

}  // namespace

// Everything below is guarded by `mutex`, but for `store` and `program`, which never change.
//
// Passes are numbered from 0. `open_end` is one past the newest open pass; a pass opens when the
// engine has begun or promised it and the pass two before it, whose slot it takes, is finished.
struct Swapper::State {
  State(Store& the_store, std::vector<Node> nodes) : store(the_store), program(std::move(nodes)) {
    for (Pass& pass : passes) {
      pass.unmet.resize(program.size());
      pass.stage.resize(program.size());
      pass.demanded.resize(program.size());
      pass.times.resize(program.size());
    }
    ready.reserve(2 * program.size());
    search.reserve(2 * program.size());
  }

  Store& store;
  const Program program;
  Observer observer;  // set before the first pass begins

  std::mutex mutex;
  std::condition_variable changed;
  std::array<Pass, 2> passes;
  std::uint64_t begun = 0;         // passes the engine has begun; the current one is begun - 1
  std::uint64_t promised_end = 0;  // one past the last pass that may open
  std::uint64_t open_end = 0;
  std::uint64_t finished = 0;  // passes [0, finished) are complete
  std::vector<Ready> ready;    // heap: transfers that may be submitted
  std::vector<Ready> search;   // scratch of demand()
  std::size_t in_flight = 0;
  bool submitting = false;  // one thread at a time submits, so that the order is kept
  bool held = false;        // drained: passes after the current one wait for the next begin_pass
  bool closing = false;
  std::optional<Error> failure;
  double stalled = 0;        // seconds, of waits that are over
  double blocked_since = 0;  // when the wait under way began; 0: none is

  Pass& pass_of(std::uint64_t pass) { return passes[pass % 2]; }
  std::uint64_t current() const { return begun - 1; }

  void open_passes();
  void open(std::uint64_t pass);
  void satisfied(std::uint64_t pass, NodeId node);
  void finish_node(std::uint64_t pass, NodeId node);
  void demand(NodeId node);
  bool may_submit() const;
  void submit_ready(std::unique_lock<std::mutex>& lock);
  void transferred(std::uint64_t pass, NodeId node, Result<void> result);
};

void Swapper::State::open_passes() {
  for (;;) {
    while (finished < open_end && pass_of(finished).left == 0) ++finished;
    if (open_end >= promised_end || open_end >= finished + 2) return;
    open(open_end++);
  }
}

void Swapper::State::open(std::uint64_t number) {
  Pass& pass = pass_of(number);
  Pass& before = pass_of(number + 1);
  pass.left = program.size();
  std::ranges::fill(pass.demanded, std::uint8_t{0});
  std::ranges::fill(pass.times, TransferTimes{});
  std::ranges::fill(pass.stage, Stage::waiting);
  for (NodeId node = 0; node < program.size(); ++node) {
    std::uint32_t unmet = 0;
    for (const Dependency& on : program.after(node))
      if (on.lag == 0 || (number > 0 && before.stage[on.node] != Stage::done)) ++unmet;
    pass.unmet[node] = unmet;
    if (unmet == 0) satisfied(number, node);
  }
}

// Every dependency of the node is complete.
void Swapper::State::satisfied(std::uint64_t pass, NodeId node) {
  if (!program.transfer(node)) return;
  pass_of(pass).stage[node] = Stage::ready;
  ready.push_back({pass, node});
  std::ranges::push_heap(ready, later);
}

void Swapper::State::finish_node(std::uint64_t number, NodeId node) {
  Pass& pass = pass_of(number);
  pass.stage[node] = Stage::done;
  --pass.left;
  for (const NodeId next : program.same_pass(node))
    if (--pass.unmet[next] == 0) satisfied(number, next);
  if (number + 1 < open_end) {
    Pass& following = pass_of(number + 1);
    for (const NodeId next : program.next_pass(node))
      if (--following.unmet[next] == 0) satisfied(number + 1, next);
  }
  if (pass.left == 0) open_passes();
}

// Marks what `node` of the current pass still needs, so that reads among it overtake prefetches.
void Swapper::State::demand(NodeId node) {
  // A pass that is not open yet is asked for again when the engine wakes up and looks.
  if (open_end < begun) return;
  const auto reach = [&](std::uint64_t number, NodeId at) {
    Pass& pass = pass_of(number);
    if (pass.demanded[at] != 0 || pass.stage[at] == Stage::done) return;
    pass.demanded[at] = 1;
    search.push_back({number, at});
  };
  reach(current(), node);
  while (!search.empty()) {
    const Ready at = search.back();
    search.pop_back();
    // What is computed on a queue of its own is on its way, and what it needs was waited for.
    if (program.asynchronous(at.node) && at.node != node) continue;
    FATHOM_ASSERT(program.transfer(at.node) || (at.pass == current() && at.node == node),
                  "nothing that the engine waits for needs a node that it has yet to compute");
    for (const Dependency& on : program.after(at.node)) {
      if (on.lag == 0)
        reach(at.pass, on.node);
      else if (at.pass > finished)
        reach(at.pass - 1, on.node);
    }
  }
}

bool Swapper::State::may_submit() const {
  if (ready.empty() || failure || closing) return false;
  return !held || ready.front().pass < begun;
}

void Swapper::State::submit_ready(std::unique_lock<std::mutex>& lock) {
  if (submitting) return;
  submitting = true;
  while (may_submit()) {
    std::ranges::pop_heap(ready, later);
    const Ready next = ready.back();
    ready.pop_back();
    Pass& pass = pass_of(next.pass);
    pass.stage[next.node] = Stage::submitted;
    pass.times[next.node].submitted = now_seconds();
    ++in_flight;
    TransferRequest request = *program.transfer(next.node);
    if (request.direction == aio::Direction::write)
      request.priority = aio::Priority::write_back;
    else
      request.priority =
          pass.demanded[next.node] != 0 ? aio::Priority::demand : aio::Priority::prefetch;
    // Not under the lock: the store may take its time, and completions need the lock.
    lock.unlock();
    store.transfer(request, [this, next](Result<void> result) {
      transferred(next.pass, next.node, std::move(result));
    });
    lock.lock();
  }
  submitting = false;
  changed.notify_all();
}

void Swapper::State::transferred(std::uint64_t number, NodeId node, Result<void> result) {
  std::unique_lock lock(mutex);
  TransferTimes& times = pass_of(number).times[node];
  times.completed = now_seconds();
  if (observer) observer(number, node, times);
  if (!result) {
    if (!failure) failure = std::move(result).error();
  } else {
    finish_node(number, node);
    changed.notify_all();  // the engine need not wait until what follows is submitted
    submit_ready(lock);
  }
  // Counted down last: whoever destroys this waits for it, and nothing below touches it unlocked.
  --in_flight;
  changed.notify_all();
}

// --- the public face
// -------------------------------------------------------------------------------

Swapper::Swapper(Store& store, std::vector<Node> nodes)
    : state_(std::make_unique<State>(store, std::move(nodes))) {}

Swapper::~Swapper() {
  std::unique_lock lock(state_->mutex);
  state_->closing = true;
  state_->changed.wait(lock, [&] { return state_->in_flight == 0 && !state_->submitting; });
}

void Swapper::begin_pass(bool more_follow) {
  std::unique_lock lock(state_->mutex);
  if (state_->begun > 0 && !state_->failure) {
    const bool open = state_->open_end >= state_->begun;
    const Pass& pass = state_->pass_of(state_->current());
    for (NodeId node = 0; node < state_->program.size(); ++node)
      FATHOM_ASSERT(state_->program.transfer(node) || (open && pass.stage[node] == Stage::done),
                    "a pass begins when all nodes of the one before are computed");
  }
  ++state_->begun;
  state_->held = false;
  state_->promised_end = std::max(state_->promised_end, state_->begun + (more_follow ? 1 : 0));
  state_->open_passes();
  state_->submit_ready(lock);
}

Result<void> Swapper::wait(NodeId node) {
  std::unique_lock lock(state_->mutex);
  State& state = *state_;
  FATHOM_ASSERT(state.begun > 0, "a pass has begun");
  FATHOM_ASSERT(node < state.program.size(), "the node exists");
  const bool transfer = state.program.transfer(node) != nullptr;
  const auto met = [&] {
    if (state.failure) return true;
    if (state.open_end < state.begun) return false;
    const Pass& pass = state.pass_of(state.current());
    return transfer ? pass.stage[node] == Stage::done : pass.unmet[node] == 0;
  };
  if (!met()) {
    state.blocked_since = now_seconds();
    do {
      state.demand(node);
      state.changed.wait(lock);
    } while (!met());
    state.stalled += now_seconds() - std::exchange(state.blocked_since, 0);
  }
  if (state.failure) return fail(*state.failure);
  return {};
}

Result<void> Swapper::settle_writes(NodeId end) {
  std::unique_lock lock(state_->mutex);
  State& state = *state_;
  FATHOM_ASSERT(state.begun > 0 && end <= state.program.size(), "a pass has begun, with that node");
  const auto settled = [&] {
    if (state.failure) return true;
    // The current pass opens late when the one two before it is unfinished.
    if (state.open_end < state.begun) return false;
    const auto written = [&](const Pass& pass, NodeId until) {
      for (NodeId node = 0; node < until; ++node) {
        const TransferRequest* transfer = state.program.transfer(node);
        if (transfer != nullptr && transfer->direction == aio::Direction::write &&
            pass.stage[node] != Stage::done)
          return false;
      }
      return true;
    };
    if (state.finished < state.current() &&
        !written(state.pass_of(state.current() - 1), static_cast<NodeId>(state.program.size())))
      return false;
    return written(state.pass_of(state.current()), end);
  };
  if (!settled()) {
    state.blocked_since = now_seconds();
    do state.changed.wait(lock);
    while (!settled());
    state.stalled += now_seconds() - std::exchange(state.blocked_since, 0);
  }
  if (state.failure) return fail(*state.failure);
  return {};
}

Result<void> Swapper::wait_for(std::span<const Dependency> nodes) {
  std::unique_lock lock(state_->mutex);
  State& state = *state_;
  FATHOM_ASSERT(state.begun > 0, "a pass has begun");
  const auto done = [&](const Dependency& on) {
    if (on.lag != 0 && state.current() == 0) return true;
    const std::uint64_t number = state.current() - on.lag;
    if (number < state.finished) return true;
    return state.open_end > number && state.pass_of(number).stage[on.node] == Stage::done;
  };
  const auto met = [&] { return state.failure || std::ranges::all_of(nodes, done); };
  if (!met()) {
    state.blocked_since = now_seconds();
    do {
      for (const Dependency& on : nodes)
        if (on.lag == 0 && !done(on)) state.demand(on.node);
      state.changed.wait(lock);
    } while (!met());
    state.stalled += now_seconds() - std::exchange(state.blocked_since, 0);
  }
  if (state.failure) return fail(*state.failure);
  return {};
}

void Swapper::complete(NodeId node) {
  std::unique_lock lock(state_->mutex);
  State& state = *state_;
  FATHOM_ASSERT(state.begun > 0, "a pass has begun");
  FATHOM_ASSERT(node < state.program.size(), "the node exists");
  FATHOM_ASSERT(state.program.transfer(node) == nullptr,
                "the engine completes computed nodes only");
  if (state.failure) return;  // nothing follows from it any more
  FATHOM_ASSERT(state.open_end >= state.begun, "the pass is open");
  Pass& pass = state.pass_of(state.current());
  FATHOM_ASSERT(pass.stage[node] != Stage::done, "a node is completed once a pass");
  FATHOM_ASSERT(pass.unmet[node] == 0 || state.program.asynchronous(node),
                "a node is completed after everything it comes after");
  state.finish_node(state.current(), node);
  state.submit_ready(lock);
}

Result<void> Swapper::drain() {
  std::unique_lock lock(state_->mutex);
  State& state = *state_;
  state.held = true;
  state.submit_ready(lock);
  state.changed.wait(lock, [&] { return state.in_flight == 0 && !state.submitting; });
  if (state.failure) return fail(*state.failure);
  return {};
}

double Swapper::stalled_seconds() const {
  const std::lock_guard lock(state_->mutex);
  const double since = state_->blocked_since;
  return state_->stalled + (since > 0 ? now_seconds() - since : 0);
}

bool Swapper::due(NodeId node) const {
  const std::lock_guard lock(state_->mutex);
  FATHOM_ASSERT(node < state_->program.size(), "the node exists");
  if (state_->begun == 0 || state_->open_end < state_->begun) return false;
  return state_->pass_of(state_->current()).stage[node] != Stage::waiting;
}

TransferTimes Swapper::times(NodeId node) const {
  const std::lock_guard lock(state_->mutex);
  FATHOM_ASSERT(node < state_->program.size(), "the node exists");
  if (state_->begun == 0 || state_->open_end < state_->begun) return {};
  return state_->pass_of(state_->current()).times[node];
}

void Swapper::observe(Observer observer) {
  FATHOM_ASSERT(state_->begun == 0, "no pass has begun");
  state_->observer = std::move(observer);
}

}  // namespace fathom::swap
