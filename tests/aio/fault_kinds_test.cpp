// SPDX-License-Identifier: Apache-2.0
//
// Every kind of fault in every form on every engine: the right bytes or an error that names
// direction, file and offset; nothing hangs, nothing is kept.
#include <functional>
#include <string>
#include <tuple>

#include <gtest/gtest.h>

#include "fault_harness.hpp"

namespace fathom::aio {
namespace {

enum class Ends : std::uint8_t {
  well,      // the queue repairs it: no request fails, every byte is right
  in_error,  // a request fails, and says so
  either,    // depends on the direction that is struck
  unseen,    // requests succeed and bytes are wrong: for checksums to find
};

struct Kind {
  Fault fault;
  Ends once, for_ever;
  Errc code = Errc::io;  // of the errors
};

constexpr Kind kinds[] = {
    {Fault::device_error, Ends::either, Ends::in_error},
    {Fault::no_space, Ends::in_error, Ends::in_error, Errc::no_space},
    {Fault::size_limit, Ends::in_error, Ends::in_error},
    {Fault::busy, Ends::well, Ends::in_error},
    {Fault::interrupted, Ends::well, Ends::in_error},
    {Fault::cancelled, Ends::in_error, Ends::in_error, Errc::cancelled},
    {Fault::unsupported, Ends::either, Ends::in_error, Errc::unsupported},
    {Fault::misaligned, Ends::in_error, Ends::in_error, Errc::internal},
    {Fault::bad_buffer, Ends::in_error, Ends::in_error, Errc::internal},
    {Fault::gone, Ends::in_error, Ends::in_error},
    {Fault::zero, Ends::either, Ends::in_error},
    {Fault::short_aligned, Ends::well, Ends::well},
    {Fault::short_ragged, Ends::well, Ends::in_error},
    {Fault::torn, Ends::unseen, Ends::unseen},
    {Fault::flip_on_read, Ends::unseen, Ends::unseen},
    {Fault::flip_before_write, Ends::unseen, Ends::unseen},
    {Fault::misdirected, Ends::unseen, Ends::unseen},
    {Fault::stale, Ends::unseen, Ends::unseen},
    {Fault::lost_write, Ends::unseen, Ends::unseen},
    {Fault::delay, Ends::well, Ends::well},
    {Fault::reorder, Ends::well, Ends::well},
    {Fault::hang, Ends::in_error, Ends::in_error, Errc::cancelled},
    {Fault::no_room, Ends::well, Ends::well},
    {Fault::submit_busy, Ends::well, Ends::well},
    {Fault::submit_interrupted, Ends::well, Ends::well},
    {Fault::reap_interrupted, Ends::well, Ends::well},
};
static_assert(std::size(kinds) == fault_count, "every kind has its row");

class FaultKinds : public testing::TestWithParam<Engine> {
 protected:
  void SetUp() override {
    if (!harness_.reason().empty()) GTEST_SKIP() << harness_.reason();
  }

  void expect(const Outcome& outcome, const Kind& kind, Ends ends, const std::string& form) {
    SCOPED_TRACE(std::string(to_string(kind.fault)) + " " + form + ": " + outcome.first_error);
    EXPECT_GT(outcome.struck, 0U);
    EXPECT_EQ(outcome.unnamed, 0U);
    EXPECT_EQ(outcome.touched, 0U);
    if (ends == Ends::unseen) {
      EXPECT_EQ(outcome.failed, 0U);
      EXPECT_GT(outcome.wrong, 0U);
      return;
    }
    EXPECT_EQ(outcome.wrong, 0U);
    if (ends == Ends::well) {
      EXPECT_EQ(outcome.failed, 0U);
    }
    if (ends == Ends::in_error) {
      EXPECT_GT(outcome.failed, 0U);
    }
    if (outcome.failed > 0) {
      EXPECT_EQ(outcome.codes, std::set<Errc>{kind.code});
    }
  }

  // After each fault a clean run is clean: nothing of the fault stays behind.
  void expect_clean(const Kind& kind) {
    const Outcome outcome = harness_.run({});
    EXPECT_EQ(outcome.failed, 0U) << "after " << to_string(kind.fault) << outcome.first_error;
    EXPECT_EQ(outcome.wrong, 0U) << "after " << to_string(kind.fault);
    EXPECT_EQ(outcome.retries, 0U) << "after " << to_string(kind.fault);
    EXPECT_TRUE(harness_.has_all_slots()) << "after " << to_string(kind.fault);
  }

