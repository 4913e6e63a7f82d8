// SPDX-License-Identifier: Apache-2.0
//
// Store and swapper over a device that fails: the right bytes, or a typed error that says where.
#include <array>
#include <cctype>
#include <string>

#include <gtest/gtest.h>

#include "aio/faulty_backend.hpp"
#include "aio/posix_backend.hpp"
#include "swap/random_program.hpp"
#include "swap/scratch.hpp"
#include "swap/store.hpp"
#include "swap/swapper.hpp"

namespace fathom::swap {
namespace {

using aio::Fault;

// A store over one faulty device.
class FaultyStore {
 public:
  FaultyStore(std::uint64_t chunks, std::vector<aio::FaultRule> rules, ThreadPool& pool) {
    StoreOptions options;
    options.paths = {directory_.path()};
    options.unit_names = {"layers.7"};
    options.queue.block_size = 16384;  // so that a chunk takes several operations
    auto backend =
        std::make_unique<aio::FaultyBackend>(aio::make_posix_backend(8, 2), std::move(rules));
    backend_ = backend.get();
    std::vector<std::unique_ptr<aio::Queue>> queues;
    queues.push_back(aio::Queue::over(std::move(backend), options.queue));
    auto made = Store::create_scratch(Layout::build({.unit_elements = {chunks * 4096},
                                                     .chunk_elements = 4096,
                                                     .sections = split_bf16_sections}),
                                      options, pool, std::move(queues));
    EXPECT_TRUE(made);
    store_ = std::move(*made);
  }

  Store& store() { return *store_; }
  std::uint64_t struck() const { return backend_->struck(); }

  Result<void> write(ChunkId chunk, std::uint64_t stamp) {
    Buffer buffer(store_->layout().chunk(chunk).bytes);
    fill(buffer.slice(0, buffer.size()), stamp);
    return store_->transfer_and_wait({.direction = aio::Direction::write,
                                      .chunk = chunk,
                                      .sections = 15,
                                      .buffer = buffer.data()});
  }

  void expect_names_its_place(const Error& error) const {
    for (const std::string& part :
         {std::string("unit layers.7"), std::string("of chunk "), directory_.path()})
      EXPECT_NE(error.message().find(part), std::string::npos) << error.message();
  }

 private:
  TemporaryDirectory directory_;
  std::unique_ptr<Store> store_;
  aio::FaultyBackend* backend_ = nullptr;
};

struct Case {
  Fault fault;
  bool harmless;  // the queue repairs it; otherwise it must end in an error when it matters
};

constexpr std::array cases = {
    Case{Fault::device_error, false}, Case{Fault::no_space, false},
    Case{Fault::busy, true},          Case{Fault::interrupted, true},
    Case{Fault::zero, false},         Case{Fault::short_aligned, true},
    Case{Fault::short_ragged, true},  Case{Fault::torn, false},
    Case{Fault::flip_on_read, false}, Case{Fault::flip_before_write, false},
    Case{Fault::misdirected, false},  Case{Fault::stale, false},
    Case{Fault::lost_write, false},   Case{Fault::delay, true},
    Case{Fault::reorder, true},       Case{Fault::submit_busy, true}};

class StoreUnderFault : public testing::TestWithParam<Case> {
 protected:
  static constexpr ChunkId chunk_count = 2;
  ThreadPool pool_{2};
};

// Writes every chunk twice and reads it, with operation n struck, for every n of the workload.
TEST_P(StoreUnderFault, GivesTheLastBytesWrittenOrAnErrorThatNamesTheirPlace) {
  std::uint64_t errors = 0, strikes = 0;
  for (std::uint64_t n = 1;; ++n) {
    ASSERT_LT(n, 200U) << "a workload that no fault strikes was expected before";
    FaultyStore faulty(chunk_count, {{.fault = GetParam().fault, .at = n}}, pool_);
    for (const std::uint64_t stamp : {100U, 200U}) {
      for (ChunkId chunk = 0; chunk < chunk_count; ++chunk) {
        const Result<void> done = faulty.write(chunk, stamp + chunk);
        if (done) continue;
        ++errors;
        faulty.expect_names_its_place(done.error());
      }
    }
    for (ChunkId chunk = 0; chunk < chunk_count; ++chunk) {
      Buffer buffer(faulty.store().layout().chunk(chunk).bytes);
      const Result<void> done = faulty.store().transfer_and_wait(
          {.chunk = chunk, .sections = 15, .buffer = buffer.data()});
      if (done) {
        EXPECT_TRUE(holds(buffer.slice(0, buffer.size()), 200 + chunk))
            << to_string(GetParam().fault) << " of operation " << n << " went unnoticed";
        continue;
      }
      ++errors;
      faulty.expect_names_its_place(done.error());
    }
    strikes += faulty.struck();
    if (faulty.struck() == 0) break;
  }
  EXPECT_GT(strikes, 0U);
  EXPECT_EQ(errors == 0, GetParam().harmless) << errors << " errors";
}

INSTANTIATE_TEST_SUITE_P(Faults, StoreUnderFault, testing::ValuesIn(cases),
                         [](const auto& instance) { return to_string(instance.param.fault); });

class SwapperOnAnUnrulyDevice : public testing::TestWithParam<std::uint64_t> {
 protected:
  ThreadPool pool_{2};

