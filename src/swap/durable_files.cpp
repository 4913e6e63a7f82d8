// SPDX-License-Identifier: Apache-2.0
#include "swap/durable_files.hpp"

#include <cerrno>
#include <utility>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/assert.hpp"
#include "base/log.hpp"
#include "swap/block_hash.hpp"

namespace fathom::swap {

Layout whole_layout(const Layout& layout, const std::vector<double>& path_weights) {
  LayoutInput input{.unit_elements = {},
                    .chunk_elements = layout.chunk_elements(),
                    .sections = layout.sections(),
                    .path_weights = path_weights};
  for (std::uint32_t unit = 0; unit < layout.units(); ++unit) {
    std::uint64_t elements = 0;
    for (ChunkId c = layout.first_chunk(unit); c < layout.end_chunk(unit); ++c)
      elements += layout.chunk(c).elements;
    input.unit_elements.push_back(elements);
  }
  return Layout::build(input);
}

namespace {

Superblock superblock_of(const Layout& layout, const std::string& description) {
  Superblock superblock{.id = {},
                        .chunk_elements = layout.chunk_elements(),
                        .sections = layout.sections(),
                        .unit_elements = {},
                        .chunk_paths = {},
                        .paths = static_cast<std::uint32_t>(layout.file_bytes().size()),
                        .description = description};
  superblock.unit_elements.assign(layout.units(), 0);
  for (const Chunk& chunk : layout.chunks()) {
    superblock.unit_elements[chunk.unit] += chunk.elements;
    superblock.chunk_paths.push_back(chunk.path);
  }
  return superblock;
}

std::uint64_t data_bytes(std::uint64_t slot_bytes) {
  return slot_bytes == 0 ? 0 : data_header_bytes + 2 * slot_bytes;
}

}  // namespace

std::vector<std::uint64_t> durable_bytes(const Layout& layout, std::uint64_t description_bytes) {
  std::vector<std::uint64_t> bytes;
  for (const std::uint64_t slot : layout.file_bytes())
    bytes.push_back(data_bytes(slot) + owner_bytes);
  const Superblock superblock = superblock_of(layout, std::string(description_bytes, ' '));
  bytes[0] += encode(superblock).size() + 2 * record_bytes(layout, block_count(layout));
  return bytes;
}

Result<DurableFiles> DurableFiles::create(const Layout& layout, const DurableOptions& options) {
  FATHOM_ASSERT(layout.file_bytes().size() == options.parents.size(),
                "the layout and the options name as many paths");
  DurableFiles files(*options.calls);
  files.created_ = true;
  Superblock superblock = superblock_of(layout, options.description);
  superblock.id = StoreId::random();
  for (std::uint32_t path = 0; path < options.parents.size(); ++path) {
    FATHOM_ASSIGN(JobDirectory job, JobDirectory::create(*options.calls, options.parents[path],
                                                         superblock.id, path, options.output));
    files.jobs_.push_back(std::move(job));
    files.files_.emplace_back();
    FATHOM_CHECK(files.create_data(path, layout.file_bytes()[path], superblock.id));
  }
  FATHOM_ASSIGN(Journal journal,
                Journal::create(*options.calls, files.jobs_.front(), std::move(superblock)));
  files.journal_.emplace(std::move(journal));
  for (JobDirectory& job : files.jobs_) FATHOM_CHECK(job.sync());
  return files;
}

Result<DurableFiles> DurableFiles::open(const std::vector<std::string>& directories, Access access,
                                        FileCalls& calls, double patience) {
  const auto contradicts = [](const std::string& where, std::string_view why) {
    return fail(Error(Errc::corrupt, "open a durable store")
                    .on(where)
                    .because(why)
                    .remedy("name the directories of one store, in the order of its paths"));
  };
  if (directories.empty()) return contradicts("the list of directories", "it is empty");
  const bool writable = access == Access::run;
  DurableFiles files(calls);
  for (const std::string& directory : directories) {
    FATHOM_ASSIGN(JobDirectory job, JobDirectory::open(calls, directory, access, patience));
    if (job.owner().path != files.jobs_.size())
      return contradicts(directory, fmt::format("it is path {} of its store", job.owner().path));
    files.jobs_.push_back(std::move(job));
  }
  FATHOM_ASSIGN(Journal journal, Journal::open(calls, files.jobs_.front(), writable));
  files.journal_.emplace(std::move(journal));
  if (files.superblock().paths != directories.size())
    return contradicts(files.journal_path(),
                       fmt::format("its store has {} paths, not {}", files.superblock().paths,
                                   directories.size()));
  for (const JobDirectory& job : files.jobs_)
    if (job.owner().id != files.superblock().id)
      return contradicts(job.path(), "it belongs to another store");
  for (std::uint32_t path = 0; path < directories.size(); ++path) {
    files.files_.emplace_back();
    if (files.layout().file_bytes()[path] != 0) FATHOM_CHECK(files.open_data(path, writable));
  }
  FATHOM_ASSIGN(files.committed_, files.journal_->newest());
  return files;
}

DurableFiles::~DurableFiles() {
  if (!created_ || committed_) return;  // moved-from objects have no directories
  for (JobDirectory& job : jobs_)
    if (auto removed = job.remove_all(); !removed) log::warning("{}", removed.error().message());
}

std::string DurableFiles::data_path(std::uint32_t path) const {
  return fmt::format("{}/{}", jobs_[path].path(), data_file_name);
}

Result<void> DurableFiles::create_data(std::uint32_t path, std::uint64_t slot_bytes,
                                       const StoreId& id) {
  if (slot_bytes == 0) return {};
  const auto failed = [&](std::string_view tried) {
    return fail(Error(errno == ENOSPC ? Errc::no_space : Errc::io, tried)
                    .on(data_path(path))
                    .because_errno(errno)
                    .remedy("check the disk"));
  };
  FATHOM_ASSIGN(UniqueFd fd, jobs_[path].create_file(data_file_name));
  aio::prepare_new_file(fd.get());
  FATHOM_CHECK(calls_->reserve(fd.get(), jobs_[path].path(), data_bytes(slot_bytes)));
  const DataHeader header{.id = id, .path = path, .slot_bytes = slot_bytes};
  if (calls_->write_at(fd.get(), encode(header), 0) != 0)
    return failed("write a data file's header");
  if (calls_->sync_data(fd.get()) != 0) return failed("sync a data file");
  FATHOM_ASSIGN(aio::File file, aio::File::over(std::move(fd), data_path(path)));
  files_[path].emplace(std::move(file));
  return {};
}

Result<void> DurableFiles::open_data(std::uint32_t path, bool writable) {
  FATHOM_ASSIGN(UniqueFd fd, jobs_[path].open_file(data_file_name, writable));
  const std::string where = data_path(path);
  std::vector<std::byte> block(io_alignment);
  if (calls_->read_at(fd.get(), block, 0) != 0)
    return fail(Error(Errc::io, "read a data file's header")
                    .on(where)
                    .because_errno(errno)
                    .remedy("check the disk"));
  FATHOM_ASSIGN(const DataHeader header, decode_data_header(block, where));
  const std::uint64_t slot_bytes = layout().file_bytes()[path];
  const bool fits =
      header == DataHeader{.id = superblock().id, .path = path, .slot_bytes = slot_bytes};
  FATHOM_ASSIGN(aio::File file, aio::File::over(std::move(fd), where));
  if (!fits || file.size() != data_bytes(slot_bytes))
    return fail(Error(Errc::corrupt, "open a data file")
                    .on(where)
                    .because(fits ? "its length is not what its store's layout makes it"
                                  : "it belongs to another store or path")
                    .remedy("restore the file, or go on from another checkpoint"));
  files_[path].emplace(std::move(file));
  return {};
}

std::vector<std::string> DurableFiles::directories() const {
  std::vector<std::string> paths;
  for (const JobDirectory& job : jobs_) paths.push_back(job.path());
  return paths;
}

Result<void> DurableFiles::commit(const Record& record) {
  if (failure_) return fail(*failure_);
  for (std::uint32_t path = 0; path < files_.size(); ++path) {
    if (!files_[path]) continue;
    // Nobody would ever find a commit to a file that has no name any more.
    if (struct stat info{}; ::fstat(files_[path]->fd(), &info) == 0 && info.st_nlink == 0) {
      failure_ = Error(Errc::io, "commit to a data file")
                     .on(data_path(path))
                     .because("it was removed while the run used it")
                     .remedy("keep hands off job directories of live runs; start again");
      return fail(*failure_);
    }
    if (calls_->sync_data(files_[path]->fd()) == 0) continue;
    failure_ = Error(Errc::io, "sync a data file")
                   .on(data_path(path))
                   .because_errno(errno)
                   .remedy(
                       "what was written since the last commit may be lost, so it is not tried "
                       "again: check the disk, then --resume from the commit before");
    return fail(*failure_);
  }
  if (auto written = journal_->append(record); !written) {
    failure_ = written.error();
    return fail(*failure_);
  }
  // Copied into what is there: the same sizes every time, so nothing is allocated.
  if (committed_)
    *committed_ = record;
  else
    committed_ = record;
  return {};
}

Result<void> DurableFiles::take_over(const std::string& output) {
  for (JobDirectory& job : jobs_) FATHOM_CHECK(job.take_over(output));
  return {};
}

}  // namespace fathom::swap
