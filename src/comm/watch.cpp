// SPDX-License-Identifier: Apache-2.0
#include "comm/watch.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"
#include "comm/error_text.hpp"
#include "comm/progress.hpp"

namespace fathom::comm {
namespace {

constexpr double print_seconds = 5;    // how long a failed rank waits for the others to print
constexpr double closing_look = 0.02;  // between two looks of a rank that wants to go
constexpr const char* failure_key = "failure";

std::string rank_key(int rank) { return fmt::format("rank/{}", rank); }
std::string seen_key(int rank) { return fmt::format("seen/{}", rank); }

std::chrono::duration<double> seconds(double value) { return std::chrono::duration<double>(value); }

}  // namespace

struct Watch::State {
  struct Waiting {
    Call call;
    std::uint64_t since = 0;  // beat
  };
  struct Other {
    Progress last;
    bool known = false;
    std::uint64_t silent = 0;  // beats
  };

  std::shared_ptr<Store> store;
  int rank = 0, size = 1;
  Limits limits;
  bool threaded = false;

  std::mutex mutex;
  std::condition_variable wake;
  std::uint64_t beats = 0, entered = 0, done = 0;
  std::array<Waiting, Watch::outstanding> waiting;  // of done + 1 … entered, by number
  bool closing = false, ended = false;
  double closing_at = 0;
  std::optional<Error> failure, outgoing;
  double failed_at = 0;
  std::function<void()> hook;
  std::thread thread;

  std::atomic<bool> has_failed = false, store_lost = false;
  std::atomic<double> last_beat = 0;

  std::mutex beating;  // one beat at a time
  std::vector<Other> others;

  bool processes() const { return limits.exit > 0; }
  Waiting& waiting_of(std::uint64_t number) { return waiting[number % waiting.size()]; }

  Progress snapshot() {
    const std::lock_guard lock(mutex);
    Progress mine{.beat = beats, .entered = entered, .done = done, .left = closing, .doing = {}};
    if (done < entered) mine.doing = describe(waiting_of(done + 1).call);
    return mine;
  }

  void adopt(const Error& error) {
    {
      const std::lock_guard lock(mutex);
      if (failure) return;
      failure = error;
      failed_at = now_seconds();
      has_failed = true;
    }
    wake.notify_all();
    if (!processes()) return;
    // Every rank prints why the job ends, before the first of them is gone: launchers then end all.
    log::error("rank {} stops: {}", rank, error.message());
  }

  // This rank's own error is told to the others by the beating thread: only it may wait for the
  // store, which may be gone without a sign.
  void tell_others() {
    std::optional<Error> error;
    {
      const std::lock_guard lock(mutex);
      std::swap(error, outgoing);
    }
    if (!error || store_lost) return;
    // A store that does not answer is found out by the next beat.
    [[maybe_unused]] const auto offered = store->offer(failure_key, encode_error(*error));
    say_seen();
  }

  // The first error of all ranks is everyone's.
  void propose(const Error& error) {
    const Result<std::string> winner = store->offer(failure_key, encode_error(error));
    agree_to(winner ? decode_error(*winner) : error);
  }

  void agree_to(const Error& error) {
    adopt(error);
    say_seen();
  }

  void say_seen() {
    if (!processes()) return;
    [[maybe_unused]] const auto said = store->set(seen_key(rank), "1");
  }

  void lose_store(std::string_view why) {
    store_lost = true;
    adopt(Error(Errc::cancelled, "hear from the other ranks")
              .on(store->server())
              .because(why)
              .remedy("see why the process that serves the ranks' store is gone or stopped: its "
                      "output, the kernel's log, its machine"));
  }

  // False: the store is gone.
  bool read_rank(int other) {
    const Result<std::optional<std::string>> text = store->get(rank_key(other));
    if (!text) {
      lose_store(text.error().why());
      return false;
    }
    Other& seen = others[static_cast<std::size_t>(other)];
    const std::optional<Progress> now = *text ? decode_progress(**text) : std::nullopt;
    if (!now) return true;
    seen.silent = seen.known && now->beat == seen.last.beat ? seen.silent + 1 : 0;
    seen.last = *now;
    seen.known = true;
    return true;
  }

