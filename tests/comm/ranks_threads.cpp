// SPDX-License-Identifier: Apache-2.0
#include <thread>

#include "comm/threads.hpp"
#include "ranks.hpp"

namespace fathom::comm {

std::vector<int> sizes_under_test() { return {1, 2, 3, 4}; }
std::string transport_under_test() { return "threads"; }
std::string why_no_ranks() { return {}; }

void on_ranks(int size, const std::function<void(Communicator&)>& body) {
  const auto ranks = thread_ranks(size);
  std::vector<std::thread> threads;
  for (const auto& comm : ranks) threads.emplace_back([&] { body(*comm); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace fathom::comm