  // Six passes of a random program; the first failure, or how it ended.
  static Result<void> run(FaultyStore& faulty, RandomProgram& program, std::uint64_t seed) {
    Swapper swapper(faulty.store(), program.nodes());
    std::mt19937_64 random(seed);
    for (int pass = 0; pass < 6; ++pass) {
      swapper.begin_pass(pass < 5 && random() % 4 != 0);
      FATHOM_CHECK(program.run(swapper));
      if (random() % 3 == 0) FATHOM_CHECK(swapper.drain());
    }
    return swapper.drain();
  }
};

TEST_P(SwapperOnAnUnrulyDevice, ReadsWhatWasLastWrittenThroughDelaysReorderingAndRetries) {
  const std::uint64_t seed = GetParam();
  FaultyStore faulty(RandomProgram::chunks,
                     {{.fault = Fault::delay, .probability = 0.2, .seed = seed},
                      {.fault = Fault::reorder, .probability = 0.2, .seed = seed},
                      {.fault = Fault::interrupted, .probability = 0.05, .seed = seed},
                      {.fault = Fault::short_aligned, .probability = 0.1, .seed = seed},
                      {.fault = Fault::submit_busy, .probability = 0.05, .seed = seed}},
                     pool_);
  for (ChunkId chunk = 0; chunk < RandomProgram::chunks; ++chunk)
    ASSERT_TRUE(faulty.write(chunk, chunk));
  RandomProgram program(seed, faulty.store().layout());
  const Result<void> done = run(faulty, program, seed);
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(program.differing_chunks(faulty.store()), 0U);
  EXPECT_GT(faulty.struck(), 0U);
}

TEST_P(SwapperOnAnUnrulyDevice, NeverHandsOverWrongBytesFromADeviceThatLies) {
  const std::uint64_t seed = GetParam();
  FaultyStore faulty(RandomProgram::chunks,
                     {{.fault = Fault::lost_write, .probability = 0.01, .seed = seed},
                      {.fault = Fault::flip_on_read, .probability = 0.01, .seed = seed},
                      {.fault = Fault::misdirected, .probability = 0.01, .seed = seed},
                      {.fault = Fault::torn, .probability = 0.01, .seed = seed}},
                     pool_);
  for (ChunkId chunk = 0; chunk < RandomProgram::chunks; ++chunk)
    ASSERT_TRUE(faulty.write(chunk, chunk));
  RandomProgram program(seed, faulty.store().layout());
  // The program itself fails the test when a node sees other bytes than the model's.
  const Result<void> done = run(faulty, program, seed);
  if (done) return;
  EXPECT_EQ(done.error().code(), Errc::corrupt) << done.error().message();
  faulty.expect_names_its_place(done.error());
}

INSTANTIATE_TEST_SUITE_P(Seeds, SwapperOnAnUnrulyDevice, testing::Range<std::uint64_t>(0, 15));

}  // namespace
}  // namespace fathom::swap
