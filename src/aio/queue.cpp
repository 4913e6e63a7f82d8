// SPDX-License-Identifier: Apache-2.0
#include "aio/queue.hpp"

#include <cerrno>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "aio/device.hpp"
#include "aio/engines.hpp"
#include "aio/flight_budget.hpp"
#include "aio/log_once.hpp"
#include "aio/numa.hpp"
#include "aio/submitter.hpp"
#include "base/assert.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

Result<void> check(const QueueOptions& options) {
  const auto bad = [](const char* key, std::string_view why) {
    return fail(
        Error(Errc::bad_config, "open an I/O queue").on(fmt::format("aio.{}", key)).because(why));
  };
  if (options.block_size == 0 || options.block_size % io_alignment != 0 ||
      options.block_size > max_operation_bytes)
    return bad("block_size",
               fmt::format("{} is not a multiple of {} from {} to {}", options.block_size,
                           io_alignment, io_alignment, max_operation_bytes));
  if (options.queue_depth == 0) return bad("queue_depth", "it must be at least 1");
  if (options.intra_op_parallelism == 0)
    return bad("intra_op_parallelism", "it must be at least 1");
  if (!(options.deadline_seconds > 0)) return bad("deadline_seconds", "it must be more than 0");
  return {};
}

Result<void> check_directory(const std::string& directory) {
  const UniqueFd fd(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (fd) return {};
  const int error = errno;
  return fail(Error(error == ENOENT ? Errc::not_found : Errc::bad_config, "open an I/O queue")
                  .on(directory)
                  .because_errno(error)
                  .remedy("name a directory that exists"));
}

}  // namespace

struct Queue::State {
  State(std::unique_ptr<Backend> backend, const QueueOptions& options, const FlightBudget& budget,
        std::string engine_notes)
      : notes(std::move(engine_notes)), submitter(std::move(backend), options, budget) {}

  // A refusal costs processor time, never the run: it is said once.
  template <class Thing>
  void attach(const Thing& thing) {
    Result<void> attached;
    submitter.on_thread([&](Backend& backend) { attached = backend.attach(thing); });
    if (!attached) log_once(log::Level::info, attached.error().message());
  }

  std::string notes;
  Submitter submitter;
};

const char* to_string(Engine engine) {
  switch (engine) {
    case Engine::automatic: return "auto";
    case Engine::io_uring: return "io_uring";
    case Engine::libaio: return "libaio";
    case Engine::posix: return "posix";
  }
  return "unknown";
}

Result<std::unique_ptr<Queue>> Queue::open(const std::string& directory,
                                           const QueueOptions& options) {
  FATHOM_CHECK(check(options));
  FATHOM_CHECK(check_directory(directory));
  const DeviceChain chain = device_under(directory);
  const FlightBudget budget(byte_budget(options), command_limits(chain));
  std::string notes;
  for (const Engine engine : {Engine::io_uring, Engine::libaio, Engine::posix}) {
    if (options.engine != Engine::automatic && options.engine != engine) continue;
    const EngineProbe probe = probe_engine(engine, directory);
    std::string reason = probe.reason;
    if (probe.works) {
      auto backend = make_backend(engine, operation_limit(options, budget));
      if (backend) {
        auto state = std::make_unique<State>(std::move(*backend), options, budget, notes);
        const Result<void> started = state->submitter.started();
        if (started) {
          state->submitter.on_thread([&](Backend&) { bind_thread_to_node(numa_node(chain)); });
          return std::unique_ptr<Queue>(new Queue(std::move(state)));
        }
        reason = started.error().message();
      } else {
        reason = backend.error().message();
      }
    }
    if (options.engine != Engine::automatic)
      return fail(Error(Errc::unsupported, "open an I/O queue")
                      .on(fmt::format("engine {} in {}", to_string(engine), directory))
                      .because(reason)
                      .remedy("use --engine auto"));
    notes += fmt::format("{}{}: {}", notes.empty() ? "" : "\n", to_string(engine), reason);
  }
  return fail(Error(Errc::unsupported, "open an I/O queue").on(directory).because(notes));
}

std::unique_ptr<Queue> Queue::over(std::unique_ptr<Backend> backend, const QueueOptions& options) {
  FATHOM_ASSERT(backend != nullptr && check(options).has_value(), "a queue needs valid options");
  return std::unique_ptr<Queue>(new Queue(std::make_unique<State>(
      std::move(backend), options, FlightBudget(byte_budget(options)), std::string())));
}

Queue::Queue(std::unique_ptr<State> state) : state_(std::move(state)) {}
Queue::~Queue() = default;

Ticket Queue::submit(const Request& request, Completion completion) {
  return state_->submitter.submit(request, std::move(completion));
}

void Queue::cancel(Ticket ticket) { state_->submitter.cancel(ticket); }
void Queue::on_drained(std::move_only_function<void()> done) {
  state_->submitter.on_drained(std::move(done));
}

void Queue::drain() { state_->submitter.drain(); }
void Queue::attach(const Arena& arena) { state_->attach(arena); }
void Queue::attach(const File& file) { state_->attach(file); }

void Queue::detach(const File& file) {
  state_->submitter.on_thread([&](Backend& backend) { backend.detach(file); });
}

std::string Queue::describe() const {
  std::string text;
  state_->submitter.on_thread([&](Backend& backend) { text = backend.describe(); });
  return text;
}

Engine Queue::engine() const { return state_->submitter.engine(); }
std::string Queue::engine_notes() const { return state_->notes; }
Counters Queue::counters() const { return state_->submitter.counters(); }

}  // namespace fathom::aio
