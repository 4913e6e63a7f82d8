// SPDX-License-Identifier: Apache-2.0
//
// Ranks under test: one body, run on every rank of a job.
//
// Purpose      The behaviour suite is written once. In comm_test the ranks are threads; under
//              mpirun (comm_mpi_test) every process runs the same tests in the same order, and one
//              body is this process's rank. Checks that only hold on some rank ask comm.rank().
// Threads      Bodies of thread ranks run at the same time: EXPECT_* is thread-safe on Linux.
//
//   on_ranks(4, [](Communicator& comm) { EXPECT_TRUE(comm.barrier()); });
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "comm/communicator.hpp"

namespace fathom::comm {

// The sizes that this program can run.
std::vector<int> sizes_under_test();
std::string transport_under_test();

// Empty, or why none of it can run here.
std::string why_no_ranks();

// Runs `body` once on each of `size` ranks.
void on_ranks(int size, const std::function<void(Communicator&)>& body);

}  // namespace fathom::comm
