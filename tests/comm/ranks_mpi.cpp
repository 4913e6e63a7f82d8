// SPDX-License-Identifier: Apache-2.0
//
// The suite's ranks as processes of mpirun. Rank 0 reports for all: failures of other ranks travel
// to it after each test.
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "comm/environment.hpp"
#include "comm/mpi.hpp"
#include "comm/place.hpp"
#include "ranks.hpp"

namespace fathom::comm {
namespace {

std::unique_ptr<Communicator> world;
std::string why_not;

void open_world() {
  const Environment variables = process_environment();
  if (const std::string* reason = find(variables, "FATHOM_NO_MPI_REASON")) {
    why_not = *reason;
    return;
  }
  const Result<Place> place = place_of(variables);
  if (!place || place->launcher != Launcher::open_mpi) {
    why_not = "not started by mpirun";
    return;
  }
  Result<std::unique_ptr<Communicator>> opened = open_mpi(Limits{.arrival = 120});
  if (!opened) {
    std::fprintf(stderr, "%s\n", opened.error().message().c_str());
    std::exit(1);
  }
  world = std::move(*opened);
}

class Failures : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.failed())
      here_ += std::string(result.file_name() == nullptr ? "" : result.file_name()) + ":" +
               std::to_string(result.line_number()) + ": " + result.summary() + "\n";
  }
  void OnTestEnd(const testing::TestInfo&) override {
    if (world == nullptr) return;
    const auto all = world->gather_text(here_);
    here_.clear();
    if (!all) {
      std::fprintf(stderr, "%s\n", all.error().message().c_str());
      std::exit(1);
    }
    for (std::size_t rank = 1; rank < all->size(); ++rank)
      if (world->rank() == 0 && !(*all)[rank].empty())
        ADD_FAILURE() << "on rank " << rank << ": " << (*all)[rank];
  }

  std::string here_;
};

}  // namespace

std::vector<int> sizes_under_test() { return {world == nullptr ? 1 : world->size()}; }
std::string transport_under_test() { return "mpi"; }
std::string why_no_ranks() { return why_not; }

void on_ranks(int size, const std::function<void(Communicator&)>& body) {
  ASSERT_EQ(size, world->size());
  body(*world);
}

}  // namespace fathom::comm

int main(int argc, char** argv) {
  // First: the suite is instantiated for the size of the world.
  fathom::comm::open_world();
  testing::InitGoogleTest(&argc, argv);
  // One rank writes the results, in which every rank's failures are.
  if (fathom::comm::world != nullptr && fathom::comm::world->rank() != 0) {
    GTEST_FLAG_SET(output, "");
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
  }
  testing::UnitTest::GetInstance()->listeners().Append(new fathom::comm::Failures);
  const int status = RUN_ALL_TESTS();
  fathom::comm::world.reset();
  return status;
}
