// SPDX-License-Identifier: Apache-2.0
//
// Every operation of a durable store fails once, and from then on for ever: the right bytes or a
// typed Error, nothing leaked, and the commit before is still there.
#include <cerrno>
#include <optional>

#include <gtest/gtest.h>

#include "aio/faulty_backend.hpp"
#include "aio/posix_backend.hpp"
#include "swap/durable.hpp"
#include "swap/store.hpp"

namespace fathom::swap {
namespace {

// The real calls, of which number `at` (from 1) fails, or all from it on.
class FailingCalls final : public FileCalls {
 public:
  FailingCalls(std::uint64_t at, bool for_ever, int error = EIO)
      : at_(at), for_ever_(for_ever), error_(error) {}

  std::uint64_t calls() const { return calls_; }
  bool struck() const { return calls_ >= at_; }

  UniqueFd open_beneath(int directory, const char* name, int flags, mode_t mode) override {
    return strikes() ? UniqueFd() : FileCalls::open_beneath(directory, name, flags, mode);
  }
  int make_directory(int parent, const char* name) override {
    return strikes() ? -1 : FileCalls::make_directory(parent, name);
  }
  int rename(int directory, const char* from, const char* to) override {
    return strikes() ? -1 : FileCalls::rename(directory, from, to);
  }
  Result<void> reserve(int fd, const std::string& where, std::uint64_t bytes) override {
    if (strikes())
      return fail(Error(Errc::no_space, "reserve file space").on(where).because_errno(ENOSPC));
    return FileCalls::reserve(fd, where, bytes);
  }
  int read_at(int fd, std::span<std::byte> out, std::uint64_t offset) override {
    return strikes() ? -1 : FileCalls::read_at(fd, out, offset);
  }
  int write_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset) override {
    if (!strikes()) return FileCalls::write_at(fd, bytes, offset);
    // Half of it is there: a torn write.
    static_cast<void>(FileCalls::write_at(fd, bytes.first(bytes.size() / 2), offset));
    errno = error_;
    return -1;
  }
  int sync_data(int fd) override { return strikes() ? -1 : FileCalls::sync_data(fd); }
  int sync_directory(int fd) override { return strikes() ? -1 : FileCalls::sync_directory(fd); }
  int lock(int fd, int operation) override {
    return strikes() ? -1 : FileCalls::lock(fd, operation);
  }

 private:
  bool strikes() {
    ++calls_;
    errno = error_;
    return for_ever_ ? calls_ >= at_ : calls_ == at_;
  }
  const std::uint64_t at_;
  const bool for_ever_;
  const int error_;
  std::uint64_t calls_ = 0;
};

constexpr aio::FaultRule nothing_fails{.fault = aio::Fault::device_error, .at = ~std::uint64_t{0}};

// Creates a store, commits step 1 and step 2, closes it; then another process goes on to step 3.
// Each part may fail. What was committed, as far as the run knows:
struct Course {
  std::vector<std::string> jobs;
  std::int64_t sure = 0;   // the last commit that succeeded
  std::int64_t maybe = 0;  // one that failed, and may have reached the disk all the same
  std::optional<Error> error;
  std::uint64_t struck = 0;  // operations of the device
};

class DurableFaults : public testing::TestWithParam<bool> {
 protected:
  static constexpr std::uint64_t limit = 4000;

  // A small store: two chunks of 4096 elements on one path.
  static Layout small() {
    return Layout::build(
        {.unit_elements = {2 * 4096}, .chunk_elements = 4096, .sections = split_bf16_sections});
  }

  Result<std::unique_ptr<Store>> over(DurableFiles files, const aio::FaultRule& rule) {
    StoreOptions options;
    options.unit_names = {"layers.7"};
    options.queue.block_size = 16384;
    auto backend = std::make_unique<aio::FaultyBackend>(aio::make_posix_backend(4, 1),
                                                        std::vector<aio::FaultRule>{rule});
    backend_ = backend.get();
    std::vector<std::unique_ptr<aio::Queue>> queues;
    queues.push_back(aio::Queue::over(std::move(backend), options.queue));
    return Store::over(std::move(files), options, pool_, std::move(queues));
  }

