// SPDX-License-Identifier: Apache-2.0
//
// The watch, beaten by hand: no clock and no thread decides what it finds.
#include "comm/watch.hpp"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "comm/error_text.hpp"
#include "comm/progress.hpp"

namespace fathom::comm {
namespace {

constexpr Call gather{.collective = Collective::all_gather, .element = Element::bf16, .count = 12};
constexpr Call scatter{
    .collective = Collective::reduce_scatter, .element = Element::fp32, .count = 34};

// A store that can be lost.
class LosableStore final : public Store {
 public:
  Result<void> set(const std::string& key, const std::string& value) override {
    if (lost) return fail(gone());
    return inner_->set(key, value);
  }
  Result<std::optional<std::string>> get(const std::string& key) override {
    if (lost) return fail(gone());
    return inner_->get(key);
  }
  Result<std::string> offer(const std::string& key, const std::string& value) override {
    if (lost) return fail(gone());
    return inner_->offer(key, value);
  }
  Result<void> remove(const std::string& key) override { return inner_->remove(key); }
  std::string server() const override { return "rank 0 at node1:29500"; }

  bool lost = false;

 private:
  static Error gone() { return Error(Errc::io, "read").because("connection reset"); }
  std::shared_ptr<Store> inner_ = memory_store();
};

// Three ranks: a collective waits 10 beats, a rank is dead after 5.
struct Job {
  std::shared_ptr<LosableStore> store = std::make_shared<LosableStore>();
  std::vector<std::unique_ptr<Watch>> ranks;

  Job() {
    const Limits limits{.beat = 1, .arrival = 10, .silence = 5, .exit = 0};
    for (int rank = 0; rank < 3; ++rank)
      ranks.push_back(std::make_unique<Watch>(store, rank, 3, limits, Watch::Beats::by_hand));
  }

  void beat(int times, int without = -1) {
    for (int i = 0; i < times; ++i)
      for (int rank = 0; rank < 3; ++rank)
        if (rank != without && ranks[static_cast<std::size_t>(rank)] != nullptr)
          ranks[static_cast<std::size_t>(rank)]->beat();
  }

