// SPDX-License-Identifier: Apache-2.0
//
// Watch: sees to it that a job ends everywhere, and says why, when one of its ranks cannot go on.
//
// Purpose      Each rank publishes its progress in the store once a beat, by a thread of its own.
//              Rank 0 looks at all ranks, the others at rank 0. The first error wins (Store::offer)
//              and becomes the status of every rank: an error that a rank reported, a rank that is
//              silent or left early, a collective that waited too long, a store that is gone.
//              Blocked transports poll failed(). Times are counted in beats of the observer, so
//              that neither clocks of other machines nor a suspended observer matter.
// Ownership    Shares the store. close(), or the destructor, publishes that the rank has left; as
//              processes (limits.exit > 0) rank 0 waits there for the others, because it may serve
//              the store, and after a failure every rank waits (5 s at most) until all have printed
//              it. Only the beating thread waits for the store, so a store that hangs is noticed.
// Threads      All members may be called from any thread; enter and leave in the order of the
//              calls.
// Units        Seconds; collectives are numbered from 1.
//
//   Watch watch(store, rank, size, limits);
//   const std::uint64_t number = watch.enter(call);
//   while (!done() && !watch.failed()) …;
//   FATHOM_CHECK(watch.status());
//   watch.leave(number);
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.hpp"
#include "comm/call.hpp"
#include "comm/limits.hpp"
#include "comm/store.hpp"

namespace fathom::comm {

class Watch {
 public:
  // In `by_hand` beats happen only when beat() is called; for tests.
  enum class Beats { by_thread, by_hand };

  Watch(std::shared_ptr<Store> store, int rank, int size, Limits limits,
        Beats beats = Beats::by_thread);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // At most `outstanding` collectives may be entered and not left.
  static constexpr std::size_t outstanding = 64;
  std::uint64_t enter(const Call& call);
  void leave(std::uint64_t number);

  void close();  // nothing is entered after it

  bool failed();          // cheap: meant for polling loops
  Result<void> status();  // the job's error; a rank that reported one keeps its own

  // This rank cannot go on: every rank gets the error, with this rank's number in front, unless it
  // has failed for another reason already.
  void report(const Error& error);

  void beat();
  // Called at each beat, from the beating thread: transports whose calls complete later look at
  // them. A beat under way may outlive the Watch, so the hook owns what it uses.
  void on_beat(std::function<void()> hook);

  const Limits& limits() const;
  std::shared_ptr<Store> store() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the beating thread, which may hang in the store
};

}  // namespace fathom::comm
