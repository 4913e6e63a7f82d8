// SPDX-License-Identifier: Apache-2.0
#include "comm/threads.hpp"

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <utility>

#include <fmt/format.h>

#include "comm/exchange_communicator.hpp"

namespace fathom::comm {
namespace {

// What one rank has for another; the sender fills it, the receiver copies and empties it.
struct Box {
  bool full = false;
  const void* data = nullptr;
  std::size_t bytes = 0;
  std::uint64_t number = 0;
  Call call;
};

struct Mailboxes {
  explicit Mailboxes(int ranks) : size(static_cast<std::size_t>(ranks)), boxes(size * size) {}

  Box& box(std::size_t from, std::size_t to) { return boxes[from * size + to]; }

  std::size_t size;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Box> boxes;
};

class ThreadCommunicator final : public ExchangeCommunicator {
 public:
  ThreadCommunicator(int rank, int size, std::unique_ptr<Watch> watch,
                     std::shared_ptr<Mailboxes> mail)
      : ExchangeCommunicator(rank, size, std::move(watch)), mail_(std::move(mail)) {}

  const char* transport() const override { return "threads"; }

 private:
  // Waits until `holds`, or until the job fails.
  template <class Condition>
  Result<void> wait(std::unique_lock<std::mutex>& lock, const Condition& holds) {
    const auto look = std::chrono::duration<double>(watch().limits().beat / 4);
    while (!mail_->changed.wait_for(lock, look, holds)) FATHOM_CHECK(watch().status());
    return {};
  }

  Result<void> exchange(std::span<const Lane> lanes, const Call& call,
                        std::uint64_t number) override {
    std::unique_lock lock(mail_->mutex);
    const Result<void> traded = trade(lock, lanes, call, number);
    // Whoever comes late must not read buffers that the caller of a failed call has let go.
    for (std::size_t peer = 0; peer < lanes.size(); ++peer) mail_->box(me(), peer).full = false;
    return traded;
  }

  Result<void> trade(std::unique_lock<std::mutex>& lock, std::span<const Lane> lanes,
                     const Call& call, std::uint64_t number) {
    for (std::size_t peer = 0; peer < lanes.size(); ++peer)
      if (peer != me() && lanes[peer].out_bytes != 0)
        mail_->box(me(), peer) = {.full = true,
                                  .data = lanes[peer].out,
                                  .bytes = lanes[peer].out_bytes,
                                  .number = number,
                                  .call = call};
    mail_->changed.notify_all();
    for (std::size_t peer = 0; peer < lanes.size(); ++peer) {
      if (peer == me() || lanes[peer].in_bytes == 0) continue;
      Box& box = mail_->box(peer, me());
      FATHOM_CHECK(wait(lock, [&] { return box.full; }));
      if (box.number != number || box.bytes != lanes[peer].in_bytes ||
          box.call.collective != call.collective)
        return fail(Error(Errc::internal, describe(call))
                        .on(fmt::format("collective {}", number))
                        .because(fmt::format("rank {} calls {} (collective {})", peer,
                                             describe(box.call), box.number))
                        .remedy("all ranks must make the same calls in the same order"));
      std::memcpy(lanes[peer].in, box.data, box.bytes);
      box.full = false;
      mail_->changed.notify_all();
    }
    return wait(lock, [&] {
      for (std::size_t peer = 0; peer < lanes.size(); ++peer)
        if (mail_->box(me(), peer).full) return false;
      return true;
    });
  }

  std::size_t me() const { return static_cast<std::size_t>(rank()); }

  std::shared_ptr<Mailboxes> mail_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> thread_ranks(int size, Limits limits) {
  limits.exit = 0;
  const auto store = memory_store();
  const auto mail = std::make_shared<Mailboxes>(size);
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int rank = 0; rank < size; ++rank)
    ranks.push_back(std::make_unique<ThreadCommunicator>(
        rank, size, std::make_unique<Watch>(store, rank, size, limits), mail));
  return ranks;
}

std::unique_ptr<Communicator> alone() { return std::move(thread_ranks(1).front()); }

}  // namespace fathom::comm
