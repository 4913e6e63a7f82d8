// SPDX-License-Identifier: Apache-2.0
//
// Job directories: private, locked, never through a link; what is dead may be removed, nothing else.
#include "swap/job_directory.hpp"

#include <csignal>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "swap/durable.hpp"
#include "swap/leftovers.hpp"

namespace fathom::swap {
namespace {

namespace fs = std::filesystem;

class JobDirectoryTest : public testing::Test {
 protected:
  std::string name() const { return parent() + "/" + job_directory_name(id_); }
  const std::string& parent() const { return directory_.path(); }
  Result<JobDirectory> create() {
    return JobDirectory::create(calls_, parent(), id_, 0, "/runs/a");
  }
  Result<JobDirectory> open(Access access, double patience = 0) {
    return JobDirectory::open(calls_, name(), access, patience);
  }
  void make() { ASSERT_TRUE(create()); }
  void expect_refused(const Result<JobDirectory>& job, const std::vector<std::string>& says) {
    ASSERT_FALSE(job);
    EXPECT_TRUE(mentions(job.error(), says));
    EXPECT_FALSE(job.error().remedy_text().empty()) << job.error().message();
  }

  FileCalls& calls_ = FileCalls::real();
  TemporaryDirectory directory_;
  StoreId id_ = StoreId::random();
};

TEST_F(JobDirectoryTest, SaysWhoseItIs) {
  make();
  const auto job = open(Access::read);
  ASSERT_TRUE(job) << job.error().message();
  EXPECT_EQ(job->owner().id, id_);
  EXPECT_EQ(job->owner().process, static_cast<std::uint64_t>(::getpid()));
  EXPECT_EQ(job->owner().user, ::geteuid());
  EXPECT_EQ(job->owner().output, "/runs/a");
  EXPECT_TRUE(lives(job->owner()));
}

TEST_F(JobDirectoryTest, RefusesALinkWhereTheDirectoryShouldCome) {
  const TemporaryDirectory victim;
  fs::create_symlink(victim.path(), name());
  expect_refused(create(), {name(), "the name is taken"});
  expect_refused(open(Access::run), {name(), "a link"});
  EXPECT_TRUE(fs::is_empty(victim.path()));
  EXPECT_TRUE(fs::is_symlink(name())) << "it is not ours to remove";
}

TEST_F(JobDirectoryTest, RefusesALinkWhereAFileShouldBe) {
  make();
  const std::string victim = parent() + "/victim";
  std::ofstream(victim) << "precious";
  for (const char* planted : {"data", "journal"}) {
    fs::create_symlink(victim, name() + "/" + planted);
    auto job = open(Access::run);
    ASSERT_TRUE(job);
    const auto made = job->create_file(planted);
    ASSERT_FALSE(made);
    EXPECT_TRUE(mentions(made.error(), {planted, "the name is taken"}));
    const auto opened = job->open_file(planted, true);
    ASSERT_FALSE(opened);
    EXPECT_TRUE(mentions(opened.error(), {planted, "it is a link"}));
  }
  EXPECT_EQ(fs::file_size(victim), 8U);
  fs::remove(name() + "/owner");
  fs::create_symlink(victim, name() + "/owner");
  expect_refused(open(Access::run), {name() + "/owner", "it is a link"});
}

TEST_F(JobDirectoryTest, RefusesAHardLinkAFifoAndOpenModes) {
  make();
  const std::string owner = name() + "/owner";
  fs::create_hard_link(owner, parent() + "/second");
  expect_refused(open(Access::run), {owner, "another name"});
  fs::remove(parent() + "/second");
  ASSERT_EQ(::chmod(owner.c_str(), 0644), 0);
  expect_refused(open(Access::run), {owner, "others may use it"});
  fs::remove(owner);
  ASSERT_EQ(::mkfifo(owner.c_str(), 0600), 0);
  expect_refused(open(Access::read), {owner, "not a regular file"});
  ASSERT_EQ(::chmod(name().c_str(), 0755), 0);
  expect_refused(open(Access::run), {name(), "others may use it"});
}

TEST_F(JobDirectoryTest, RefusesADirectoryThatEverybodyMayWriteToUnlessItIsSticky) {
  ASSERT_EQ(::chmod(parent().c_str(), 0777), 0);
  expect_refused(create(), {parent(), "everybody may write there", "chmod"});
  EXPECT_TRUE(fs::is_empty(parent()));
  ASSERT_EQ(::chmod(parent().c_str(), 01777), 0);
  EXPECT_TRUE(create());
  ASSERT_EQ(::chmod(parent().c_str(), 0777), 0);
  expect_refused(open(Access::read), {parent(), "everybody may write there"});
}

TEST_F(JobDirectoryTest, RefusesWhatBelongsToAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "giving files to another user needs root";
  make();
  ASSERT_EQ(::chown((name() + "/owner").c_str(), 12345, 12345), 0);
  expect_refused(open(Access::run), {name() + "/owner", "user 12345"});
  ASSERT_EQ(::chown(name().c_str(), 12345, 12345), 0);
  expect_refused(open(Access::run), {name(), "user 12345"});
}

TEST_F(JobDirectoryTest, IsOneRunsAtATime) {
  {
    const auto job = create();
    ASSERT_TRUE(job);
    expect_refused(open(Access::run), {name(), "process " + std::to_string(::getpid())});
    expect_refused(open(Access::read), {name(), "is using it"});
    EXPECT_TRUE(open(Access::look));
  }
  const auto first = open(Access::read), second = open(Access::read);
  EXPECT_TRUE(first && second) << "readers share";
  expect_refused(open(Access::run), {name()});
}

TEST_F(JobDirectoryTest, WaitsForTheLockOfAProcessThatIsGone) {
  make();
  // The child takes the lock and is killed while it holds it; we ask before it is gone.
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const int fd = ::open(name().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char byte = ::flock(fd, LOCK_EX) == 0 ? 'y' : 'n';
    if (::write(ready[1], &byte, 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte = 'n';
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  expect_refused(open(Access::run, 0), {name()});
  auto waiting = std::thread([&] { EXPECT_TRUE(open(Access::run, 60)); });
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  waiting.join();
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(JobDirectoryTest, BelongsToWhoTookItOver) {
  make();
  auto job = open(Access::run);
  ASSERT_TRUE(job);
  ASSERT_TRUE(job->take_over("/runs/b"));
  *job = std::move(*open(Access::look));
  EXPECT_EQ(job->owner().output, "/runs/b");
  EXPECT_EQ(job->owner().id, id_);
}

// --- leftovers ----------------------------------------------------------------------------------

class LeftoversTest : public JobDirectoryTest {
 protected:
  static bool nobody(const Owner&) { return false; }
  Leftover only() {
    const std::vector<Leftover> found = find_leftovers(calls_, parent(), referred_);
    EXPECT_EQ(found.size(), 1U);
    return found.empty() ? Leftover{} : found.front();
  }
  // A store whose process has ended: a child made it.
  void make_in_a_child() {
    const pid_t child = ::fork();
    if (child == 0) {
      auto job = create();
      if (job && job->create_file("data")) ::_exit(0);
      ::_exit(1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_EQ(status, 0);
  }
  std::function<bool(const Owner&)> referred_ = nobody;
};

TEST_F(LeftoversTest, RemovesWhatIsDeadAndNobodyRefersTo) {
  make_in_a_child();
  const Leftover found = only();
  EXPECT_EQ(found.kind, Leftover::Kind::stale) << found.why;
  const auto removed = remove_leftover(calls_, found, referred_);
  EXPECT_TRUE(removed) << removed.error().message();
  EXPECT_TRUE(fs::is_empty(parent()));
}

TEST_F(LeftoversTest, KeepsWhatARunRefersTo) {
  make_in_a_child();
  referred_ = [](const Owner& owner) { return owner.output == "/runs/a"; };
  const Leftover found = only();
  EXPECT_EQ(found.kind, Leftover::Kind::kept);
  EXPECT_FALSE(remove_leftover(calls_, found, referred_));
  EXPECT_TRUE(fs::exists(name() + "/data"));
}

TEST_F(LeftoversTest, LeavesALiveOneAlone) {
  const auto job = create();
  ASSERT_TRUE(job);
  const Leftover found = only();
  EXPECT_EQ(found.kind, Leftover::Kind::live);
  EXPECT_FALSE(remove_leftover(calls_, found, referred_));
  EXPECT_TRUE(fs::exists(name()));
}

TEST_F(LeftoversTest, LeavesAloneWhatIsNotProvablyOurs) {
  make_in_a_child();
  std::ofstream(name() + "/owner") << "something else";
  EXPECT_EQ(only().kind, Leftover::Kind::unclear);
  EXPECT_FALSE(remove_leftover(calls_, only(), referred_));
  fs::remove(name() + "/owner");
  EXPECT_EQ(only().kind, Leftover::Kind::unclear);
  EXPECT_TRUE(fs::exists(name() + "/data"));
}

TEST_F(LeftoversTest, DoesNotRemoveFilesThatItDidNotMake) {
  make_in_a_child();
  std::ofstream(name() + "/notes") << "mine";
  const auto removed = remove_leftover(calls_, only(), referred_);
  ASSERT_FALSE(removed);
  EXPECT_TRUE(mentions(removed.error(), {name(), "did not make"}));
  EXPECT_TRUE(fs::exists(name() + "/notes"));
}

TEST_F(LeftoversTest, DoesNotLookAtOtherNames) {
  fs::create_directory(parent() + "/fathom-notes");
  fs::create_directory(parent() + "/fathom-" + std::string(32, 'G'));
  EXPECT_TRUE(find_leftovers(calls_, parent(), referred_).empty());
}

TEST(Owner, IsDeadAfterARebootAndWhenItsNumberWasGivenAway) {
  Owner owner = this_process(StoreId::random(), 0, "");
  EXPECT_TRUE(lives(owner));
  Owner rebooted = owner;
  rebooted.boot[0] = rebooted.boot[0] == '0' ? '1' : '0';
  EXPECT_FALSE(lives(rebooted));
  Owner another = owner;
  ++another.start_time;
  EXPECT_FALSE(lives(another));
  Owner nobody = owner;
  nobody.process = (std::uint64_t{1} << 40);
  EXPECT_FALSE(lives(nobody));
}

}  // namespace
}  // namespace fathom::swap