  bool is_dead(const Other& other) const {
    return other.known && !other.last.left &&
           static_cast<double>(other.silent) * limits.beat >= limits.silence;
  }

  void look_at_others(const Progress& mine) {
    const int first = rank == 0 ? 1 : 0, last = rank == 0 ? size : 1;
    std::uint64_t newest = mine.entered;
    for (int other = first; other < last; ++other) {
      if (!read_rank(other)) return;
      newest = std::max(newest, others[static_cast<std::size_t>(other)].last.entered);
    }
    for (int other = first; other < last; ++other) {
      const Other& seen = others[static_cast<std::size_t>(other)];
      if (is_dead(seen)) return propose(dead_error(other, seen.last, limits.silence));
      if (seen.known && seen.last.left && seen.last.entered < newest)
        return propose(left_error(other, seen.last, newest));
    }
  }

  void check_arrival(const Progress& mine) {
    if (mine.done == mine.entered) return;
    const std::uint64_t number = mine.done + 1;
    Waiting oldest;
    {
      const std::lock_guard lock(mutex);
      oldest = waiting_of(number);
    }
    // One beat more than asked for: the others' records are up to a beat old.
    if (static_cast<double>(mine.beat - oldest.since) * limits.beat < limits.arrival + limits.beat)
      return;
    Board board;
    for (int other = 0; other < size; ++other) {
      if (other != rank && !read_rank(other)) return;
      const Other& seen = others[static_cast<std::size_t>(other)];
      board.push_back(other == rank ? mine : seen.known ? std::optional(seen.last) : std::nullopt);
    }
    propose(late_error(board, number, describe(oldest.call), limits.arrival));
  }

  void beat() {
    const std::lock_guard one(beating);
    std::function<void()> look;
    {
      const std::lock_guard lock(mutex);
      ++beats;
      look = hook;
    }
    if (look) look();
    tell_others();
    const Progress mine = snapshot();
    if (has_failed) return;
    if (const Result<void> set = store->set(rank_key(rank), encode(mine)); !set)
      return lose_store(set.error().why());
    const Result<std::optional<std::string>> known = store->get(failure_key);
    if (!known) return lose_store(known.error().why());
    if (*known) return agree_to(decode_error(**known));
    look_at_others(mine);
    if (!has_failed) check_arrival(mine);
  }

  // A rank that hangs outside of its collectives does not see the failure: its process ends.
  void end_process_if_stuck() {
    const std::lock_guard lock(mutex);
    if (!processes() || !failure || closing || now_seconds() - failed_at < limits.exit) return;
    std::fprintf(stderr, "rank %d did not stop within %g s after: %s\n", rank, limits.exit,
                 failure->message().c_str());
    std::_Exit(1);
  }

  bool all_others(const std::function<bool(int)>& is_so) const {
    for (int other = 0; other < size; ++other)
      if (other != rank && !is_so(other)) return false;
    return true;
  }

  bool has_seen(int other) const {
    const Result<std::optional<std::string>> seen = store->get(seen_key(other));
    return !seen || *seen;
  }

  bool has_left(int other) const {
    const Result<std::optional<std::string>> text = store->get(rank_key(other));
    const std::optional<Progress> last = text && *text ? decode_progress(**text) : std::nullopt;
    return last && last->left;
  }

  // Of a rank that is closing and has said so: whether nobody needs it any more.
  bool may_go() const {
    if (!processes() || store_lost) return true;
    const double waited = now_seconds() - closing_at;
    if (has_failed)
      return waited > std::min(print_seconds, limits.exit / 4) ||
             all_others([this](int other) { return has_seen(other); });
    // Whoever serves the store goes last.
    return rank != 0 || waited > limits.arrival ||
           all_others([this](int other) { return has_left(other); });
  }

