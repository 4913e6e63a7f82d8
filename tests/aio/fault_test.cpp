// SPDX-License-Identifier: Apache-2.0
//
// Every operation of a small workload fails once, then from some point on for ever, in every way:
// the bytes are right or the request says what went wrong, and nothing hangs.
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "aio/engines.hpp"
#include "aio/faulty_backend.hpp"
#include "aio/posix_backend.hpp"
#include "scratch_directory.hpp"
#include "transfers.hpp"

namespace fathom::aio {
namespace {

constexpr std::uint64_t piece = 40 * KiB;  // two and a half blocks of 16 KiB
constexpr unsigned pieces = 3;

struct Outcome {
  unsigned failed = 0, wrong = 0, untyped = 0;
  std::uint64_t operations = 0, struck = 0, retries = 0;
  std::set<Errc> codes;
};

class FaultLoop : public testing::TestWithParam<Engine> {
 protected:
  void SetUp() override {
    if (auto backend = make_backend(GetParam(), 4); !backend)
      GTEST_SKIP() << backend.error().message();
    auto created = File::create_scratch(directory_.path(), 1 * MiB);
    ASSERT_TRUE(created) << created.error().message();
    file_ = std::move(*created);
  }

  Outcome run(std::vector<FaultRule> rules) {
    auto inner = make_backend(GetParam(), 4);
    Outcome outcome;
    if (!inner) {
      ADD_FAILURE() << inner.error().message();
      return outcome;
    }
    auto faulty = std::make_unique<FaultyBackend>(std::move(*inner), std::move(rules));
    const FaultyBackend* faults = faulty.get();
    auto queue = Queue::over(std::move(faulty), {.block_size = 16 * KiB, .queue_depth = 4});
    std::vector<Block> out, in;
    std::vector<std::future<Result<void>>> pending;
    const auto settle = [&](unsigned i) {
      const Result<void> done = pending[i].get();
      if (done) return true;
      ++outcome.failed;
      outcome.codes.insert(done.error().code());
      outcome.untyped += done.error().message().find(file_.path()) == std::string::npos;
      return false;
    };
    for (unsigned i = 0; i < pieces; ++i) {
      out.emplace_back(piece).fill(++seed_);
      in.emplace_back(piece);
    }
    for (unsigned i = 0; i < pieces; ++i)
      pending.push_back(start(*queue, request_of(Direction::write, file_, i * piece, out[i])));
    std::vector<bool> written;
    for (unsigned i = 0; i < pieces; ++i) written.push_back(settle(i));
    pending.clear();
    for (unsigned i = 0; i < pieces; ++i)
      pending.push_back(start(*queue, request_of(Direction::read, file_, i * piece, in[i])));
    for (unsigned i = 0; i < pieces; ++i)
      if (settle(i) && written[i]) outcome.wrong += !(in[i] == out[i]);
    outcome.operations = faults->operations();
    outcome.struck = faults->struck();
    outcome.retries = queue->counters().retries;
    return outcome;
  }