  Result<void> commit(Store& store, std::int64_t step, Course& course) {
    FATHOM_CHECK(write_step(store, step));
    course.maybe = step;
    FATHOM_CHECK(store.commit(state_of_step(step)));
    course.sure = step;
    return {};
  }

  Result<void> first_process(const std::string& parent, FileCalls& calls,
                             const aio::FaultRule& rule, Course& course) {
    FATHOM_ASSIGN(DurableFiles files, DurableFiles::create(small(), {.parents = {parent},
                                                                     .description = "d",
                                                                     .output = "/runs/a",
                                                                     .calls = &calls}));
    course.jobs = files.directories();
    FATHOM_ASSIGN(const auto store, over(std::move(files), rule));
    Result<void> done = commit(*store, 1, course);
    if (done) done = commit(*store, 2, course);
    course.struck += backend_->struck();
    return done;
  }

  Result<void> second_process(FileCalls& calls, const aio::FaultRule& rule, Course& course) {
    FATHOM_ASSIGN(DurableFiles files, DurableFiles::open(course.jobs, Access::run, calls, 0));
    FATHOM_CHECK(files.take_over("/runs/a"));
    FATHOM_ASSIGN(const auto store, over(std::move(files), rule));
    auto read = store_holds(*store, course.sure);
    Result<void> done;
    if (!read)
      done = fail(read.error());
    else
      EXPECT_TRUE(*read) << "the second process sees other bytes than were committed";
    if (done) done = commit(*store, 3, course);
    course.struck += backend_->struck();
    return done;
  }

  // Runs both; `second_only`: the fault meets the second process.
  Course run(const std::string& parent, FileCalls& calls, const aio::FaultRule& rule,
             bool second_only) {
    Course course;
    const Result<void> first = second_only
                                   ? first_process(parent, FileCalls::real(), nothing_fails, course)
                                   : first_process(parent, calls, rule, course);
    if (!first) {
      course.error = first.error();
      return course;
    }
    if (!second_only) return course;
    if (const Result<void> second = second_process(calls, rule, course); !second)
      course.error = second.error();
    return course;
  }

  void expect_typed(const Error& error) {
    EXPECT_TRUE(error.code() == Errc::io || error.code() == Errc::no_space ||
                error.code() == Errc::corrupt || error.code() == Errc::timeout)
        << error.message();
    EXPECT_NE(error.message().find(parent_), std::string::npos)
        << "names the place: " << error.message();
  }

  // What a later, healthy process finds.
  void expect_recovered(const Course& course) {
    if (course.sure == 0 && course.maybe == 0) {
      EXPECT_TRUE(std::filesystem::is_empty(parent_)) << "a start that failed leaves nothing";
      return;
    }
    if (course.sure == 0 && std::filesystem::is_empty(parent_)) return;
    const auto reader = StoreReader::open(course.jobs, Access::read);
    ASSERT_TRUE(reader) << reader.error().message();
    const std::int64_t found = reader->record().state.step;
    EXPECT_TRUE(found == course.sure || found == course.maybe) << found;
    const auto same = reader_holds(*reader, found);
    ASSERT_TRUE(same) << same.error().message();
    EXPECT_TRUE(*same);
  }

  // For n = 1, 2, … until a course is not struck any more.
  template <class MakeCourse>
  void for_every_operation(MakeCourse make) {
    std::uint64_t n = 1, errors = 0;
    const std::size_t descriptors = open_descriptors();
    for (; n < limit; ++n) {
      const TemporaryDirectory directory;
      parent_ = directory.path();
      const auto [course, struck] = make(n);
      if (course.error) {
        ++errors;
        expect_typed(*course.error);
      }
      expect_recovered(course);
      ASSERT_EQ(open_descriptors(), descriptors) << "operation " << n << " leaked a descriptor";
      if (!struck) {
        EXPECT_FALSE(course.error) << course.error->message();
        break;
      }
      if (testing::Test::HasFailure()) FAIL() << "operation " << n;
    }
    EXPECT_LT(n, limit);
    EXPECT_GT(errors, 5U);
    RecordProperty("operations", static_cast<int>(n - 1));
    RecordProperty("errors", static_cast<int>(errors));
  }

