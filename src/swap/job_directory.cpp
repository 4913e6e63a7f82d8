// SPDX-License-Identifier: Apache-2.0
#include "swap/job_directory.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.hpp"

namespace fathom::swap {
namespace {

constexpr std::string_view name_prefix = "fathom-";
constexpr auto lock_interval = std::chrono::milliseconds(10);

// What opening beneath says of links: ELOOP for a link, EXDEV for a way out, EEXIST for a name that
// is taken (a dangling link is a name too).
std::string_view why_refused(int error) {
  switch (error) {
    case ELOOP: return "it is a link, and links are not followed here";
    case ENOTDIR: return "it is no directory, or a link to one";
    case EXDEV: return "it leads out of the directory";
    case EEXIST: return "the name is taken, and nothing is ever replaced";
    default: return "";
  }
}

Error open_error(std::string_view tried, const std::string& where, int error) {
  const Errc code = error == ENOENT ? Errc::not_found : error == ENOSPC ? Errc::no_space : Errc::io;
  Error failure = Error(code, tried).on(where);
  const std::string_view why = why_refused(error);
  return (why.empty() ? std::move(failure) : std::move(failure).because(why))
      .because_errno(error)
      .remedy("name a directory of your own on a healthy disk");
}

// The directory that job directories lie in is the user's choice, links and all; what others may
// do in it is checked.
Result<UniqueFd> open_parent(const std::string& parent) {
  const char* tried = "keep a store in a directory";
  if (parent.empty() || parent.find('\0') != std::string::npos)
    return fail(Error(Errc::bad_config, tried)
                    .on("\"\"")
                    .because("the path is empty or holds NUL")
                    .remedy("name a directory"));
  UniqueFd fd(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail(open_error(tried, parent, errno));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return fail(open_error(tried, parent, errno));
  if ((info.st_mode & S_IWOTH) != 0 && (info.st_mode & S_ISVTX) == 0)
    return fail(Error(Errc::io, tried)
                    .on(parent)
                    .because("everybody may write there and it is not sticky: others could replace "
                             "the store")
                    .remedy(fmt::format("chmod o-w {0} or chmod +t {0}", parent)));
  return fd;
}

}  // namespace

std::string job_directory_name(const StoreId& id) { return std::string(name_prefix) + id.text(); }

std::vector<std::string> job_directories_in(const std::string& parent) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(parent, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(name_prefix)) continue;
    const std::string_view id = std::string_view(name).substr(name_prefix.size());
    if (id.size() == 32 && id.find_first_not_of("0123456789abcdef") == std::string_view::npos)
      names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

Error JobDirectory::failed(std::string_view tried, std::string_view name) const {
  return open_error(tried, name.empty() ? path_ : fmt::format("{}/{}", path_, name), errno);
}

Result<void> JobDirectory::check(int fd, const std::string& where, bool directory) const {
  const char* tried = "trust what lies in a job directory";
  const auto refuse = [&](std::string_view why) {
    return fail(Error(Errc::io, tried)
                    .on(where)
                    .because(why)
                    .remedy("if it is not yours, do not use it; else restore its owner and mode"));
  };
  struct stat info{};
  if (::fstat(fd, &info) != 0) return fail(open_error(tried, where, errno));
  if (directory ? !S_ISDIR(info.st_mode) : !S_ISREG(info.st_mode))
    return refuse(directory ? "it is not a directory" : "it is not a regular file");
  if (info.st_uid != ::geteuid())
    return refuse(fmt::format("it belongs to user {}, not to {}", info.st_uid, ::geteuid()));
  if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) return refuse("others may use it");
  if (!directory && info.st_nlink != 1) return refuse("it has another name elsewhere");
  return {};
}

Result<JobDirectory> JobDirectory::create(FileCalls& calls, const std::string& parent,
                                          const StoreId& id, std::uint32_t path,
                                          std::string_view output) {
  JobDirectory job(calls, fmt::format("{}/{}", parent, job_directory_name(id)));
  job.name_ = job_directory_name(id);
  FATHOM_ASSIGN(job.parent_, open_parent(parent));
  if (calls.make_directory(job.parent_.get(), job.name_.c_str()) != 0)
    return fail(job.failed("create a job directory", ""));
  job.owner_ = this_process(id, path, output);
  auto made = [&]() -> Result<void> {
    job.fd_ = calls.open_beneath(job.parent_.get(), job.name_.c_str(), O_RDONLY | O_DIRECTORY, 0);
    if (!job.fd_) return fail(job.failed("open a job directory", ""));
    FATHOM_CHECK(job.check(job.fd_.get(), job.path_, true));
    FATHOM_CHECK(job.acquire(Access::run, 0));
    FATHOM_CHECK(job.write_owner());
    if (calls.sync_directory(job.parent_.get()) != 0)
      return fail(open_error("sync a directory", parent, errno));
    return {};
  }();
  if (!made) {
    static_cast<void>(job.remove_all());
    return fail(std::move(made).error());
  }
  return job;
}

Result<JobDirectory> JobDirectory::open(FileCalls& calls, const std::string& directory,
                                        Access access, double patience) {
  std::filesystem::path given(directory);
  if (!given.has_filename()) given = given.parent_path();  // "DIR/"
  JobDirectory job(calls, given.string());
  job.name_ = given.filename().string();
  const std::string parent = given.has_parent_path() ? given.parent_path().string() : ".";
  FATHOM_ASSIGN(job.parent_, open_parent(parent));
  job.fd_ = calls.open_beneath(job.parent_.get(), job.name_.c_str(), O_RDONLY | O_DIRECTORY, 0);
  if (!job.fd_) return fail(job.failed("open a job directory", ""));
  FATHOM_CHECK(job.check(job.fd_.get(), job.path_, true));
  FATHOM_CHECK(job.acquire(access, patience));
  FATHOM_ASSIGN(job.owner_, job.read_owner());
  return job;
}

Result<void> JobDirectory::acquire(Access access, double patience) {
  if (access == Access::look) return {};
  const double until = now_seconds() + patience;
  while (calls_->lock(fd_.get(), access == Access::run ? LOCK_EX : LOCK_SH) != 0) {
    if (errno != EWOULDBLOCK) return fail(failed("lock a job directory", ""));
    if (now_seconds() < until) {
      std::this_thread::sleep_for(lock_interval);
      continue;
    }
    const auto owner = read_owner();
    const std::string who =
        owner ? fmt::format("process {}", owner->process) : std::string("another process");
    return fail(Error(Errc::io, "lock a job directory")
                    .on(path_)
                    .because(who + " is using it")
                    .remedy("wait until that run ends, or end it"));
  }
  return {};
}

Result<UniqueFd> JobDirectory::create_file(const char* name) {
  UniqueFd fd = calls_->open_beneath(fd_.get(), name, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (!fd) return fail(failed("create a file of the store", name));
  return fd;
}

Result<UniqueFd> JobDirectory::open_file(const char* name, bool writable) {
  // O_NONBLOCK: a FIFO must be refused, not waited for. It means nothing for regular files.
  UniqueFd fd = calls_->open_beneath(fd_.get(), name,
                                     (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY, 0);
  if (!fd) return fail(failed("open a file of the store", name));
  FATHOM_CHECK(check(fd.get(), fmt::format("{}/{}", path_, name), false));
  if (::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) & ~O_NONBLOCK) != 0)
    return fail(failed("open a file of the store", name));
  return fd;
}

Result<void> JobDirectory::sync() {
  if (calls_->sync_directory(fd_.get()) != 0) return fail(failed("sync a job directory", ""));
  return {};
}

Result<Owner> JobDirectory::read_owner() {
  FATHOM_ASSIGN(const UniqueFd file, open_file(owner_file_name, false));
  std::vector<std::byte> block(owner_bytes);
  if (calls_->read_at(file.get(), block, 0) != 0)
    return fail(failed("read whose job directory it is", owner_file_name));
  return decode_owner(block, fmt::format("{}/{}", path_, owner_file_name));
}

// Replaced whole: a store must not become unreadable because its owner's name was half written.
Result<void> JobDirectory::write_owner() {
  static_cast<void>(calls_->remove(fd_.get(), new_owner_file_name, false));  // of a killed process
  FATHOM_ASSIGN(const UniqueFd file, create_file(new_owner_file_name));
  if (calls_->write_at(file.get(), encode(owner_), 0) != 0)
    return fail(failed("write whose job directory it is", new_owner_file_name));
  if (calls_->sync_data(file.get()) != 0)
    return fail(failed("sync whose job directory it is", new_owner_file_name));
  if (calls_->rename(fd_.get(), new_owner_file_name, owner_file_name) != 0)
    return fail(failed("say whose job directory it is", owner_file_name));
  return sync();
}

Result<void> JobDirectory::take_over(std::string_view output) {
  owner_ = this_process(owner_.id, owner_.path, output);
  return write_owner();
}

Result<void> JobDirectory::remove_all() {
  if (fd_) {
    for (const char* name :
         {data_file_name, journal_file_name, new_owner_file_name, owner_file_name})
      if (calls_->remove(fd_.get(), name, false) != 0 && errno != ENOENT)
        return fail(failed("remove a file of the store", name));
  }
  if (calls_->remove(parent_.get(), name_.c_str(), true) != 0)
    return fail(errno == ENOTEMPTY ? Error(Errc::io, "remove a job directory")
                                         .on(path_)
                                         .because("files that Fathom did not make lie in it")
                                         .remedy("look at them, then remove the directory by hand")
                                   : failed("remove a job directory", ""));
  return {};
}

}  // namespace fathom::swap
