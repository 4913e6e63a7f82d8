// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include <fmt/format.h>
// The C interface: the C++ one is gone from MPI and would need a library of its own.
#define OMPI_SKIP_MPICXX 1  // NOLINT(readability-identifier-naming)
#include <mpi.h>
#include <unistd.h>

#include "base/assert.hpp"
#include "comm/error_text.hpp"
#include "comm/exchange_communicator.hpp"
#include "comm/tcp_store.hpp"

namespace fathom::comm {
namespace {

// MPI promises tags up to 32767.
constexpr std::uint64_t tags = 32768;

Result<void> checked(int status, std::string_view tried) {
  if (status == MPI_SUCCESS) return {};
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(status, text, &length);
  return fail(
      Error(Errc::io, tried)
          .on("MPI")
          .because(text)
          .remedy("look at what mpirun printed; its --mca btl settings choose the network"));
}

Result<void> start_mpi() {
  int already = 0, provided = 0;
  MPI_Initialized(&already);
  if (already != 0)
    return fail(
        Error(Errc::internal, "start MPI").because("it was started before in this process"));
  FATHOM_CHECK(
      checked(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "start MPI"));
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  if (provided < MPI_THREAD_SERIALIZED)
    return fail(Error(Errc::unsupported, "start MPI")
                    .because("this MPI library was built without support for threads")
                    .remedy("use a library that has it (Debian's Open MPI does)"));
  return {};
}

// True when all ranks run on this machine, so that no host name needs to resolve.
Result<bool> on_one_host(int size) {
  MPI_Comm here = MPI_COMM_NULL;
  FATHOM_CHECK(
      checked(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &here),
              "count the ranks of this machine"));
  int local = 0;
  MPI_Comm_size(here, &local);
  MPI_Comm_free(&here);
  return local == size;
}

// What rank 0 tells the others: where its store is, or why there is none.
Result<std::string> tell_all(const std::string& mine) {
  std::array<char, 4096> text{};
  std::copy_n(mine.data(), std::min(mine.size(), text.size() - 1), text.data());
  FATHOM_CHECK(checked(MPI_Bcast(text.data(), text.size(), MPI_CHAR, 0, MPI_COMM_WORLD),
                       "hear from rank 0 where its store is"));
  return std::string(text.data());
}

std::string this_host() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

class MpiCommunicator final : public ExchangeCommunicator {
 public:
  MpiCommunicator(int rank, int size, std::unique_ptr<Watch> watch, MPI_Comm world)
      : ExchangeCommunicator(rank, size, std::move(watch)), world_(world) {
    requests_.reserve(2 * static_cast<std::size_t>(size));
  }

  ~MpiCommunicator() override {
    // Finalising waits for all ranks, so the watch must have let go of them. In a job that failed
    // some are gone; mpirun ends the rest when this process leaves without it.
    watch().close();
    if (watch().failed()) return;
    MPI_Comm_free(&world_);
    MPI_Finalize();
  }

  const char* transport() const override { return "mpi"; }

 private:
  Result<void> exchange(std::span<const Lane> lanes, const Call& call,
                        std::uint64_t number) override {
    const int tag = static_cast<int>(number % tags);
    requests_.clear();
    for (int peer = 0; peer < size(); ++peer) {
      const Lane& lane = lanes[static_cast<std::size_t>(peer)];
      if (peer == rank() || lane.in_bytes == 0) continue;
      FATHOM_CHECK(checked(MPI_Irecv(lane.in, static_cast<int>(lane.in_bytes), MPI_BYTE, peer, tag,
                                     world_, &requests_.emplace_back()),
                           describe(call)));
    }
    for (int peer = 0; peer < size(); ++peer) {
      const Lane& lane = lanes[static_cast<std::size_t>(peer)];
      if (peer == rank() || lane.out_bytes == 0) continue;
      FATHOM_CHECK(checked(MPI_Isend(lane.out, static_cast<int>(lane.out_bytes), MPI_BYTE, peer,
                                     tag, world_, &requests_.emplace_back()),
                           describe(call)));
    }
    return wait(call);
  }

  // MPI moves data only while it is called. Ranks may share cores: give way at once, and sleep when
  // the others take longer than a scheduler's slice.
  Result<void> wait(const Call& call) {
    constexpr int eager = 2000;
    for (int round = 0;; ++round) {
      int complete = 0;
      FATHOM_CHECK(checked(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(),
                                       &complete, MPI_STATUSES_IGNORE),
                           describe(call)));
      if (complete != 0) return {};
      FATHOM_CHECK(watch().status());
      if (round < eager)
        std::this_thread::yield();
      else
        std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  MPI_Comm world_;
  std::vector<MPI_Request> requests_;
};

}  // namespace

bool built_with_mpi() { return true; }

Result<MpiPlace> open_mpi_store(const Limits& limits) {
  FATHOM_CHECK(start_mpi());
  MpiPlace place;
  MPI_Comm_rank(MPI_COMM_WORLD, &place.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &place.size);
  if (place.size == 1) {
    place.store = memory_store();
    return place;
  }
  FATHOM_ASSIGN(const bool one_host, on_one_host(place.size));
  const std::string host = one_host ? "127.0.0.1" : this_host();
  TcpStoreOptions options{.host = host, .serve = place.rank == 0, .connect = limits.arrival};
  if (place.rank != 0) {
    FATHOM_ASSIGN(const std::string told, tell_all({}));
    const std::size_t space = told.find(' ');
    if (!told.starts_with('@') || space == std::string::npos) return fail(decode_error(told));
    options.host = told.substr(1, space - 1);
    options.port = static_cast<std::uint16_t>(std::stoi(told.substr(space + 1)));
    FATHOM_ASSIGN(place.store, tcp_store(options));
    return place;
  }
  const Result<std::shared_ptr<TcpStore>> served = tcp_store(options);
  FATHOM_CHECK(tell_all(served ? fmt::format("@{} {}", host, (*served)->port())
                               : encode_error(served.error())));
  FATHOM_CHECK(served);
  place.store = *served;
  return place;
}

Result<std::unique_ptr<Communicator>> open_mpi(const Limits& limits) {
  FATHOM_ASSIGN(MpiPlace place, open_mpi_store(limits));
  // A world of its own: other users of MPI in this process can't take its messages.
  MPI_Comm world = MPI_COMM_NULL;
  FATHOM_CHECK(checked(MPI_Comm_dup(MPI_COMM_WORLD, &world), "start MPI"));
  MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN);
  return std::make_unique<MpiCommunicator>(
      place.rank, place.size,
      std::make_unique<Watch>(std::move(place.store), place.rank, place.size, limits), world);
}

}  // namespace fathom::comm
