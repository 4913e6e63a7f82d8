// SPDX-License-Identifier: Apache-2.0
#include "models/safetensors_writer.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/assert.hpp"
#include "base/units.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* index_name = "model.safetensors.index.json";

std::filesystem::path partial(const std::filesystem::path& file) {
  return std::filesystem::path(file).concat(".partial");
}

Error failed(const char* tried, const std::filesystem::path& file, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  return Error(full ? Errc::no_space : Errc::io, tried)
      .on(file.string())
      .because_errno(error)
      .remedy(full ? "free space or choose another directory"
                   : "check the directory and its device");
}

Result<void> write_all(int fd, const std::filesystem::path& file,
                       std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail(failed("write a safetensors file", file, errno));
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

Result<UniqueFd> create_partial(const std::filesystem::path& file) {
  const std::filesystem::path name = partial(file);
  ::unlink(name.c_str());  // left by a run that was killed
  UniqueFd fd(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!fd) return fail(failed("create a safetensors file", name, errno));
  return fd;
}

Result<void> sync_and_close(UniqueFd& fd, const std::filesystem::path& file) {
  if (::fsync(fd.get()) != 0) return fail(failed("sync a safetensors file", file, errno));
  fd.reset();
  return {};
}

Result<void> publish(const std::filesystem::path& file) {
  if (::rename(partial(file).c_str(), file.c_str()) != 0) {
    return fail(failed("rename a safetensors file", file, errno));
  }
  return {};
}

Result<void> sync_directory(const std::filesystem::path& directory) {
  const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return fail(failed("sync a directory", directory, errno));
  return {};
}

}  // namespace

Result<SafetensorsWriter> SafetensorsWriter::create(std::vector<TensorDeclaration> tensors) {
  SafetensorsWriter writer;
  std::set<std::string_view> names;
  for (const TensorDeclaration& tensor : tensors) {
    const auto bad = [&](std::string_view why) {
      return fail(Error(Errc::bad_input, "declare a tensor").on(tensor.name).because(why));
    };
    if (tensor.name == "__metadata__") return bad("this name is reserved by the format");
    if (!names.insert(tensor.name).second) return bad("it is declared twice");
    std::uint64_t total_bits = bits(tensor.dtype);
    for (const std::int64_t size : tensor.shape) {
      if (size < 0 ||
          __builtin_mul_overflow(total_bits, static_cast<std::uint64_t>(size), &total_bits)) {
        return bad("its shape is negative or overflows");
      }
    }
    if (total_bits % 8 != 0) return bad("its elements do not fill whole bytes");
    writer.sizes_.push_back(total_bits / 8);
    writer.total_ += total_bits / 8;
  }
  writer.tensors_ = std::move(tensors);
  return writer;
}

Result<SafetensorsWriter> SafetensorsWriter::create_file(const std::filesystem::path& file,
                                                         std::vector<TensorDeclaration> tensors) {
  FATHOM_ASSIGN(SafetensorsWriter writer, create(std::move(tensors)));
  writer.directory_ = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  writer.shards_.push_back({file, 0, writer.tensors_.size(), writer.total_, false});
  FATHOM_CHECK(writer.open_shard());
  return writer;
}

Result<SafetensorsWriter> SafetensorsWriter::create_directory(
    const std::filesystem::path& directory, std::vector<TensorDeclaration> tensors,
    std::uint64_t max_shard_bytes) {
  FATHOM_ASSIGN(SafetensorsWriter writer, create(std::move(tensors)));
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return fail(failed("create a directory", directory, error.value()));
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model") && (name.ends_with(".safetensors") || name == index_name)) {
      return fail(Error(Errc::bad_input, "create a model's weights")
                      .on(entry.path().string())
                      .because("the directory already holds weights")
                      .remedy("choose an empty directory"));
    }
  }
  if (error) return fail(failed("list a directory", directory, error.value()));

  writer.directory_ = directory;
  for (std::size_t i = 0; i < writer.sizes_.size(); ++i) {
    const bool fits = !writer.shards_.empty() &&
                      writer.shards_.back().bytes + writer.sizes_[i] <= max_shard_bytes;
    if (!fits) writer.shards_.push_back({{}, i, 0, 0, false});
    ++writer.shards_.back().count;
    writer.shards_.back().bytes += writer.sizes_[i];
  }
  if (writer.shards_.empty()) writer.shards_.emplace_back();
  writer.index_ = writer.shards_.size() > 1;
  for (std::size_t i = 0; i < writer.shards_.size(); ++i) {
    writer.shards_[i].file =
        directory / (writer.index_ ? fmt::format("model-{:05}-of-{:05}.safetensors", i + 1,
                                                 writer.shards_.size())
                                   : std::string("model.safetensors"));
  }
  FATHOM_CHECK(writer.open_shard());
  return writer;
}

SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&& other) noexcept
    : directory_(std::move(other.directory_)),
      tensors_(std::move(other.tensors_)),
      sizes_(std::move(other.sizes_)),
      shards_(std::move(other.shards_)),
      current_(other.current_),
      written_(other.written_),
      total_(other.total_),
      fd_(std::move(other.fd_)),
      index_(other.index_),
      index_created_(other.index_created_),
      finished_(std::exchange(other.finished_, true)) {}

SafetensorsWriter::~SafetensorsWriter() {
  if (!finished_) remove_partials();
}

void SafetensorsWriter::remove_partials() {
  fd_.reset();
  for (const Shard& shard : shards_) {
    if (shard.created) ::unlink(partial(shard.file).c_str());
  }
  if (index_created_) ::unlink(partial(directory_ / index_name).c_str());
}

Result<void> SafetensorsWriter::open_shard() {
  Shard& shard = shards_[current_];
  Json header = Json::object();
  header["__metadata__"] = {{"format", "pt"}};
  std::uint64_t begin = 0;
  for (std::size_t i = shard.first; i < shard.first + shard.count; ++i) {
    const std::uint64_t end = begin + sizes_[i];
    header[tensors_[i].name] = {{"dtype", to_string(tensors_[i].dtype)},
                                {"shape", tensors_[i].shape},
                                {"data_offsets", {begin, end}}};
    begin = end;
  }
  // Names may hold any bytes in principle; what is not UTF-8 must not throw here.
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.append(round_up(text.size(), 8) - text.size(), ' ');
  const std::uint64_t length = text.size();
  FATHOM_ASSIGN(fd_, create_partial(shard.file));
  shard.created = true;
  written_ = 0;
  FATHOM_CHECK(write_all(fd_.get(), shard.file, std::as_bytes(std::span(&length, 1))));
  return write_all(fd_.get(), shard.file, std::as_bytes(std::span(text)));
}

Result<void> SafetensorsWriter::close_shard() {
  return sync_and_close(fd_, shards_[current_].file);
}

Result<void> SafetensorsWriter::append(std::span<const std::byte> bytes) {
  FATHOM_ASSERT(!finished_, "append after finish");
  while (!bytes.empty()) {
    const std::uint64_t room = shards_[current_].bytes - written_;
    if (room == 0) {
      if (current_ + 1 == shards_.size()) {
        return fail(
            Error(Errc::internal, "append to a safetensors file")
                .on(shards_[current_].file.string())
                .because(fmt::format("{} bytes beyond the declared tensors", bytes.size())));
      }
      FATHOM_CHECK(close_shard());
      ++current_;
      FATHOM_CHECK(open_shard());
      continue;
    }
    const auto piece = bytes.first(std::min<std::uint64_t>(room, bytes.size()));
    FATHOM_CHECK(write_all(fd_.get(), shards_[current_].file, piece));
    written_ += piece.size();
    bytes = bytes.subspan(piece.size());
  }
  return {};
}

Result<void> SafetensorsWriter::write_index() {
  Json index = {{"metadata", {{"total_size", total_}}}, {"weight_map", Json::object()}};
  for (const Shard& shard : shards_) {
    for (std::size_t i = shard.first; i < shard.first + shard.count; ++i) {
      index["weight_map"][tensors_[i].name] = shard.file.filename().string();
    }
  }
  const std::string text = index.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  const std::filesystem::path file = directory_ / index_name;
  FATHOM_ASSIGN(UniqueFd fd, create_partial(file));
  index_created_ = true;
  FATHOM_CHECK(write_all(fd.get(), file, std::as_bytes(std::span(text))));
  return sync_and_close(fd, file);
}

Result<void> SafetensorsWriter::finish() {
  FATHOM_ASSERT(!finished_, "finish called twice");
  // Shards that hold only empty tensors still need their file.
  while (written_ == shards_[current_].bytes && current_ + 1 < shards_.size()) {
    FATHOM_CHECK(close_shard());
    ++current_;
    FATHOM_CHECK(open_shard());
  }
  if (written_ != shards_[current_].bytes) {
    return fail(Error(Errc::internal, "finish a safetensors file")
                    .on(shards_[current_].file.string())
                    .because(fmt::format("{} bytes of its tensors were never given",
                                         shards_[current_].bytes - written_)));
  }
  FATHOM_CHECK(close_shard());
  if (index_) FATHOM_CHECK(write_index());
  for (const Shard& shard : shards_) FATHOM_CHECK(publish(shard.file));
  if (index_) FATHOM_CHECK(publish(directory_ / index_name));
  FATHOM_CHECK(sync_directory(directory_));
  finished_ = true;
  return {};
}

}  // namespace fathom::models
