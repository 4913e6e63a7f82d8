// SPDX-License-Identifier: Apache-2.0
//
// What happens in a container that forbids system calls: a seccomp filter on one thread of the
// test.
#include <cerrno>
#include <cstddef>
#include <functional>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "aio/engines.hpp"
#include "aio/uring_backend.hpp"
#include "scratch_directory.hpp"
#include "transfers.hpp"

namespace fathom::aio {
namespace {

// From here on the calling thread, and threads it starts, get `error` for `call`.
bool forbid(unsigned call, unsigned error) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

class Refusal : public testing::Test {
 protected:
  // Runs `body` on a thread that dies with its filters.
  static void on_own_thread(const std::function<void()>& body) { std::thread(body).join(); }
  ScratchDirectory directory_;
};

TEST(UringRefusal, NamesTheSettingTheFilterTheKernelOrTheLimit) {
  const struct {
    int error;
    std::int64_t setting, seccomp;
    const char* says;
  } rows[] = {
      {EPERM, 2, 0, "io_uring_disabled is 2: nobody"},
      {EPERM, 2, 2, "io_uring_disabled is 2: nobody"},
      {EPERM, 1, 0, "kernel.io_uring_group"},
      {EPERM, 0, 2, "seccomp"},
      {ENOSYS, 0, 2, "seccomp"},
      {ENOSYS, 0, 0, "the kernel has no io_uring"},
      {ENOMEM, 0, 0, "ulimit -l"},
      {EMFILE, 0, 0, "errno 24"},
  };
  for (const auto& row : rows) {
    const Error error = uring_refusal(row.error, row.setting, row.seccomp);
    EXPECT_EQ(error.code(), Errc::unsupported);
    EXPECT_EQ(error.errno_value(), row.error);
    EXPECT_NE(error.message().find(row.says), std::string::npos) << error.message();
  }
}

TEST_F(Refusal, AForbiddenIoUringIsNamedWithTheFilterAsTheReason) {
  on_own_thread([&] {
    if (!probe_engine(Engine::io_uring, directory_.path()).works)
      GTEST_SKIP() << "io_uring does not work here to begin with";
    if (!forbid(SYS_io_uring_setup, EPERM)) GTEST_SKIP() << "no seccomp here";
    const EngineProbe probe = probe_engine(Engine::io_uring, directory_.path());
    EXPECT_FALSE(probe.works);
    EXPECT_NE(probe.reason.find("seccomp"), std::string::npos) << probe.reason;
    EXPECT_NE(probe.reason.find("errno 1"), std::string::npos) << probe.reason;
  });
}

TEST_F(Refusal, AutomaticFallsBackStepByStepAndTransfersTheSameBytes) {
  on_own_thread([&] {
    if (!forbid(SYS_io_uring_setup, ENOSYS)) GTEST_SKIP() << "no seccomp here";
    auto queue = Queue::open(directory_.path(), {});
    ASSERT_TRUE(queue) << queue.error().message();
    EXPECT_NE((*queue)->engine(), Engine::io_uring);
    EXPECT_NE((*queue)->engine_notes().find("io_uring:"), std::string::npos);

    ASSERT_TRUE(forbid(SYS_io_setup, EPERM));
    queue = Queue::open(directory_.path(), {});
    ASSERT_TRUE(queue) << queue.error().message();
    EXPECT_EQ((*queue)->engine(), Engine::posix);
    EXPECT_NE((*queue)->engine_notes().find("libaio:"), std::string::npos);

    auto file = File::create_scratch(directory_.path(), 256 * KiB);
    ASSERT_TRUE(file);
    Block out(256 * KiB), in(256 * KiB);
    out.fill(4);
    ASSERT_TRUE(write_now(**queue, *file, 0, out));
    ASSERT_TRUE(read_now(**queue, *file, 0, in));
    EXPECT_EQ(in, out);
  });
}

TEST_F(Refusal, ARingThatCannotBeEnteredIsRefusedByTheProbe) {
  on_own_thread([&] {
    if (!probe_engine(Engine::io_uring, directory_.path()).works)
      GTEST_SKIP() << "io_uring does not work here to begin with";
    if (!forbid(SYS_io_uring_enter, EPERM)) GTEST_SKIP() << "no seccomp here";
    EXPECT_FALSE(probe_engine(Engine::io_uring, directory_.path()).works);
    const auto queue = Queue::open(directory_.path(), {.engine = Engine::io_uring});
    ASSERT_FALSE(queue);
    EXPECT_EQ(queue.error().code(), Errc::unsupported);
  });
}

TEST_F(Refusal, AnExhaustedAioLimitIsNamedWithItsSysctl) {
  on_own_thread([&] {
    if (!forbid(SYS_io_setup, EAGAIN)) GTEST_SKIP() << "no seccomp here";
    const EngineProbe probe = probe_engine(Engine::libaio, directory_.path());
    EXPECT_FALSE(probe.works);
    EXPECT_NE(probe.reason.find("fs.aio-max-nr"), std::string::npos) << probe.reason;
  });
}

}  // namespace
}  // namespace fathom::aio