  ThreadPool pool_{2};
  std::string parent_;
  aio::FaultyBackend* backend_ = nullptr;
};

TEST_P(DurableFaults, OfTheMetadataWhileAStoreIsMadeAndCommittedTo) {
  for_every_operation([this](std::uint64_t n) {
    FailingCalls calls(n, GetParam());
    Course course = run(parent_, calls, nothing_fails, false);
    return std::pair(course, calls.struck());
  });
}

TEST_P(DurableFaults, OfTheMetadataWhileAStoreIsResumed) {
  for_every_operation([this](std::uint64_t n) {
    FailingCalls calls(n, GetParam());
    Course course = run(parent_, calls, nothing_fails, true);
    return std::pair(course, calls.struck());
  });
}

TEST_P(DurableFaults, OfTheDataWhileStepsAreCommitted) {
  for_every_operation([this](std::uint64_t n) {
    Course course =
        run(parent_, FileCalls::real(),
            {.fault = aio::Fault::device_error, .at = n, .for_ever = GetParam()}, false);
    return std::pair(course, course.struck != 0);
  });
}

TEST_P(DurableFaults, OfTheDataWhileAStoreIsResumed) {
  for_every_operation([this](std::uint64_t n) {
    Course course = run(parent_, FileCalls::real(),
                        {.fault = aio::Fault::device_error, .at = n, .for_ever = GetParam()}, true);
    return std::pair(course, course.struck != 0);
  });
}

INSTANTIATE_TEST_SUITE_P(Durable, DurableFaults, testing::Bool(),
                         [](const auto& tested) { return tested.param ? "ForEver" : "Once"; });

// --- a sync that fails --------------------------------------------------------------------------

TEST(DurableSync, IsNeverTriedAgainAfterItFailed) {
  // Creation syncs three times (owner, data file, superblock) and names besides: find the commit's.
  for (const bool journal : {false, true}) {
    const TemporaryDirectory directory;
    class Calls final : public FileCalls {
     public:
      std::uint64_t syncs = 0, fails_at = 0, writes = 0;
      int sync_data(int fd) override {
        if (++syncs != fails_at) return FileCalls::sync_data(fd);
        errno = EIO;
        return -1;
      }
      int write_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset) override {
        ++writes;
        return FileCalls::write_at(fd, bytes, offset);
      }
    } calls;
    ThreadPool pool(1);
    DurableOptions options{
        .parents = {directory.path()}, .description = {}, .output = {}, .calls = &calls};
    auto files = DurableFiles::create(durable_layout(), options);
    ASSERT_TRUE(files) << files.error().message();
    const std::vector<std::string> jobs = files->directories();
    {
      auto store = Store::over(std::move(*files), durable_store_options(), pool);
      ASSERT_TRUE(store);
      ASSERT_TRUE(write_step(**store, 1));
      ASSERT_TRUE((*store)->commit(state_of_step(1)));
      ASSERT_TRUE(write_step(**store, 2));
      calls.fails_at = calls.syncs + (journal ? 2 : 1);
      const Result<void> failed = (*store)->commit(state_of_step(2));
      ASSERT_FALSE(failed);
      EXPECT_TRUE(mentions(failed.error(), {journal ? "/journal" : "/data", "sync"}));
      // The kernel would say yes now, having dropped the pages that it could not write.
      const std::uint64_t syncs = calls.syncs, writes = calls.writes;
      const Result<void> again = (*store)->commit(state_of_step(2));
      ASSERT_FALSE(again);
      EXPECT_EQ(again.error().message(), failed.error().message());
      EXPECT_EQ(calls.syncs, syncs);
      EXPECT_EQ(calls.writes, writes);
      const Result<void> write = write_sections(**store, 0, weights_mask, 3);
      ASSERT_FALSE(write) << "a write now could change what the failed commit may have committed";
      EXPECT_EQ(write.error().message(), failed.error().message());
    }
    const auto reader = StoreReader::open(jobs, Access::read);
    ASSERT_TRUE(reader) << reader.error().message();
    const std::int64_t found = reader->record().state.step;
    EXPECT_TRUE(journal ? found == 1 || found == 2 : found == 1) << found;
    const auto same = reader_holds(*reader, found);
    ASSERT_TRUE(same);
    EXPECT_TRUE(*same);
  }
}

}  // namespace
}  // namespace fathom::swap
