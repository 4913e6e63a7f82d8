// SPDX-License-Identifier: Apache-2.0
#include "aio/uring_backend.hpp"

#include <cerrno>
#include <utility>

namespace fathom::aio {

Error uring_refusal(int error, std::int64_t setting, std::int64_t seccomp) {
  std::string why;
  std::string remedy = "nothing is lost: libaio and posix do the same work";
  if (error == EPERM && setting == 2) {
    why = "kernel.io_uring_disabled is 2: nobody may use io_uring";
    remedy = "sysctl kernel.io_uring_disabled=0";
  } else if (error == EPERM && setting == 1) {
    why = "kernel.io_uring_disabled is 1: only root and kernel.io_uring_group may use io_uring";
    remedy = "join that group, or sysctl kernel.io_uring_disabled=0";
  } else if ((error == EPERM || error == ENOSYS) && seccomp == 2) {
    why = "a seccomp filter forbids it, as container runtimes do by default";
    remedy = "run the container with a profile that allows io_uring";
  } else if (error == ENOSYS) {
    why = "the kernel has no io_uring";
  } else if (error == ENOMEM) {
    why = "locked memory is short";
    remedy = "raise ulimit -l";
  }
  auto refused = Error(Errc::unsupported, "set up io_uring");
  return (why.empty() ? std::move(refused) : std::move(refused).because(why))
      .because_errno(error)
      .remedy(remedy);
}

}  // namespace fathom::aio

#ifdef FATHOM_HAVE_URING
#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>
#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "aio/text_file.hpp"
#include "aio/uring_registry.hpp"
#include "base/assert.hpp"
#include "base/log.hpp"
#include "base/unique_fd.hpp"

// Flags newer than the headers of the oldest liburing supported are left out of the ladder.
#ifndef IORING_SETUP_SUBMIT_ALL
#define IORING_SETUP_SUBMIT_ALL 0U
#endif
#ifndef IORING_SETUP_COOP_TASKRUN
#define IORING_SETUP_COOP_TASKRUN 0U
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER 0U
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN 0U
#endif

