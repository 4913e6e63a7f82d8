// SPDX-License-Identifier: Apache-2.0
#ifdef FATHOM_HAVE_URING
#include "aio/uring_registry.hpp"

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>
#include <sys/resource.h>

#include "aio/text_file.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

// The kernel's own limits: bytes of one buffer, and buffers of one ring (16384). The table is
// filled one entry at a time, so that operations may be in flight meanwhile.
constexpr std::uint64_t most_piece = 1 * GiB;
constexpr unsigned most_buffers = 16384;
constexpr unsigned most_files = 64;

std::string locked_memory_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return "unknown";
  return limit.rlim_cur == RLIM_INFINITY ? "unlimited" : format_bytes(limit.rlim_cur);
}

Error refused(const char* what, const std::string& target, int error) {
  Error refusal = Error(Errc::unsupported, what).on(target);
  if (error == EINVAL)
    refusal =
        std::move(refusal).because("the kernel has no tables that can be filled later (5.19)");
  return std::move(refusal).because_errno(error).remedy(
      "nothing is lost but a few µs of processor time for each MiB");
}

Error buffers_refused(std::uint64_t bytes, int error) {
  if (error != ENOMEM) return refused("register I/O buffers", format_bytes(bytes), error);
  return Error(Errc::unsupported, "register I/O buffers")
      .on(format_bytes(bytes))
      .because(fmt::format("{} wanted, this user may lock {} (ulimit -l) without CAP_IPC_LOCK",
                           format_bytes(bytes), locked_memory_limit()))
      .because_errno(error)
      .remedy("raise ulimit -l; without it each MiB costs a few µs more of processor time");
}

}  // namespace

Result<void> UringRegistry::update_buffers(std::size_t first, const std::vector<iovec>& buffers) {
  const int done =
      ::io_uring_register_buffers_update_tag(&ring_, static_cast<unsigned>(first), buffers.data(),
                                             nullptr, static_cast<unsigned>(buffers.size()));
  if (done == static_cast<int>(buffers.size())) return {};
  // Some may be in: an empty entry takes each of them out again.
  std::uint64_t bytes = 0;
  for (const iovec& buffer : buffers) bytes += buffer.iov_len;
  const std::vector<iovec> none(buffers.size(), iovec{});
  if (done > 0)
    ::io_uring_register_buffers_update_tag(&ring_, static_cast<unsigned>(first), none.data(),
                                           nullptr, static_cast<unsigned>(done));
  // A table that takes some says how many and not why it stopped: it is always about memory.
  return fail(buffers_refused(bytes, done < 0 ? -done : ENOMEM));
}

Result<void> UringRegistry::attach(const Arena& arena) {
  const auto mapping = arena.hold();
  if (!mapping || std::ranges::find(held_, mapping) != held_.end()) return {};
  const auto attempt = [&]() -> Result<void> {
    if (!buffer_table_) {
      const int made = ::io_uring_register_buffers_sparse(&ring_, most_buffers);
      if (made < 0) return fail(buffers_refused(arena.size(), -made));
      buffer_table_ = true;
    }
    std::vector<iovec> buffers;
    for (std::uint64_t at = 0; at < arena.size(); at += most_piece)
      buffers.push_back({arena.at(at), std::min(most_piece, arena.size() - at)});
    if (pieces_.size() + buffers.size() > most_buffers)
      return fail(Error(Errc::unsupported, "register I/O buffers")
                      .on(format_bytes(arena.size()))
                      .because(fmt::format("a ring knows at most {} GiB", most_buffers)));
    FATHOM_CHECK(update_buffers(pieces_.size(), buffers));
    for (const iovec& buffer : buffers) {
      const auto begin = reinterpret_cast<std::uintptr_t>(buffer.iov_base);
      pieces_.push_back({begin, begin + buffer.iov_len});
    }
    return {};
  };
  auto attached = attempt();
  if (attached) {
    held_.push_back(mapping);
    buffer_bytes_ += arena.size();
  } else {
    refusals_ += ", buffers not registered (" + attached.error().why() + ")";
  }
  return attached;
}

Result<void> UringRegistry::attach(const File& file) {
  if (file.fd() < 0 || file_index(file.id()) >= 0) return {};
  const auto attempt = [&]() -> Result<void> {
    const char* what = "register a file";
    if (!file_table_) {
      const int made = ::io_uring_register_files_sparse(&ring_, most_files);
      if (made < 0) return fail(refused(what, file.path(), -made));
      file_table_ = true;
      files_.assign(most_files, 0);
    }
    const auto place = std::ranges::find(files_, std::uint64_t{0});
    if (place == files_.end())
      return fail(Error(Errc::unsupported, what)
                      .on(file.path())
                      .because(fmt::format("the ring's table has {} places", most_files)));
    const int fd = file.fd();
    const int done = ::io_uring_register_files_update(
        &ring_, static_cast<unsigned>(place - files_.begin()), &fd, 1);
    if (done != 1) return fail(refused(what, file.path(), done < 0 ? -done : EINVAL));
    *place = file.id();
    return {};
  };
  auto attached = attempt();
  if (!attached) refusals_ += ", files not registered (" + attached.error().why() + ")";
  return attached;
}

void UringRegistry::detach(const File& file) {
  const int index = file_index(file.id());
  if (index < 0) return;
  const int none = -1;
  ::io_uring_register_files_update(&ring_, static_cast<unsigned>(index), &none, 1);
  files_[static_cast<std::size_t>(index)] = 0;
}

void UringRegistry::clear() {
  if (std::exchange(buffer_table_, false)) ::io_uring_unregister_buffers(&ring_);
  if (std::exchange(file_table_, false)) ::io_uring_unregister_files(&ring_);
  pieces_.clear();
  held_.clear();
  files_.clear();
  buffer_bytes_ = 0;
}

int UringRegistry::buffer_index(const std::byte* data, std::uint64_t bytes) const {
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  for (std::size_t i = 0; i < pieces_.size(); ++i)
    if (begin >= pieces_[i].begin && begin < pieces_[i].end)
      return bytes <= pieces_[i].end - begin ? static_cast<int>(i) : -1;
  return -1;
}

int UringRegistry::file_index(std::uint64_t id) const {
  if (id == 0) return -1;
  const auto place = std::ranges::find(files_, id);
  return place == files_.end() ? -1 : static_cast<int>(place - files_.begin());
}

std::string UringRegistry::describe() const {
  std::string text;
  if (buffer_bytes_ > 0) text += ", registered buffers " + format_bytes(buffer_bytes_);
  const auto files = std::ranges::count_if(files_, [](std::uint64_t id) { return id != 0; });
  if (files > 0) text += fmt::format(", registered files {}", files);
  return text + refusals_;
}

}  // namespace fathom::aio

#endif
