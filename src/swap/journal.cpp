// SPDX-License-Identifier: Apache-2.0
#include "swap/journal.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/log.hpp"
#include "swap/block_hash.hpp"

namespace fathom::swap {

Journal::Journal(FileCalls& calls, UniqueFd file, std::string path, Superblock superblock,
                 std::uint64_t first_record)
    : calls_(&calls),
      file_(std::move(file)),
      path_(std::move(path)),
      superblock_(std::move(superblock)),
      layout_(layout_of(superblock_)),
      hash_count_(block_count(layout_)),
      first_record_(first_record),
      record_bytes_(record_bytes(layout_, hash_count_)) {}

Error Journal::failed(std::string_view tried) const {
  return Error(errno == ENOSPC ? Errc::no_space : Errc::io, tried)
      .on(path_)
      .because_errno(errno)
      .remedy("check the disk; the step committed before is still there: --resume continues it");
}

Result<Journal> Journal::create(FileCalls& calls, JobDirectory& job, Superblock superblock) {
  const std::vector<std::byte> head = encode(superblock);
  FATHOM_ASSIGN(UniqueFd file, job.create_file(journal_file_name));
  Journal journal(calls, std::move(file), fmt::format("{}/{}", job.path(), journal_file_name),
                  std::move(superblock), head.size());
  FATHOM_CHECK(calls.reserve(journal.file_.get(), journal.path_, journal.bytes()));
  if (calls.write_at(journal.file_.get(), head, 0) != 0)
    return fail(journal.failed("write the journal's superblock"));
  if (calls.sync_data(journal.file_.get()) != 0)
    return fail(journal.failed("sync the journal's superblock"));
  journal.buffer_.reserve(journal.record_bytes_);
  return journal;
}

Result<Journal> Journal::open(FileCalls& calls, JobDirectory& job, bool writable) {
  const std::string path = fmt::format("{}/{}", job.path(), journal_file_name);
  const auto unreadable = [&] {
    return Error(Errc::io, "read the journal")
        .on(path)
        .because_errno(errno)
        .remedy("check the disk");
  };
  const auto too_short = [&] {
    return Error(Errc::corrupt, "read the journal")
        .on(path)
        .because("it is shorter than its superblock says")
        .remedy("it was cut off after it was written: go on from another checkpoint");
  };
  FATHOM_ASSIGN(UniqueFd file, job.open_file(journal_file_name, writable));
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) return fail(unreadable());
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size < io_alignment) return fail(too_short());
  std::vector<std::byte> head(io_alignment);
  if (calls.read_at(file.get(), head, 0) != 0) return fail(unreadable());
  FATHOM_ASSIGN(const std::uint64_t head_bytes, superblock_bytes(head, path));
  if (head_bytes > size) return fail(too_short());
  head.resize(head_bytes);
  if (calls.read_at(file.get(), head, 0) != 0) return fail(unreadable());
  FATHOM_ASSIGN(Superblock superblock, decode_superblock(head, path));
  Journal journal(calls, std::move(file), path, std::move(superblock), head_bytes);
  // Checked before a record's size is believed and memory taken for it.
  if (journal.bytes() > size) return fail(too_short());
  journal.buffer_.reserve(journal.record_bytes_);
  return journal;
}

Result<std::optional<Record>> Journal::newest() {
  std::optional<Record> best;
  std::optional<Error> damage;
  for (const std::uint64_t area : {0U, 1U}) {
    buffer_.resize(record_bytes_);
    if (calls_->read_at(file_.get(), buffer_, first_record_ + area * record_bytes_) != 0)
      return fail(failed("read the journal"));
    if (std::ranges::all_of(std::span(buffer_).first(io_alignment),
                            [](std::byte byte) { return byte == std::byte{0}; }))
      continue;  // never written
    const std::string where =
        fmt::format("{} at offset {}", path_, first_record_ + area * record_bytes_);
    auto record = decode_record(buffer_, layout_, hash_count_, superblock_.id, where);
    if (record && record->sequence % 2 != area) {
      record = fail(Error(Errc::corrupt, "read a journal record")
                        .on(where)
                        .because("it lies in the other record's place")
                        .remedy("go on from another checkpoint"));
    }
    if (!record)
      damage = std::move(record).error();
    else if (!best || record->sequence > best->sequence)
      best = std::move(*record);
  }
  // The area that a commit under way writes is the older one: a record that was cut off was never
  // the committed one. Should a committed one have gone bad, the blocks' hashes tell.
  if (damage && best)
    log::info("{}; commit {} (step {}) is the newest whole one", damage->message(), best->sequence,
              best->state.step);
  if (damage && !best && damage->code() == Errc::unsupported) return fail(std::move(*damage));
  return best;
}

Result<void> Journal::append(const Record& record) {
  if (failure_) return fail(*failure_);
  encode(record, buffer_);
  const std::uint64_t offset = first_record_ + record.sequence % 2 * record_bytes_;
  if (calls_->write_at(file_.get(), buffer_, offset) != 0)
    failure_ = failed("write a journal record");
  else if (calls_->sync_data(file_.get()) != 0)
    failure_ = failed("sync the journal");
  if (failure_) return fail(*failure_);
  return {};
}

}  // namespace fathom::swap
