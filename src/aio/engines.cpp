// SPDX-License-Identifier: Apache-2.0
#include "aio/engines.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include "aio/completion_rules.hpp"
#include "aio/libaio_backend.hpp"
#include "aio/posix_backend.hpp"
#include "aio/uring_backend.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

// One block through the engine alone, by the rules that the queue uses.
Result<void> transfer_block(Backend& backend, const File& file, Direction direction,
                            std::byte* block) {
  const Request request{
      .direction = direction, .file = &file, .buffer = block, .bytes = io_alignment};
  Attempt attempt{.direction = direction, .want = io_alignment};
  for (;;) {
    const Operation operation{.id = 1,
                              .direction = direction,
                              .fd = file.fd(),
                              .file = file.id(),
                              .flags = file.flags(),
                              .buffer = block + attempt.done,
                              .offset = attempt.done,
                              .bytes = attempt.want - attempt.done};
    if (!backend.prepare(operation))
      return fail(
          Error(Errc::unsupported, "queue one operation").because("the engine has no room"));
    int sent = backend.submit();
    while (sent == -EINTR || sent == -EAGAIN || sent == -EBUSY) sent = backend.submit();
    std::array<Completed, 1> completed;
    int count = 0;
    while (count <= 0) count = backend.reap(completed, -1);
    const Verdict verdict = classify(attempt, completed[0].result, 0);
    if (verdict.action == Action::done) return {};
    if (verdict.action == Action::fail)
      return fail(failure_error(verdict.failure, verdict.next, completed[0].result, request, 0));
    if (verdict.action == Action::retry_later) std::this_thread::yield();
    attempt = verdict.next;
  }
}

Result<void> try_blocks(Backend& backend, const File& file) {
  FATHOM_CHECK(backend.start());
  const std::unique_ptr<void, decltype(&std::free)> memory(
      std::aligned_alloc(io_alignment, io_alignment), &std::free);
  auto* block = static_cast<std::byte*>(memory.get());
  std::memset(block, 0x5A, io_alignment);
  FATHOM_CHECK(transfer_block(backend, file, Direction::write, block));
  std::memset(block, 0, io_alignment);
  FATHOM_CHECK(transfer_block(backend, file, Direction::read, block));
  if (!std::all_of(block, block + io_alignment, [](std::byte b) { return b == std::byte{0x5A}; }))
    return fail(Error(Errc::corrupt, "read back one block").on(file.path()));
  return {};
}

}  // namespace

Result<std::unique_ptr<Backend>> make_backend(Engine engine, unsigned in_flight) {
  switch (engine) {
    case Engine::posix: return make_posix_backend(in_flight);
    case Engine::io_uring: return make_uring_backend(in_flight);
    case Engine::libaio: return make_libaio_backend(in_flight);
    case Engine::automatic: break;
  }
  return fail(Error(Errc::unsupported, "make an I/O engine")
                  .on(to_string(engine))
                  .because("it is a choice, not an engine"));
}

EngineProbe probe_engine(Engine engine, const std::string& directory) {
  auto backend = make_backend(engine, 8);
  if (!backend) return {engine, false, backend.error().message()};
  auto file = File::create_scratch(directory, io_alignment);
  if (!file) {
    if (auto started = (*backend)->start(); !started)
      return {engine, false, started.error().message()};
    return {engine, true, "not tried with a real transfer: " + file.error().message()};
  }
  // The backend goes before the file: it may still hold a reference to the descriptor.
  auto tried = try_blocks(**backend, *file);
  backend->reset();
  if (!tried) return {engine, false, tried.error().message()};
  return {engine, true, file->direct() ? "" : "buffered: no direct I/O here"};
}

std::vector<EngineProbe> probe_engines(const std::string& directory) {
  std::vector<EngineProbe> probes;
  for (const Engine engine : {Engine::io_uring, Engine::libaio, Engine::posix})
    probes.push_back(probe_engine(engine, directory));
  return probes;
}

}  // namespace fathom::aio