  const std::size_t descriptors_ = open_descriptors();
  FaultHarness harness_{GetParam()};
};

TEST_P(FaultKinds, TheNthOperation) {
  for (const Kind& kind : kinds) {
    // What strikes the first file is seen by its reads; the second is overwritten in between. A
    // stale read needs something that was overwritten.
    const FileRange where{.fd = harness_.file(kind.fault == Fault::stale ? 1 : 0).fd()};
    for (const std::uint64_t at : {1U, 5U, 9U}) {
      const Outcome outcome = harness_.run({{.fault = kind.fault, .at = at, .where = where}});
      expect(outcome, kind, kind.once, "at " + std::to_string(at));
      EXPECT_EQ(outcome.struck, 1U) << to_string(kind.fault);
      EXPECT_LE(outcome.failed, 1U) << to_string(kind.fault) << ": one operation, one request";
    }
    expect_clean(kind);
  }
}

TEST_P(FaultKinds, ABurst) {
  for (const Kind& kind : kinds) {
    const Outcome outcome = harness_.run({{.fault = kind.fault, .at = 2, .burst = 3}});
    // Which operations are struck depends on timing: three of one request, or one of each of three.
    const bool silent = kind.once == Ends::unseen;
    if (!silent)
      expect(outcome, kind, kind.once, "three from 2 on");
    else
      EXPECT_EQ(outcome.failed, 0U) << to_string(kind.fault);
    EXPECT_LE(outcome.struck, 3U);
    expect_clean(kind);
  }
}

TEST_P(FaultKinds, FromSomeOperationOnForEver) {
  for (const Kind& kind : kinds) {
    expect(harness_.run({{.fault = kind.fault, .at = 2, .for_ever = true}}), kind, kind.for_ever,
           "for ever");
    expect_clean(kind);
  }
}

TEST_P(FaultKinds, AShareAtRandom) {
  for (const Kind& kind : kinds) {
    std::uint64_t struck = 0;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      const Outcome outcome =
          harness_.run({{.fault = kind.fault, .probability = 0.15, .seed = seed}});
      struck += outcome.struck;
      EXPECT_EQ(outcome.unnamed, 0U) << to_string(kind.fault) << " seed " << seed;
      EXPECT_EQ(outcome.touched, 0U) << to_string(kind.fault) << " seed " << seed;
      if (kind.once == Ends::unseen) {
        EXPECT_EQ(outcome.failed, 0U) << to_string(kind.fault) << outcome.first_error;
      } else {
        EXPECT_EQ(outcome.wrong, 0U) << to_string(kind.fault) << " seed " << seed;
      }
    }
    EXPECT_GT(struck, 4U) << to_string(kind.fault);
    expect_clean(kind);
  }
}

TEST_P(FaultKinds, ABadSectorFailsTheRequestsThatTouchItAndNoOther) {
  // 100 KiB of the second file: in its third piece, in the second of that piece's blocks.
  const FileRange sector{
      .fd = harness_.file(1).fd(), .begin = 100 * KiB, .end = 100 * KiB + 4 * KiB};
  const Outcome outcome = harness_.run({{.fault = Fault::device_error,
                                         .at = 1,
                                         .for_ever = true,
                                         .only = Direction::read,
                                         .where = sector}});
  EXPECT_EQ(outcome.failed, 1U);
  EXPECT_EQ(outcome.wrong, 0U);
  EXPECT_NE(outcome.first_error.find(" at 98304, want 16384 bytes"), std::string::npos)
      << outcome.first_error;
  const Outcome silent = harness_.run({{.fault = Fault::flip_on_read, .at = 1, .where = sector}});
  EXPECT_EQ(silent.failed, 0U);
  EXPECT_EQ(silent.wrong, 1U);
}

TEST_P(FaultKinds, NoDescriptorIsKept) {
  const std::size_t before = open_descriptors();
  {
    FaultHarness other(GetParam());
    ASSERT_EQ(other.reason(), "");
    EXPECT_GT(open_descriptors(), before);
    for (const Kind& kind : kinds) other.run({{.fault = kind.fault, .at = 3, .burst = 2}});
  }
  EXPECT_EQ(open_descriptors(), before);
}

INSTANTIATE_TEST_SUITE_P(Engines, FaultKinds,
                         testing::Values(Engine::posix, Engine::io_uring, Engine::libaio),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

}  // namespace
}  // namespace fathom::aio
