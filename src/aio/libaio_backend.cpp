// SPDX-License-Identifier: Apache-2.0
#include "aio/libaio_backend.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <ctime>
#include <vector>

#include <fmt/format.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "aio/text_file.hpp"
#include "base/assert.hpp"
#include "base/log.hpp"
#include "base/unique_fd.hpp"

namespace fathom::aio {
namespace {

class LibaioBackend final : public Backend {
 public:
  explicit LibaioBackend(unsigned in_flight) : capacity_(in_flight) {
    blocks_.resize(in_flight);
    events_.resize(in_flight);
    for (iocb& block : blocks_) free_.push_back(&block);
    staged_.reserve(in_flight);
  }

  ~LibaioBackend() override {
    FATHOM_ASSERT(free_.size() == blocks_.size() && refused_.empty(),
                  "a backend dies with operations in flight");
    if (context_ != 0) ::syscall(SYS_io_destroy, context_);
  }

  Result<void> make() {
    signal_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    const char* tried = "set up libaio";
    if (!signal_) return fail(Error(Errc::unsupported, tried).on("eventfd").because_errno(errno));
    if (::syscall(SYS_io_setup, capacity_, &context_) == 0) return {};
    const int error = errno;
    context_ = 0;
    if (error == EAGAIN) {
      const auto most = read_integer("/proc/sys/fs/aio-max-nr");
      const auto used = read_integer("/proc/sys/fs/aio-nr");
      return fail(Error(Errc::unsupported, tried)
                      .because(fmt::format("{} operations wanted, fs.aio-max-nr is {} of which {} "
                                           "are taken on this host",
                                           capacity_, most.value_or(-1), used.value_or(-1)))
                      .because_errno(error)
                      .remedy("raise fs.aio-max-nr, or lower aio.queue_depth"));
    }
    return fail(
        Error(Errc::unsupported, tried)
            .because(error == ENOSYS ? "the kernel or a seccomp filter has no io_setup" : "")
            .because_errno(error)
            .remedy("use --engine auto"));
  }

  Engine engine() const override { return Engine::libaio; }
  unsigned capacity() const override { return capacity_; }

  bool prepare(const Operation& operation) override {
    if (free_.empty()) return false;
    iocb* block = free_.back();
    free_.pop_back();
    *block = iocb{};
    block->aio_data = operation.id;
    block->aio_lio_opcode =
        operation.direction == Direction::read ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE;
    block->aio_fildes = static_cast<__u32>(operation.fd);
    block->aio_buf = reinterpret_cast<std::uintptr_t>(operation.buffer);
    block->aio_nbytes = operation.bytes;
    block->aio_offset = static_cast<__s64>(operation.offset);
    block->aio_rw_flags = operation.flags;
    block->aio_flags = IOCB_FLAG_RESFD;
    block->aio_resfd = static_cast<__u32>(signal_.get());
    staged_.push_back(block);
    return true;
  }

  int submit() override {
    std::size_t sent = 0;
    int status = 0;
    while (sent < staged_.size() && status == 0) {
      const long taken = ::syscall(SYS_io_submit, context_, staged_.size() - sent, &staged_[sent]);
      if (taken > 0) {
        sent += static_cast<std::size_t>(taken);
      } else if (taken == 0 || errno == EAGAIN) {
        status = -EAGAIN;
      } else if (errno == EINTR) {
        status = -EINTR;
      } else {
        // The first one cannot be started (a bad descriptor, say); the others may.
        refused_.push_back({staged_[sent]->aio_data, -errno});
        free_.push_back(staged_[sent]);
        ++sent;
      }
    }
    staged_.erase(staged_.begin(), staged_.begin() + static_cast<std::ptrdiff_t>(sent));
    return status;
  }

  int reap(std::span<Completed> out, double timeout) override {
    int count = collect(out);
    if (count != 0 || timeout == 0) return count;
    pollfd waiting{signal_.get(), POLLIN, 0};
    timespec limit{};
    if (timeout > 0) {
      const double whole = std::floor(timeout);
      limit = {static_cast<time_t>(whole), static_cast<long>((timeout - whole) * 1e9)};
    }
    const int ready = ::ppoll(&waiting, 1, timeout < 0 ? nullptr : &limit, nullptr);
    if (ready < 0 && errno == EINTR) return -EINTR;
    if (ready > 0) {
      // Cleared before looking: what completes after this line signals again.
      std::uint64_t signals = 0;
      [[maybe_unused]] const auto got = ::read(signal_.get(), &signals, sizeof signals);
    }
    return collect(out);
  }

  void wake() override {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(signal_.get(), &one, sizeof one);
  }

  // The kernel cannot take disk operations back: they are waited for.
  void cancel() override {}

 private:
  int collect(std::span<Completed> out) {
    std::size_t count = 0;
    while (count < out.size() && !refused_.empty()) {
      out[count++] = refused_.back();
      refused_.pop_back();
    }
    const auto room = static_cast<long>(std::min(out.size() - count, events_.size()));
    if (room == 0) return static_cast<int>(count);
    timespec now{};
    const long got = ::syscall(SYS_io_getevents, context_, 0L, room, events_.data(), &now);
    if (got < 0) {
      if (errno == EINTR) return count > 0 ? static_cast<int>(count) : -EINTR;
      log::error("libaio: io_getevents failed with errno {}", errno);
      assertion_failed("events can be read", __FILE__, __LINE__, "buffers in flight are lost");
    }
    for (long i = 0; i < got; ++i) {
      const io_event& event = events_[static_cast<std::size_t>(i)];
      auto* block = reinterpret_cast<iocb*>(static_cast<std::uintptr_t>(event.obj));
      FATHOM_ASSERT(block >= blocks_.data() && block < blocks_.data() + blocks_.size(),
                    "an event of an unknown operation");
      free_.push_back(block);
      // res2 carries a second error of some drivers; a success with it is none.
      out[count++] = {event.data, event.res >= 0 && event.res2 < 0 ? event.res2 : event.res};
    }
    return static_cast<int>(count);
  }

  const unsigned capacity_;
  UniqueFd signal_;  // counts completions and wake-ups
  aio_context_t context_ = 0;
  std::vector<iocb> blocks_;
  std::vector<iocb*> free_, staged_;
  std::vector<io_event> events_;
  std::vector<Completed> refused_;
};

}  // namespace

Result<std::unique_ptr<Backend>> make_libaio_backend(unsigned in_flight) {
  auto backend = std::make_unique<LibaioBackend>(std::clamp(in_flight, 1U, 1U << 20));
  FATHOM_CHECK(backend->make());
  return backend;
}

}  // namespace fathom::aio
