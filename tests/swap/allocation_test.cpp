// SPDX-License-Identifier: Apache-2.0
//
// In the steady state neither the I/O path nor the update path allocates: chunks are read,
// verified, updated, hashed and written back, pass after pass, and operator new is counted. A
// program of its own.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include <gtest/gtest.h>

#include "aio/engines.hpp"
#include "base/units.hpp"
#include "kernels/convert.hpp"
#include "kernels/norm.hpp"
#include "kernels/update.hpp"
#include "swap/scratch.hpp"
#include "swap/swapper.hpp"

namespace {
std::atomic<std::uint64_t> allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  const std::size_t whole = (bytes + alignment) / alignment * alignment;
  if (void* memory = std::aligned_alloc(alignment, whole)) return memory;
  throw std::bad_alloc();
}
}  // namespace

// GCC takes the pairs for a mismatch of new and free.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
void* operator new(std::size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace fathom::swap {
namespace {

struct Case {
  aio::Engine engine;
  Verify verify;
};

class SteadyStep : public testing::TestWithParam<Case> {};

// Every chunk of a store: its sections are read, the kernels update them, they are written back.
TEST_P(SteadyStep, AllocatesNothing) {
  constexpr std::uint32_t chunks = 4, slots = 2;
  // Large enough for several blocks a section, so that hashing and kernels use the whole pool.
  constexpr std::uint64_t elements = 3 * MiB;
  auto backend = aio::make_backend(GetParam().engine, 16);
  if (!backend) GTEST_SKIP() << backend.error().message();
  const TemporaryDirectory directory;
  ThreadPool pool(3);
  Layout layout = Layout::build({.unit_elements = {chunks * elements},
                                 .chunk_elements = elements,
                                 .sections = split_bf16_sections});
  StoreOptions options;
  options.paths = {directory.path()};
  options.verify = GetParam().verify;
  options.unit_names = {"the unit"};
  options.queue = {.block_size = MiB, .queue_depth = 16};
  std::vector<std::unique_ptr<aio::Queue>> queues;
  queues.push_back(aio::Queue::over(std::move(*backend), options.queue));
  auto made = Store::create_scratch(std::move(layout), options, pool, std::move(queues));
  ASSERT_TRUE(made) << made.error().message();
  Store& store = **made;

  constexpr SectionMask all = 15;
  const std::uint64_t bytes = store.layout().chunk(0).bytes;
  std::vector<Buffer> ring;
  for (std::uint32_t i = 0; i < slots; ++i) ring.emplace_back(bytes);
  for (ChunkId chunk = 0; chunk < chunks; ++chunk)
    ASSERT_TRUE(store.transfer_and_wait({.direction = aio::Direction::write,
                                         .chunk = chunk,
                                         .sections = all,
                                         .buffer = ring[0].data()}));

  // Nodes of chunk i: 3i its read, 3i + 1 its update, 3i + 2 its write.
  std::vector<Node> nodes;
  for (std::uint32_t i = 0; i < chunks; ++i) {
    const NodeId read = 3 * i;
    TransferRequest request{.chunk = i, .sections = all, .buffer = ring[i % slots].data()};
    std::vector<Dependency> after{{read + 2, 1}};  // what was written has arrived
    after.push_back(i >= slots ? Dependency{read - 3 * slots + 2, 0}
                               : Dependency{3 * (chunks - slots + i) + 2, 1});
    nodes.push_back({.transfer = request, .after = std::move(after)});
    nodes.push_back({.transfer = std::nullopt, .after = {{read, 0}}});
    request.direction = aio::Direction::write;
    nodes.push_back({.transfer = request, .after = {{read + 1, 0}}});
  }
  std::vector<float> gradient(elements, 1e-3F);
  std::vector<std::uint16_t> narrow(elements);
  kernels::Hyper hyper = kernels::AdamHyper{};
  kernels::set_learning_rate(hyper, 1e-3);

  Swapper swapper(store, std::move(nodes));
  std::int64_t t = 0;
  const auto pass = [&](bool more_follow) {
    ++t;
    swapper.begin_pass(more_follow);
    for (std::uint32_t i = 0; i < chunks; ++i) {
      const NodeId update = 3 * i + 1;
      ASSERT_TRUE(swapper.wait(update));
      const kernels::GradientStats stats =
          kernels::gradient_stats(&pool, gradient.data(), elements, kernels::fp32_overflow_bits);
      ASSERT_FALSE(stats.first_non_finite);
      kernels::fp32_to_bf16(&pool, narrow.data(), gradient.data(), elements);
      std::byte* const base = ring[i % slots].data();
      const auto at = [&](Section section) {
        return base + store.layout().buffer_offset(i, all, section);
      };
      kernels::update(&pool, kernels::make_step(hyper, t, 1, true),
                      {.master = kernels::MasterFormat::split,
                       .gradient = kernels::GradientFormat::bf16,
                       .weight = at(Section::W),
                       .low = at(Section::lo),
                       .m = reinterpret_cast<float*>(at(Section::m)),
                       .v = reinterpret_cast<float*>(at(Section::v)),
                       .grad = narrow.data()},
                      elements);
      swapper.complete(update);
    }
  };
  for (int i = 0; i < 3; ++i) pass(true);
  const std::uint64_t before = allocations;
  EXPECT_GT(before, 0U) << "they are counted";
  for (int i = 0; i < 3; ++i) pass(true);
  EXPECT_EQ(allocations - before, 0U);
  pass(false);
  ASSERT_TRUE(swapper.drain());
  // The updates did arrive: every master has moved by t steps of about the learning rate.
  ASSERT_TRUE(
      store.transfer_and_wait({.chunk = chunks - 1, .sections = all, .buffer = ring[0].data()}));
  std::uint16_t weight = 0;
  std::memcpy(&weight, ring[0].data(), sizeof weight);
  float moved = 0;
  kernels::bf16_to_fp32(nullptr, &moved, &weight, 1);
  EXPECT_NEAR(moved, -1e-3 * static_cast<double>(t), 1e-4);
}

constexpr Case cases[] = {{aio::Engine::posix, Verify::full},
                          {aio::Engine::io_uring, Verify::full},
                          {aio::Engine::io_uring, Verify::sampled},
                          {aio::Engine::io_uring, Verify::off},
                          {aio::Engine::libaio, Verify::full}};

std::string name_of(const testing::TestParamInfo<Case>& tested) {
  return std::string(to_string(tested.param.engine)) + "_" + to_string(tested.param.verify);
}

INSTANTIATE_TEST_SUITE_P(Engines, SteadyStep, testing::ValuesIn(cases), name_of);

}  // namespace
}  // namespace fathom::swap