  ScratchDirectory directory_;
  File file_;
  std::uint64_t seed_ = 0;
  // Closing a libaio context waits tens of milliseconds for the kernel, so it visits every fourth.
  std::uint64_t stride_ = GetParam() == Engine::libaio ? 4 : 1;
};

// Faults that the engine's own results reveal. (A device that lies about success is found out by
// checksums, a layer above.)
constexpr Fault loud[] = {Fault::device_error, Fault::no_space,    Fault::busy,
                          Fault::interrupted,  Fault::zero,        Fault::short_aligned,
                          Fault::short_ragged, Fault::submit_busy, Fault::delay,
                          Fault::reorder};

TEST_P(FaultLoop, OneFaultAnywhereGivesTheRightBytesOrATypedError) {
  for (const Fault fault : loud) {
    bool clean = false;
    for (std::uint64_t n = 1; !clean; n += stride_) {
      ASSERT_LT(n, 200U) << to_string(fault);
      const Outcome outcome = run({{.fault = fault, .at = n}});
      EXPECT_EQ(outcome.wrong, 0U) << to_string(fault) << " at " << n;
      EXPECT_EQ(outcome.untyped, 0U) << to_string(fault) << " at " << n;
      EXPECT_LE(outcome.failed, 1U) << to_string(fault) << " at " << n;
      clean = outcome.struck == 0;
      if (clean) {
        EXPECT_EQ(outcome.failed, 0U) << to_string(fault);
      }
    }
  }
}

TEST_P(FaultLoop, OneTransientFaultIsSurvived) {
  for (const Fault fault :
       {Fault::busy, Fault::interrupted, Fault::short_aligned, Fault::short_ragged,
        Fault::submit_busy, Fault::delay, Fault::reorder}) {
    for (std::uint64_t n = 1; n <= 18; n += stride_) {
      const Outcome outcome = run({{.fault = fault, .at = n}});
      EXPECT_EQ(outcome.struck, 1U) << to_string(fault) << " at " << n;
      EXPECT_EQ(outcome.failed, 0U) << to_string(fault) << " at " << n;
    }
  }
}

TEST_P(FaultLoop, AReadSurvivesOneDeviceErrorAndAWriteDoesNot) {
  const Outcome read = run({{.fault = Fault::device_error, .at = 2, .only = Direction::read}});
  EXPECT_EQ(read.struck, 1U);
  EXPECT_EQ(read.failed, 0U);
  EXPECT_EQ(read.retries, 1U);
  const Outcome write = run({{.fault = Fault::device_error, .at = 2, .only = Direction::write}});
  EXPECT_EQ(write.struck, 1U);
  EXPECT_EQ(write.failed, 1U);
}

TEST_P(FaultLoop, AFaultThatStaysEndsInErrorsNotInAHang) {
  for (const Fault fault :
       {Fault::device_error, Fault::no_space, Fault::interrupted, Fault::zero}) {
    for (const std::uint64_t n : {1U, 4U, 9U, 13U}) {
      const Outcome outcome = run({{.fault = fault, .at = n, .for_ever = true}});
      EXPECT_GT(outcome.failed, 0U) << to_string(fault) << " from " << n;
      EXPECT_EQ(outcome.wrong, 0U) << to_string(fault) << " from " << n;
      EXPECT_EQ(outcome.untyped, 0U) << to_string(fault) << " from " << n;
    }
  }
  EXPECT_EQ(run({{.fault = Fault::no_space, .at = 1, .for_ever = true}}).codes,
            std::set<Errc>{Errc::no_space});
}

TEST_P(FaultLoop, ADeviceThatStaysBusyIsGivenUpAfterTheBoundOfTries) {
  const Outcome outcome =
      run({{.fault = Fault::busy, .at = 1, .for_ever = true, .only = Direction::read}});
  EXPECT_EQ(outcome.failed, pieces);
  EXPECT_EQ(outcome.codes, std::set<Errc>{Errc::io});
}

TEST_P(FaultLoop, ShortTransfersForEverStillMoveEveryByte) {
  const Outcome outcome = run({{.fault = Fault::short_aligned, .at = 1, .for_ever = true}});
  EXPECT_EQ(outcome.failed, 0U);
  EXPECT_EQ(outcome.wrong, 0U);
  EXPECT_GT(outcome.retries, 0U);
}

TEST_P(FaultLoop, ManyFaultsAtRandomGiveTheRightBytesOrATypedError) {
  std::uint64_t struck = 0;
  for (std::uint64_t seed = 1; seed <= 60; seed += stride_) {
    std::vector<FaultRule> rules;
    for (const Fault fault : loud)
      rules.push_back({.fault = fault, .probability = 0.04, .seed = seed});
    const Outcome outcome = run(std::move(rules));
    EXPECT_EQ(outcome.wrong, 0U) << seed;
    EXPECT_EQ(outcome.untyped, 0U) << seed;
    struck += outcome.struck;
  }
  EXPECT_GT(struck, 60U / stride_);
}

TEST_P(FaultLoop, SilentFaultsChangeTheBytesAndNothingElse) {
  // The proof that checksums above have something to find: the requests succeed, the bytes differ.
  for (const FaultRule& rule : {
           FaultRule{.fault = Fault::torn, .at = 1, .only = Direction::write},
           FaultRule{.fault = Fault::flip_on_read, .at = 1, .only = Direction::read},
           FaultRule{.fault = Fault::flip_before_write, .at = 1, .only = Direction::write},
           FaultRule{.fault = Fault::misdirected, .at = 1, .only = Direction::read},
           FaultRule{.fault = Fault::lost_write, .at = 1, .only = Direction::write},
       }) {
    const Outcome outcome = run({rule});
    EXPECT_EQ(outcome.failed, 0U) << to_string(rule.fault);
    EXPECT_EQ(outcome.wrong, 1U) << to_string(rule.fault);
  }
  run({});
  const Outcome stale = run({{.fault = Fault::stale, .at = 1, .only = Direction::read},
                             {.fault = Fault::stale, .at = 99, .only = Direction::write}});
  EXPECT_EQ(stale.failed, 0U);
  EXPECT_EQ(stale.wrong, 1U) << "stale";
}

INSTANTIATE_TEST_SUITE_P(Engines, FaultLoop,
                         testing::Values(Engine::posix, Engine::io_uring, Engine::libaio),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

}  // namespace
}  // namespace fathom::aio
