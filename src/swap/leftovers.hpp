// SPDX-License-Identifier: Apache-2.0
//
// Leftovers: job directories under a path, which of them are dead, and their removal.
//
// Purpose      A killed run leaves its directory, on purpose when something is committed in it.
//              What may go is what provably belongs to this user, to no living process, and to no
//              run that could still be resumed. Nothing is removed but by remove_leftover().
// Threads      One at a time; two processes may look at once.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "swap/job_directory.hpp"

namespace fathom::swap {

struct Leftover {
  enum class Kind {
    live,     // a process uses it
    kept,     // dead, and its run's --out refers to it: --resume continues it
    stale,    // dead, and nothing refers to it: may be removed
    unclear,  // not provably ours: for a person to judge
  };
  std::string path;
  Kind kind = Kind::unclear;
  std::string why;
  Owner owner;  // meaningless when unclear
};
const char* to_string(Leftover::Kind kind);

// `referred(owner)`: whether the run's --out names this store.
std::vector<Leftover> find_leftovers(FileCalls& calls, const std::string& parent,
                                     const std::function<bool(const Owner&)>& referred);

// Removes a stale one; looks again first.
Result<void> remove_leftover(FileCalls& calls, const Leftover& leftover,
                             const std::function<bool(const Owner&)>& referred);

}  // namespace fathom::swap
