// SPDX-License-Identifier: Apache-2.0
//
// One test a row of the completion table.
#include "aio/completion_rules.hpp"

#include <cerrno>

#include <gtest/gtest.h>

#include "transfers.hpp"

namespace fathom::aio {
namespace {

constexpr std::uint64_t want = 1 * MiB;

Attempt reading(std::uint64_t done = 0) {
  return {.direction = Direction::read, .want = want, .done = done};
}
Attempt writing(std::uint64_t done = 0) {
  return {.direction = Direction::write, .want = want, .done = done};
}

TEST(CompletionRules, C1AWholeTransferIsDone) {
  const Verdict verdict = classify(reading(), want, 0);
  EXPECT_EQ(verdict.action, Action::done);
  EXPECT_EQ(verdict.next.done, want);
  EXPECT_EQ(classify(writing(4096), want - 4096, 0).action, Action::done);
}

TEST(CompletionRules, C2AShortReadGoesOnFromTheLastAlignedByte) {
  const Verdict verdict = classify(reading(), 8192 + 100, 0);
  EXPECT_EQ(verdict.action, Action::resubmit);
  EXPECT_EQ(verdict.next.done, 8192U);
  EXPECT_EQ(verdict.next.got, 8292U);
}

TEST(CompletionRules, C2TwoRoundsWithoutProgressAreAShortRead) {
  Verdict verdict = classify(reading(), 4196, 0);
  EXPECT_EQ(verdict.action, Action::resubmit);
  verdict = classify(verdict.next, 100, 0);
  EXPECT_EQ(verdict.action, Action::resubmit) << "one round without progress";
  verdict = classify(verdict.next, 100, 0);
  EXPECT_EQ(verdict.action, Action::fail);
  EXPECT_EQ(verdict.failure, Failure::short_transfer);
}

TEST(CompletionRules, C2ProgressForgetsEarlierStalls) {
  Verdict verdict = classify(reading(), 100, 0);
  verdict = classify(verdict.next, 4096, 0);
  verdict = classify(verdict.next, 100, 0);
  EXPECT_EQ(verdict.action, Action::resubmit);
}

TEST(CompletionRules, C3AShortWriteGoesOnAndStopsWhenNothingMoves) {
  Verdict verdict = classify(writing(), 4096, 0);
  EXPECT_EQ(verdict.action, Action::resubmit);
  EXPECT_EQ(verdict.next.done, 4096U);
  verdict = classify(verdict.next, 0, 0);
  EXPECT_EQ(verdict.action, Action::resubmit);
  verdict = classify(verdict.next, 0, 0);
  EXPECT_EQ(verdict.failure, Failure::short_transfer);
}

TEST(CompletionRules, C4ABufferedFileKeepsARaggedTail) {
  Attempt attempt = reading();
  attempt.alignment = 1;
  const Verdict verdict = classify(attempt, 8192 + 100, 0);
  EXPECT_EQ(verdict.action, Action::resubmit);
  EXPECT_EQ(verdict.next.done, 8292U);
}

TEST(CompletionRules, C5NothingReadIsTheEndOfTheFileNeverSuccess) {
  const Verdict verdict = classify(reading(4096), 0, 0);
  EXPECT_EQ(verdict.action, Action::fail);
  EXPECT_EQ(verdict.failure, Failure::end_of_file);
  EXPECT_EQ(verdict.next.done, 4096U);
}

TEST(CompletionRules, C6BusyIsTriedAgainLaterUpToABoundOfTries) {
  Attempt attempt = reading();
  unsigned tries = 0;
  Verdict verdict;
  for (;; ++tries) {
    verdict = classify(attempt, -EAGAIN, 1.0);
    if (verdict.action != Action::retry_later) break;
    attempt = verdict.next;
  }
  EXPECT_EQ(tries, max_again);
  EXPECT_EQ(verdict.failure, Failure::busy);
}

TEST(CompletionRules, C6BusyIsBoundedByTimeToo) {
  const Verdict first = classify(reading(), -EAGAIN, 10.0);
  EXPECT_EQ(first.action, Action::retry_later);
  EXPECT_EQ(classify(first.next, -EAGAIN, 10.0 + max_again_seconds).action, Action::retry_later);
  EXPECT_EQ(classify(first.next, -EAGAIN, 10.1 + max_again_seconds).failure, Failure::busy);
}

TEST(CompletionRules, C6ProgressResetsTheBound) {
  Verdict verdict = classify(reading(), -EAGAIN, 0);
  verdict = classify(verdict.next, 4096, 1);
  EXPECT_EQ(verdict.next.again, 0U);
  EXPECT_EQ(classify(verdict.next, -EAGAIN, 1e9).action, Action::retry_later);
}

TEST(CompletionRules, C7AnInterruptionRepeatsTheCallButNotForEver) {
  Verdict verdict = classify(writing(), -EINTR, 0);
  EXPECT_EQ(verdict.action, Action::resubmit);
  EXPECT_EQ(verdict.next.done, 0U);
  unsigned tries = 1;
  while (verdict.action == Action::resubmit) {
    verdict = classify(verdict.next, -EINTR, 0);
    ++tries;
  }
  EXPECT_EQ(tries, max_interrupts + 1);
  EXPECT_EQ(verdict.failure, Failure::interrupted);
}

TEST(CompletionRules, C9AReadIsTriedOnceMoreAfterADeviceErrorAWriteNever) {
  Verdict verdict = classify(reading(), -EIO, 0);
  EXPECT_EQ(verdict.action, Action::resubmit);
  verdict = classify(verdict.next, -EIO, 0);
  EXPECT_EQ(verdict.failure, Failure::device);
  EXPECT_EQ(classify(writing(), -EIO, 0).failure, Failure::device);
}

TEST(CompletionRules, EveryOtherErrnoFailsAtOnceByItsOwnName) {
  const struct {
    int error;
    Failure failure;
    Errc code;
  } rows[] = {
      {EINVAL, Failure::misaligned, Errc::internal},          // C8
      {ENOSPC, Failure::no_space, Errc::no_space},            // C10
      {EDQUOT, Failure::no_space, Errc::no_space},            // C10
      {EFBIG, Failure::size_limit, Errc::io},                 // C11
      {ECANCELED, Failure::cancelled, Errc::cancelled},       // C12
      {EOPNOTSUPP, Failure::unsupported, Errc::unsupported},  // C13
      {EFAULT, Failure::bad_buffer, Errc::internal},          // C14
      {EBADF, Failure::refused, Errc::io},                    // C15
      {ENXIO, Failure::refused, Errc::io},                    // C15
  };
  const File file;
  const Request request{.file = &file};
  for (const auto& row : rows) {
    const Verdict verdict = classify(writing(), -row.error, 0);
    EXPECT_EQ(verdict.action, Action::fail) << row.error;
    EXPECT_EQ(verdict.failure, row.failure) << row.error;
    const Error error = failure_error(verdict.failure, verdict.next, -row.error, request, 0);
    EXPECT_EQ(error.code(), row.code) << row.error;
    EXPECT_EQ(error.errno_value(), row.error);
  }
}

TEST(CompletionRules, MoreBytesThanAskedForIsABugOfTheEngine) {
  EXPECT_EQ(classify(reading(4096), static_cast<std::int64_t>(want), 0).failure,
            Failure::impossible);
}

TEST(CompletionRules, AnyResultIsJudgedWithoutOverrunningTheOperation) {
  // Property: whatever an engine says, progress never exceeds the operation and never goes back.
  for (const Direction direction : {Direction::read, Direction::write}) {
    for (std::uint64_t done = 0; done < 16384; done += 4096) {
      for (std::int64_t result = -4095; result < 20000; result += 37) {
        const Attempt attempt{.direction = direction, .want = 16384, .done = done};
        const Verdict verdict = classify(attempt, result, 0);
        ASSERT_LE(verdict.next.done, attempt.want);
        ASSERT_GE(verdict.next.done, done);
        ASSERT_EQ(verdict.action == Action::done, verdict.next.done == attempt.want);
        ASSERT_EQ(verdict.action == Action::fail, verdict.failure != Failure::none);
      }
    }
  }
}

TEST(CompletionRules, ARetryWaitsLongerEachTimeUpToABound) {
  EXPECT_DOUBLE_EQ(retry_delay(1), 0.0001);
  EXPECT_DOUBLE_EQ(retry_delay(2), 0.0002);
  EXPECT_DOUBLE_EQ(retry_delay(64), 0.008);
}

}  // namespace
}  // namespace fathom::aio
