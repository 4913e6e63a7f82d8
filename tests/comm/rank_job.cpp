// SPDX-License-Identifier: Apache-2.0
//
// rank_job ENDING: one rank of a job that ends badly, for job_test. All ranks reduce in a loop;
// after three rounds one of them does what ENDING says.
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <unistd.h>

#include "comm/join.hpp"

using namespace fathom;
using namespace fathom::comm;

namespace {

// Short, so that the test is; the silence is long enough for a machine that is busy.
constexpr Limits limits{.beat = 0.05, .arrival = 1.5, .silence = 3, .exit = 2};

Result<void> work(Communicator& comm, std::string_view ending) {
  const int last = comm.size() - 1;
  for (int round = 0;; ++round) {
    float value = 1;
    FATHOM_CHECK(comm.all_reduce(Element::fp32, Reduction::sum, &value, 1));
    if (round < 3) continue;
    if (ending == "well") return {};
    if (ending == "die" && comm.rank() == last) std::raise(SIGKILL);
    if (ending == "die_first" && comm.rank() == 0) std::raise(SIGKILL);
    if (ending == "stop_first" && comm.rank() == 0) std::raise(SIGSTOP);
    if (ending == "leave" && comm.rank() == last) return {};
    // It does not even look at its communicator any more.
    if (ending == "stall" && comm.rank() == last)
      for (;;) ::pause();
    if (ending == "fail" && comm.rank() == last) {
      const Error error = Error(Errc::no_space, "write").on("/mnt/x").because("disk full");
      comm.report(error);
      return fathom::fail(error);
    }
  }
}

Result<void> run(std::string_view ending) {
  FATHOM_ASSIGN(const Place place, place_of(process_environment()));
  FATHOM_ASSIGN(const std::unique_ptr<Communicator> comm, join_on_cpu(place, limits));
  return work(*comm, ending);
}

}  // namespace

int main(int argc, char** argv) {
  const Result<void> result = run(argc > 1 ? argv[1] : "well");
  if (result) return 0;
  std::fprintf(stderr, "ended: %s\n", result.error().message().c_str());
  return 1;
}
