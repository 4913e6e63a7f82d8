// SPDX-License-Identifier: Apache-2.0
#include "swap/store.hpp"

#include <numeric>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "swap/store_state.hpp"

namespace fathom::swap {

std::uint64_t StoreCounters::total_read() const {
  return std::accumulate(read.begin(), read.end(), padding_read);
}

std::uint64_t StoreCounters::total_written() const {
  return std::accumulate(written.begin(), written.end(), padding_written);
}

Store::State::State(Layout the_layout, const StoreOptions& options, ThreadPool& the_pool,
                    bool is_durable)
    : layout(std::move(the_layout)),
      unit_names(options.unit_names),
      pool(the_pool),
      hashes(layout, options.verify, is_durable),
      paths(layout.file_bytes().size()),
      records(layout.chunks().size() * section_count) {}

Store::Store(std::unique_ptr<State> state) : state_(std::move(state)) {}

Store::~Store() { drain(); }

Result<void> Store::open_queues(const StoreOptions& options,
                                std::vector<std::unique_ptr<aio::Queue>> queues) {
  FATHOM_ASSERT(queues.empty() || queues.size() == state_->paths.size(),
                "there is one queue a path");
  for (std::size_t i = 0; i < state_->paths.size(); ++i) {
    StorePath& path = state_->paths[i];
    if (!queues.empty()) {
      path.queue = std::move(queues[i]);
    } else if (path.file != nullptr) {
      FATHOM_ASSIGN(path.queue, aio::Queue::open(path.directory, options.queue));
    }
    if (path.file != nullptr) path.queue->attach(*path.file);
  }
  return {};
}

Result<std::unique_ptr<Store>> Store::create_scratch(
    Layout layout, const StoreOptions& options, ThreadPool& pool,
    std::vector<std::unique_ptr<aio::Queue>> queues) {
  FATHOM_ASSERT(layout.file_bytes().size() == options.paths.size(),
                "the layout and the options name as many paths");
  // Whatever has been made is closed, and its space free again, when a later step fails.
  auto state = std::make_unique<State>(std::move(layout), options, pool, /*durable=*/false);
  for (std::size_t i = 0; i < options.paths.size(); ++i) {
    StorePath& path = state->paths[i];
    path.directory = options.paths[i];
    const std::uint64_t bytes = state->layout.file_bytes()[i];
    if (bytes == 0) continue;
    FATHOM_ASSIGN(aio::File file, aio::File::create_scratch(options.paths[i], bytes));
    path.scratch.emplace(std::move(file));
    path.file = &*path.scratch;
  }
  auto store = std::unique_ptr<Store>(new Store(std::move(state)));
  FATHOM_CHECK(store->open_queues(options, std::move(queues)));
  return store;
}

Result<std::unique_ptr<Store>> Store::over(DurableFiles files, const StoreOptions& options,
                                           ThreadPool& pool,
                                           std::vector<std::unique_ptr<aio::Queue>> queues) {
  auto state = std::make_unique<State>(files.layout(), options, pool, /*durable=*/true);
  const std::vector<std::string> directories = files.directories();
  state->durable.emplace(std::move(files));
  for (std::uint32_t i = 0; i < state->paths.size(); ++i) {
    state->paths[i].directory = directories[i];
    state->paths[i].file = state->durable->file(i);
  }
  if (state->durable->committed()) state->restore(*state->durable->committed());
  auto store = std::unique_ptr<Store>(new Store(std::move(state)));
  FATHOM_CHECK(store->open_queues(options, std::move(queues)));
  return store;
}

const Layout& Store::layout() const { return state_->layout; }

void Store::attach(const aio::Arena& arena) {
  for (const StorePath& path : state_->paths)
    if (path.file != nullptr) path.queue->attach(arena);
}

void Store::transfer(const TransferRequest& request, aio::Completion completion) {
  state_->start(request, std::move(completion));
}

Result<void> Store::transfer_and_wait(const TransferRequest& request) {
  std::mutex mutex;
  std::condition_variable done;
  std::optional<Result<void>> outcome;
  transfer(request, [&](Result<void> result) {
    // Notified under the lock: the waiter owns what is notified and may leave right after.
    const std::lock_guard lock(mutex);
    outcome = std::move(result);
    done.notify_one();
  });
  std::unique_lock lock(mutex);
  done.wait(lock, [&] { return outcome.has_value(); });
  return std::move(*outcome);
}

void Store::drain() {
  std::unique_lock lock(state_->mutex);
  state_->idle.wait(lock, [&] { return state_->outstanding == 0; });
}

Result<void> Store::commit(const CommitState& state) { return state_->commit(state); }

const CommitState* Store::committed() const {
  if (!state_->durable || !state_->durable->committed()) return nullptr;
  return &state_->durable->committed()->state;
}

const DurableFiles* Store::durable() const { return state_->durable ? &*state_->durable : nullptr; }

StoreCounters Store::counters() const {
  const std::lock_guard lock(state_->mutex);
  return state_->counters;
}

std::string Store::describe() const {
  std::string text;
  for (const StorePath& path : state_->paths) {
    if (path.file == nullptr) continue;
    text += fmt::format("{}{}: {} {}, {}", text.empty() ? "" : "; ", path.directory,
                        format_bytes(path.file->size()), path.queue->describe(),
                        path.file->direct() ? "direct" : "buffered");
  }
  if (text.empty()) text = "nothing on nvme";
  return fmt::format("{}; {}verify {}", text, state_->durable ? "durable, " : "",
                     to_string(state_->hashes.verify()));
}

}  // namespace fathom::swap