  // The error that all ranks but `without` have; empty unless it is one.
  std::string error(int without = -1) {
    std::string common;
    for (int rank = 0; rank < 3; ++rank) {
      const auto& watch = ranks[static_cast<std::size_t>(rank)];
      if (rank == without || watch == nullptr) continue;
      const Result<void> status = watch->status();
      const std::string text = status ? "none" : status.error().message();
      if (!common.empty() && text != common) return "";
      common = text;
    }
    return common;
  }
};

void all_enter_and_leave(Job& job, const Call& call) {
  for (const auto& watch : job.ranks) watch->leave(watch->enter(call));
}

TEST(Watch, LeavesAHealthyJobAlone) {
  Job job;
  for (int step = 0; step < 30; ++step) {
    all_enter_and_leave(job, gather);
    job.beat(1);
  }
  EXPECT_EQ(job.error(), "none");
}

TEST(Watch, ARankMayComputeLongerThanACollectiveMayWait) {
  Job job;
  all_enter_and_leave(job, gather);
  job.beat(100);
  EXPECT_EQ(job.error(), "none");
}

TEST(Watch, NamesTheRankThatDidNotArrive) {
  Job job;
  all_enter_and_leave(job, gather);
  job.ranks[0]->enter(scatter);
  job.ranks[2]->enter(scatter);
  job.beat(9);
  EXPECT_EQ(job.error(), "none") << "too early";
  job.beat(4);
  EXPECT_EQ(
      job.error(),
      "reduce_scatter (sum) of 34 fp32 for each rank: collective 2 of 3 ranks: rank 1 did not "
      "arrive within 10 s (rank 1: busy since collective 1); look at what these ranks printed "
      "last; FATHOM_COLLECTIVE_TIMEOUT=SECONDS allows more time");
}

TEST(Watch, ARankThatArrivesInTimeIsNotBlamed) {
  Job job;
  std::vector<std::uint64_t> numbers;
  numbers.push_back(job.ranks[0]->enter(gather));
  job.beat(9);
  numbers.push_back(job.ranks[1]->enter(gather));
  numbers.push_back(job.ranks[2]->enter(gather));
  for (std::size_t rank = 0; rank < 3; ++rank) job.ranks[rank]->leave(numbers[rank]);
  job.beat(20);
  EXPECT_EQ(job.error(), "none");
}

TEST(Watch, NamesRanksThatNeverStarted) {
  Job job;
  job.ranks[2].reset();
  job.store = nullptr;
  Job fresh;
  fresh.ranks[0]->enter(gather);
  for (int i = 0; i < 13; ++i) fresh.ranks[0]->beat();
  const Result<void> status = fresh.ranks[0]->status();
  ASSERT_FALSE(status);
  EXPECT_NE(
      status.error().why().find("ranks 1, 2 did not arrive within 10 s (rank 1: never started; "
                                "rank 2: never started)"),
      std::string::npos)
      << status.error().message();
}

TEST(Watch, NamesTheRankThatGivesNoSignOfLife) {
  Job job;
  all_enter_and_leave(job, gather);
  job.beat(2);
  job.ranks[2]->enter(scatter);
  job.beat(1);
  job.beat(4, 2);
  EXPECT_EQ(job.error(2), "none") << "too early";
  job.beat(3, 2);
  EXPECT_EQ(
      job.error(2),
      "go on without a rank: rank 2: it has given no sign of life for 5 s (in collective 2, "
      "reduce_scatter (sum) of 34 fp32 for each rank); see why its process ended: its output, "
      "the kernel's log, its machine");
}

TEST(Watch, OthersSeeThatRank0Died) {
  Job job;
  job.beat(2);
  job.beat(8, 0);
  EXPECT_NE(job.error(0).find("rank 0: it has given no sign of life"), std::string::npos)
      << job.error(0);
}

TEST(Watch, AReportReachesAllWithTheRanksNumber) {
  Job job;
  job.ranks[1]->report(Error(Errc::no_space, "write").on("/mnt/x").because("disk full"));
  EXPECT_TRUE(job.ranks[1]->failed());
  EXPECT_FALSE(job.ranks[2]->failed());
  job.beat(1);
  EXPECT_EQ(job.error(), "write: rank 1, /mnt/x: disk full");
  EXPECT_EQ(job.ranks[2]->status().error().code(), Errc::no_space);
}

TEST(Watch, TheFirstErrorStandsForThoseWithoutOne) {
  Job job;
  job.ranks[1]->report(Error(Errc::io, "first"));
  job.ranks[2]->report(Error(Errc::io, "second"));
  job.beat(1);
  EXPECT_EQ(job.error(2), "first: rank 1");
  EXPECT_EQ(job.ranks[2]->status().error().message(), "second: rank 2");
}

TEST(Watch, ARankThatLeavesEarlyIsNamed) {
  Job job;
  all_enter_and_leave(job, gather);
  job.ranks[0]->enter(scatter);
  job.ranks[1].reset();
  job.beat(1);
  job.beat(1);
  EXPECT_NE(job.error().find("rank 1: it ended after collective 1 while others are at 2"),
            std::string::npos)
      << job.error();
}

TEST(Watch, RanksMayLeaveOneAfterTheOtherInTheEnd) {
  Job job;
  all_enter_and_leave(job, gather);
  job.ranks[1].reset();
  job.beat(30);
  EXPECT_EQ(job.error(), "none");
}

TEST(Watch, ALostStoreNamesItsServer) {
  Job job;
  job.beat(1);
  job.store->lost = true;
  job.beat(1);
  EXPECT_EQ(
      job.error(),
      "hear from the other ranks: rank 0 at node1:29500: connection reset; see why the process "
      "that serves the ranks' store is gone or stopped: its output, the kernel's log, its "
      "machine");
}

TEST(Watch, CollectivesThatCompleteLaterBlameTheSlowest) {
  Job job;
  for (const auto& watch : job.ranks) {
    watch->enter(gather);
    watch->enter(scatter);
  }
  job.ranks[0]->leave(1);
  job.ranks[2]->leave(1);
  job.beat(14);
  EXPECT_NE(job.error().find("every rank called it and it did not complete within 10 s; furthest "
                             "behind: rank 1"),
            std::string::npos)
      << job.error();
}

TEST(Watch, HooksRunAtEachBeat) {
  Job job;
  int calls = 0;
  job.ranks[0]->on_beat([&] { ++calls; });
  job.beat(3);
  EXPECT_EQ(calls, 3);
}

TEST(Progress, SurvivesTheStore) {
  const Progress progress{.beat = 3, .entered = 5, .done = 4, .left = true, .doing = "a b c"};
  const auto read = decode_progress(encode(progress));
  ASSERT_TRUE(read);
  EXPECT_EQ(encode(*read), encode(progress));
  EXPECT_TRUE(read->left);
  EXPECT_EQ(read->doing, "a b c");
  for (const char* broken : {"", "1", "1 2 3", "1 2 x 0 ", "1 2 3 0"})
    EXPECT_FALSE(decode_progress(broken)) << broken;
}

TEST(ErrorText, SurvivesTheStore) {
  const Error error =
      Error(Errc::corrupt, "read").on("a file").because("a bit\nflipped").remedy("do: this; that");
  const Error read = decode_error(encode_error(error));
  EXPECT_EQ(read.message(), error.message());
  EXPECT_EQ(read.code(), Errc::corrupt);
  for (const char* broken : {"", "5",
                             "x\x1f"
                             "a\x1f"
                             "b\x1f"
                             "c\x1f"
                             "d"})
    EXPECT_EQ(decode_error(broken).code(), Errc::internal) << broken;
}

TEST(Limits, ComeFromTheEnvironment) {
  const auto limits =
      limits_of({{"FATHOM_COLLECTIVE_TIMEOUT", "1800"}, {"FATHOM_SILENCE_TIMEOUT", "5"}});
  ASSERT_TRUE(limits);
  EXPECT_EQ(limits->arrival, 1800);
  EXPECT_EQ(limits->silence, 5);
  EXPECT_EQ(limits->beat, 0.5);
  EXPECT_EQ(limits_of({})->arrival, 600);
  for (const char* wrong : {"0", "-1", "soon", "1m", "inf"}) {
    const auto refused = limits_of({{"FATHOM_COLLECTIVE_TIMEOUT", wrong}});
    ASSERT_FALSE(refused) << wrong;
    EXPECT_EQ(refused.error().target(), std::string("FATHOM_COLLECTIVE_TIMEOUT=") + wrong);
  }
}

}  // namespace
}  // namespace fathom::comm
