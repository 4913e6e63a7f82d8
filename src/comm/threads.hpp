// SPDX-License-Identifier: Apache-2.0
//
// Ranks that are threads of one process: for tests, and the one rank of a job that is alone.
//
// Purpose      thread_ranks(4) gives four communicators, one for each of four threads. Ranks that
//              make different calls get an Error that says so, instead of waiting for each other.
// Ownership    The communicators share their mailboxes. Here buffers need not outlive a failed
//              call.
// Threads      One communicator a thread.
//
//   auto ranks = thread_ranks(2);
//   std::thread other([&] { (void)ranks[1]->barrier(); });
//   (void)ranks[0]->barrier();
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.hpp"

namespace fathom::comm {

// Threads: limits.exit is taken as 0.
std::vector<std::unique_ptr<Communicator>> thread_ranks(int size, Limits limits = {});

// One rank, alone: every collective is a copy or nothing.
std::unique_ptr<Communicator> alone();

}  // namespace fathom::comm
