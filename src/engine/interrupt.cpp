// SPDX-License-Identifier: Apache-2.0
#include "engine/interrupt.hpp"

#include <atomic>

namespace fathom::engine {
namespace {

std::atomic<bool> asked{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // a signal handler may use it

extern "C" void on_signal(int) { asked.store(true); }

}  // namespace

Interrupt::Interrupt() {
  asked.store(false);
  struct sigaction action{};
  action.sa_handler = on_signal;
  // One shot: the default comes back, so a second signal ends the process. System calls go on.
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &previous_int_);
  sigaction(SIGTERM, &action, &previous_term_);
}

Interrupt::~Interrupt() {
  sigaction(SIGINT, &previous_int_, nullptr);
  sigaction(SIGTERM, &previous_term_, nullptr);
}

bool Interrupt::requested() const { return asked.load(); }

}  // namespace fathom::engine
