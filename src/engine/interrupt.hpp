// SPDX-License-Identifier: Apache-2.0
//
// Interrupt: SIGINT and SIGTERM as a question that a loop asks between steps.
//
// Purpose      The first signal asks the run to finish the step under way, commit and end; the
// second
//              ends the process at once, as if nothing handled it.
// Ownership    Handlers are installed for the object's lifetime and put back afterwards.
// Threads      One object at a time; requested() from any thread.
#pragma once

#include <csignal>

namespace fathom::engine {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const;

 private:
  struct sigaction previous_int_{}, previous_term_{};
};

}  // namespace fathom::engine