  // Waits until the next beat; false when the thread may end. Beats keep their pace while a rank
  // wants to go, because others' silence is counted in them.
  bool wait_for_next_beat(bool said_goodbye) {
    const double until = now_seconds() + limits.beat;
    for (double now = now_seconds(); now < until; now = now_seconds()) {
      if (said_goodbye && may_go()) return false;
      std::unique_lock lock(mutex);
      const double pause = std::min(until - now, said_goodbye ? closing_look : limits.beat);
      if (wake.wait_for(lock, seconds(pause), [&] { return closing != said_goodbye || outgoing; }))
        return true;
    }
    return true;
  }

  void loop() {
    for (bool goes_on = true; goes_on;) {
      bool goodbye = false;
      {
        const std::lock_guard lock(mutex);
        goodbye = closing;
      }
      beat();
      last_beat = now_seconds();
      end_process_if_stuck();
      goes_on = wait_for_next_beat(goodbye);
    }
    const std::lock_guard lock(mutex);
    ended = true;
    wake.notify_all();
  }
};

Watch::Watch(std::shared_ptr<Store> store, int rank, int size, Limits limits, Beats beats)
    : state_(std::make_shared<State>()) {
  FATHOM_ASSERT(rank >= 0 && rank < size, "a rank is one of the job's");
  state_->store = std::move(store);
  state_->rank = rank;
  state_->size = size;
  state_->limits = limits;
  state_->others.resize(static_cast<std::size_t>(size));
  state_->last_beat = now_seconds();
  // One rank alone has nobody to watch.
  state_->threaded = beats == Beats::by_thread && size > 1;
  if (state_->threaded) state_->thread = std::thread([state = state_] { state->loop(); });
}

Watch::~Watch() { close(); }

void Watch::close() {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  if (state.closing) return;
  state.closing = true;
  state.closing_at = now_seconds();
  if (!state.threaded) {
    lock.unlock();
    if (state.size > 1) state.beat();
    return;
  }
  state.wake.notify_all();
  while (!state.wake.wait_for(lock, seconds(closing_look), [&] { return state.ended; })) {
    lock.unlock();
    // The thread hangs in a store that is gone: it keeps the state and goes with the process.
    if (failed() && (state.store_lost || now_seconds() - state.closing_at > 2 * print_seconds))
      return state.thread.detach();
    lock.lock();
  }
  lock.unlock();
  state.thread.join();
}

std::uint64_t Watch::enter(const Call& call) {
  const std::lock_guard lock(state_->mutex);
  FATHOM_ASSERT(state_->entered - state_->done < outstanding, "too many collectives at a time");
  const std::uint64_t number = ++state_->entered;
  state_->waiting_of(number) = {.call = call, .since = state_->beats};
  return number;
}

void Watch::leave(std::uint64_t number) {
  const std::lock_guard lock(state_->mutex);
  FATHOM_ASSERT(number == state_->done + 1, "collectives complete in the order of their calls");
  state_->done = number;
}

bool Watch::failed() {
  if (state_->has_failed) return true;
  if (!state_->threaded || now_seconds() - state_->last_beat < state_->limits.silence) return false;
  state_->lose_store(
      fmt::format("the ranks' store has not answered for {:g} s", state_->limits.silence));
  return true;
}

Result<void> Watch::status() {
  if (!failed()) return {};
  const std::lock_guard lock(state_->mutex);
  return fathom::fail(*state_->failure);
}

void Watch::report(const Error& error) {
  const Error named = Error(error).within(fmt::format("rank {}", state_->rank));
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->failure) return;
    state_->outgoing = named;
  }
  state_->adopt(named);
  if (!state_->threaded && state_->size > 1) state_->tell_others();
}

void Watch::beat() { state_->beat(); }

void Watch::on_beat(std::function<void()> hook) {
  const std::lock_guard lock(state_->mutex);
  state_->hook = std::move(hook);
}

const Limits& Watch::limits() const { return state_->limits; }
std::shared_ptr<Store> Watch::store() const { return state_->store; }

}  // namespace fathom::comm