namespace fathom::aio {
namespace {

constexpr std::uint64_t wake_id = ~std::uint64_t{0};
constexpr std::uint64_t cancel_id = wake_id - 1;
constexpr unsigned extra_entries = 8;  // wake poll, cancel, and old kernels' timeout

// Newest first; each rung is what the kernels before the newest flag of the rung above it know. A
// single issuer is the thread that enables the ring, so those rings begin disabled.
constexpr std::array<unsigned, uring_rungs> flag_ladder = {
    IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN |
        IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL |
        IORING_SETUP_R_DISABLED,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SUBMIT_ALL,
    0U,
};

std::string flag_names(unsigned flags) {
  constexpr std::array<std::pair<unsigned, const char*>, 4> names = {{
      {IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER"},
      {IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN"},
      {IORING_SETUP_COOP_TASKRUN, "COOP_TASKRUN"},
      {IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL"},
  }};
  std::string text;
  for (const auto& [flag, name] : names)
    if ((flags & flag) != 0) text += (text.empty() ? "" : "|") + std::string(name);
  return text.empty() ? "no flags" : text;
}

Error refusal(int error) {
  const auto setting = read_integer("/proc/sys/kernel/io_uring_disabled");
  const std::string status = read_text("/proc/thread-self/status").value_or("");
  const auto at = status.find("\nSeccomp:");
  const auto seccomp = at == std::string::npos
                           ? std::nullopt
                           : leading_integer(std::string_view(status).substr(at + 9));
  return uring_refusal(error, setting.value_or(0), seccomp.value_or(0));
}

// The kernel no longer knows, or no longer tells, which buffers it owns: going on could corrupt
// memory that has been reused.
[[noreturn]] void ring_is_lost(const char* call, int error) {
  log::error("io_uring: {} failed with errno {}", call, error);
  assertion_failed("ring works", __FILE__, __LINE__, "the ring failed with buffers in flight");
}

class UringBackend final : public Backend {
 public:
  UringBackend(unsigned in_flight, unsigned skip) : capacity_(in_flight), skip_(skip) {}

  ~UringBackend() override {
    FATHOM_ASSERT(outstanding_ == 0, "a backend dies with operations in flight");
    if (made_) ::io_uring_queue_exit(&ring_);
  }

  Result<void> make() {
    wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_)
      return fail(Error(Errc::unsupported, "set up io_uring").on("eventfd").because_errno(errno));
    int error = EINVAL;
    for (const unsigned flags : std::span(flag_ladder).subspan(std::min(skip_, uring_rungs - 1))) {
      io_uring_params params{};
      params.flags = flags;
      error = -::io_uring_queue_init_params(capacity_ + extra_entries, &ring_, &params);
      if (error == 0) {
        made_ = true;
        flags_ = flags;
        // Without it a full completion queue would lose completions, and with them buffers.
        if ((ring_.features & IORING_FEAT_NODROP) == 0)
          return fail(Error(Errc::unsupported, "set up io_uring")
                          .because("the kernel may drop completions (before 5.5)"));
        FATHOM_ASSERT(ring_.cq.ring_entries >= capacity_ + extra_entries,
                      "every operation in flight has room for its completion");
        return {};
      }
      if (error != EINVAL) break;  // anything else is not about flags
    }
    return fail(refusal(error));
  }

  Engine engine() const override { return Engine::io_uring; }
  unsigned capacity() const override { return capacity_; }

  Result<void> start() override {
    if ((flags_ & IORING_SETUP_R_DISABLED) != 0) {
      // By system call: liburing 2.3 declares io_uring_enable_rings but its library lacks the
      // symbol.
      if (::syscall(SYS_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr,
                    0) < 0)
        return fail(refusal(errno));
    }
    // The no-op proves that entering the ring works, not only setting it up.
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    ::io_uring_prep_nop(sqe);
    ::io_uring_sqe_set_data64(sqe, cancel_id);
    int sent = ::io_uring_submit_and_wait(&ring_, 1);
    while (sent == -EINTR) sent = ::io_uring_submit_and_wait(&ring_, 1);
    if (sent < 0) return fail(refusal(-sent));
    std::array<Completed, 1> none;
    collect(none);
    return {};
  }

  void stop() override { registry_.clear(); }

  Result<void> attach(const Arena& arena) override { return registry_.attach(arena); }
  Result<void> attach(const File& file) override { return registry_.attach(file); }
  void detach(const File& file) override { registry_.detach(file); }

  std::string describe() const override {
    return "io_uring: " + flag_names(flags_) + registry_.describe();
  }

  bool prepare(const Operation& operation) override {
    if (outstanding_ >= capacity_) return false;
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    if (sqe == nullptr) return false;
    const auto bytes = static_cast<unsigned>(operation.bytes);
    const bool reading = operation.direction == Direction::read;
    const int file = registry_.file_index(operation.file);
    const int fd = file >= 0 ? file : operation.fd;
    const int buffer = registry_.buffer_index(operation.buffer, bytes);
    if (buffer >= 0 && reading)
      ::io_uring_prep_read_fixed(sqe, fd, operation.buffer, bytes, operation.offset, buffer);
    else if (buffer >= 0)
      ::io_uring_prep_write_fixed(sqe, fd, operation.buffer, bytes, operation.offset, buffer);
    else if (reading)
      ::io_uring_prep_read(sqe, fd, operation.buffer, bytes, operation.offset);
    else
      ::io_uring_prep_write(sqe, fd, operation.buffer, bytes, operation.offset);
    if (file >= 0) ::io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    sqe->rw_flags = operation.flags;
    ::io_uring_sqe_set_data64(sqe, operation.id);
    ++outstanding_;
    return true;
  }

  int submit() override {
    while (::io_uring_sq_ready(&ring_) > 0) {
      const int sent = ::io_uring_submit(&ring_);
      if (sent > 0) continue;
      switch (-sent) {
        case EINTR: return -EINTR;
        case 0:
        case EAGAIN:
        case ENOMEM: return -EAGAIN;
        case EBUSY: return -EBUSY;
        default: ring_is_lost("submit", -sent);
      }
    }
    return 0;
  }

  int reap(std::span<Completed> out, double timeout) override {
    // A wake that is there already counts: it is gone from the ring once collected, and waiting
    // after it would be waiting for one that has been.
    woken_ = false;
    if (const int count = collect(out); count > 0 || timeout == 0 || woken_) return count;
    if (!armed_) {
      arm();
      if (submit() != 0) timeout = 0.001;  // a wake-up could be missed: look again soon
    }
    io_uring_cqe* cqe = nullptr;
    int waited = 0;
    if (timeout < 0) {
      waited = ::io_uring_wait_cqe(&ring_, &cqe);
    } else {
      const double whole = std::floor(timeout);
      __kernel_timespec limit{static_cast<std::int64_t>(whole),
                              static_cast<long long>((timeout - whole) * 1e9)};
      waited = ::io_uring_wait_cqe_timeout(&ring_, &cqe, &limit);
    }
    switch (-waited) {
      case 0:
      case ETIME:
      case EAGAIN:
      case EBUSY: return collect(out);
      case EINTR: return -EINTR;
      default: ring_is_lost("wait", -waited);
    }
  }

  void wake() override {
    const std::uint64_t one = 1;
    // Fails only when the counter is full, and then the ring is awake already.
    [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
  }

  void cancel() override {
#ifdef IORING_ASYNC_CANCEL_ANY
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    if (sqe == nullptr) return;  // the queue still drains, only not sooner
    ::io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    ::io_uring_sqe_set_data64(sqe, cancel_id);
    submit();
#endif
  }

 private:
  void arm() {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    if (sqe == nullptr) return;
    ::io_uring_prep_poll_add(sqe, wake_.get(), POLLIN);
    ::io_uring_sqe_set_data64(sqe, wake_id);
    armed_ = true;
  }

  // What has completed so far, without waiting.
  int collect(std::span<Completed> out) {
#if IORING_SETUP_DEFER_TASKRUN != 0
    // Deferred completions appear only when this thread asks for them.
    if ((flags_ & IORING_SETUP_DEFER_TASKRUN) != 0 && ::io_uring_cq_ready(&ring_) == 0)
      ::io_uring_get_events(&ring_);
#endif
    // Completions that do not fit wait in the kernel (NODROP); this counts those that were lost.
    if (*ring_.cq.koverflow != 0) ring_is_lost("a completion", EBADR);
    std::size_t count = 0;
    io_uring_cqe* cqe = nullptr;
    while (count < out.size() && ::io_uring_peek_cqe(&ring_, &cqe) == 0) {
      const std::uint64_t id = cqe->user_data;
      const std::int64_t result = cqe->res;
      ::io_uring_cqe_seen(&ring_, cqe);
      if (id == wake_id) {
        armed_ = false;
        woken_ = true;
        std::uint64_t wakes = 0;
        [[maybe_unused]] const auto got = ::read(wake_.get(), &wakes, sizeof wakes);
      } else if (id != cancel_id) {
        FATHOM_ASSERT(outstanding_ > 0, "more completions than operations");
        --outstanding_;
        out[count++] = {id, result};
      }
    }
    return static_cast<int>(count);
  }

  const unsigned capacity_, skip_;
  UniqueFd wake_;
  io_uring ring_{};
  UringRegistry registry_{ring_};
  unsigned flags_ = 0;
  unsigned outstanding_ = 0;
  bool made_ = false, armed_ = false, woken_ = false;
};

}  // namespace

Result<std::unique_ptr<Backend>> make_uring_backend(unsigned in_flight, unsigned skip) {
  auto backend = std::make_unique<UringBackend>(std::clamp(in_flight, 1U, 16384U), skip);
  FATHOM_CHECK(backend->make());
  return backend;
}

}  // namespace fathom::aio

#else

namespace fathom::aio {

Result<std::unique_ptr<Backend>> make_uring_backend(unsigned, unsigned) {
  return fail(Error(Errc::unsupported, "set up io_uring")
                  .because("this program was built without liburing")
                  .remedy("install liburing (2.3 or newer) and build again"));
}

}  // namespace fathom::aio

#endif
