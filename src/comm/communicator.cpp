// SPDX-License-Identifier: Apache-2.0
#include "comm/communicator.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <optional>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/clock.hpp"

namespace fathom::comm {

Communicator::Communicator(int rank, int size, std::unique_ptr<Watch> watch)
    : rank_(rank), size_(size), watch_(std::move(watch)) {}

Result<void> Communicator::all_gather(Element element, const void* part, void* whole,
                                      std::size_t count) {
  return run({.collective = Collective::all_gather,
              .element = element,
              .in = part,
              .out = whole,
              .count = count});
}

Result<void> Communicator::reduce_scatter(Element element, Reduction reduction, const void* whole,
                                          void* part, std::size_t count) {
  return run({.collective = Collective::reduce_scatter,
              .element = element,
              .reduction = reduction,
              .in = whole,
              .out = part,
              .count = count});
}

Result<void> Communicator::all_reduce(Element element, Reduction reduction, void* data,
                                      std::size_t count) {
  return run({.collective = Collective::all_reduce,
              .element = element,
              .reduction = reduction,
              .in = data,
              .out = data,
              .count = count});
}

Result<void> Communicator::broadcast(Element element, void* data, std::size_t count, int root) {
  FATHOM_ASSERT(root >= 0 && root < size_, "the root is a rank");
  return run({.collective = Collective::broadcast,
              .element = element,
              .in = data,
              .out = data,
              .count = count,
              .root = root});
}

Result<void> Communicator::barrier() { return run({.collective = Collective::barrier}); }

Result<void> Communicator::finish() { return complete_all(); }

Result<void> Communicator::run(const Call& call) {
  const bool reduces =
      call.collective == Collective::reduce_scatter || call.collective == Collective::all_reduce;
  FATHOM_ASSERT(!reduces || call.reduction != Reduction::sum || call.element != Element::bytes,
                "bytes have no sum");
  FATHOM_CHECK(watch_->status());
  const double start = now_seconds();
  const std::uint64_t number = watch_->enter(call);
  if (const Result<void> performed = perform(call, number); !performed) {
    // This rank's own trouble is everyone's; if the job has failed already, that error stands.
    watch_->report(performed.error());
    return watch_->status();
  }
  count(call);
  if (completes_later()) return {};
  watch_->leave(number);
  add_seconds(call.collective, now_seconds() - start);
  return {};
}

void Communicator::count(const Call& call) {
  const std::uint64_t elements = elements_moved(call, size_);
  const std::lock_guard lock(mutex_);
  Traffic::Count& counted = traffic_[call.collective];
  ++counted.calls;
  counted.elements += elements;
  counted.bytes += elements * width(call.element);
}

void Communicator::add_seconds(Collective collective, double seconds) {
  const std::lock_guard lock(mutex_);
  traffic_[collective].seconds += seconds;
}

Traffic Communicator::traffic() const {
  const std::lock_guard lock(mutex_);
  return traffic_;
}

namespace {

// One round of texts, shared with the thread that talks to the store: a store that hangs takes that
// thread with it, not the rank.
struct Round {
  std::shared_ptr<Store> store;
  int rank = 0, size = 1;
  std::uint64_t number = 0;
  std::string text;

  std::mutex mutex;
  std::condition_variable changed;
  bool given_up = false;
  std::optional<Result<std::vector<std::string>>> result;

  std::string key(std::uint64_t round, int of) const {
    return fmt::format("text/{}/{}", round, of);
  }

  bool is_given_up() {
    const std::lock_guard lock(mutex);
    return given_up;
  }

  Result<std::vector<std::string>> gather() {
    // A prefix, because a store may not tell an empty value from an absent one.
    FATHOM_CHECK(store->set(key(number, rank), "=" + text));
    std::vector<std::string> texts;
    std::chrono::microseconds pause(200);
    while (static_cast<int>(texts.size()) < size && !is_given_up()) {
      FATHOM_ASSIGN(const std::optional<std::string> found,
                    store->get(key(number, static_cast<int>(texts.size()))));
      if (found) {
        texts.push_back(found->substr(1));
        continue;
      }
      std::this_thread::sleep_for(pause);
      pause = std::min(pause * 2, std::chrono::microseconds(20'000));
    }
    // Every rank is in this round, so none reads the previous one any more.
    FATHOM_CHECK(store->remove(key(number - 1, rank)));
    return texts;
  }
};

}  // namespace

Result<std::vector<std::string>> Communicator::gather_text(std::string_view text) {
  if (size_ == 1) return std::vector{std::string(text)};
  FATHOM_CHECK(complete_all());
  FATHOM_CHECK(watch_->status());
  const Call call{.collective = Collective::texts};
  const std::uint64_t number = watch_->enter(call);
  const auto round = std::make_shared<Round>();
  round->store = watch_->store();
  round->rank = rank_;
  round->size = size_;
  round->number = ++texts_;
  round->text = text;
  std::thread([round] {
    Result<std::vector<std::string>> gathered = round->gather();
    const std::lock_guard lock(round->mutex);
    round->result = std::move(gathered);
    round->changed.notify_all();
  }).detach();
  {
    std::unique_lock lock(round->mutex);
    while (!round->changed.wait_for(lock, std::chrono::milliseconds(20),
                                    [&] { return round->result.has_value(); })) {
      lock.unlock();
      const bool failed = watch_->failed();
      lock.lock();
      if (!failed) continue;
      round->given_up = true;
      return fathom::fail(watch_->status().error());
    }
  }
  if (!*round->result) {
    watch_->report(round->result->error());
    return fathom::fail(watch_->status().error());
  }
  watch_->leave(number);
  count(call);
  return std::move(**round->result);
}

}  // namespace fathom::comm
