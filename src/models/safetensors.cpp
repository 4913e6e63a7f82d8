// SPDX-License-Identifier: Apache-2.0
#include "models/safetensors.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <set>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/units.hpp"
#include "models/text_file.hpp"

namespace fathom::models {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr std::uint64_t header_limit = 100'000'000;
constexpr std::uint64_t index_limit = 256 * MiB;

Error unreadable(Errc code, const std::filesystem::path& file) {
  return Error(code, "read a safetensors file")
      .on(file.string())
      .remedy(code == Errc::bad_input
                  ? "fetch the file again: it is damaged or not a safetensors file"
                  : "check the path, its permissions and the disk");
}

Result<void> read_at(int fd, const std::filesystem::path& file, std::uint64_t offset,
                     std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(unreadable(Errc::io, file).because_errno(errno));
    if (got == 0) {
      return fail(
          unreadable(Errc::bad_input, file)
              .because(fmt::format("it ends at {}, inside what was asked for", offset + done)));
    }
    done += static_cast<std::size_t>(got);
  }
  return {};
}

Result<UniqueFd> open_regular(const std::filesystem::path& file, std::uint64_t& bytes) {
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    const Errc code = errno == ENOENT ? Errc::not_found : Errc::io;
    return fail(unreadable(code, file).because_errno(errno));
  }
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail(unreadable(Errc::io, file).because_errno(errno));
  if (!S_ISREG(status.st_mode)) {
    return fail(unreadable(Errc::bad_input, file).because("it is not a regular file"));
  }
  bytes = static_cast<std::uint64_t>(status.st_size);
  return fd;
}

Result<std::vector<TensorInfo>> read_header(int fd, const std::filesystem::path& file,
                                            std::uint64_t file_bytes) {
  std::array<std::byte, 8> prefix;
  if (file_bytes < prefix.size()) {
    return fail(unreadable(Errc::bad_input, file).because("it is shorter than 8 bytes"));
  }
  FATHOM_CHECK(read_at(fd, file, 0, prefix));
  const auto length = std::bit_cast<std::uint64_t>(prefix);
  if (length > header_limit || length > file_bytes - prefix.size()) {
    return fail(
        unreadable(Errc::bad_input, file)
            .because(fmt::format("the header's length {} is beyond the file ({} bytes) or the "
                                 "limit ({})",
                                 length, file_bytes, header_limit)));
  }
  std::string header(length, '\0');
  FATHOM_CHECK(read_at(fd, file, prefix.size(), std::as_writable_bytes(std::span(header))));
  return parse_safetensors_header(header, prefix.size() + length, file_bytes, file.string());
}

// weight_map of an index: tensor name → shard, a plain file name beside the index.
Result<std::map<std::string, std::string>> read_index(const std::filesystem::path& file) {
  const auto bad = [&](std::string_view why) {
    return Error(Errc::bad_input, "read a safetensors index")
        .on(file.string())
        .because(why)
        .remedy("fetch the file again");
  };
  FATHOM_ASSIGN(const std::string text, read_text_file(file, index_limit));
  FATHOM_ASSIGN(const nlohmann::json root, parse_json(text, file.string()));
  const auto map = root.is_object() ? root.find("weight_map") : root.end();
  if (!root.is_object() || map == root.end() || !map->is_object()) {
    return fail(bad("it has no weight_map"));
  }
  std::map<std::string, std::string> shards;
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string()) return fail(bad(fmt::format("the file of \"{}\" is not a text", name)));
    const std::string& plain = shard.get_ref<const std::string&>();
    // A name that leaves the directory would let a model read any file of its user.
    if (plain.empty() || plain.find('/') != std::string::npos || plain == "." || plain == ".." ||
        plain.find('\0') != std::string::npos) {
      return fail(
          bad(fmt::format("the file \"{}\" of \"{}\" is not a plain file name", plain, name)));
    }
    shards.emplace(name, plain);
  }
  return shards;
}

}  // namespace

std::uint64_t TensorInfo::elements() const {
  std::uint64_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::uint64_t>(size);
  return count;
}

Result<SafetensorsReader> SafetensorsReader::open(const std::filesystem::path& path) {
  SafetensorsReader reader;
  std::map<std::string, std::string> weight_map;
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) {
    reader.files_.push_back(path);
  } else if (std::filesystem::exists(path / "model.safetensors", ignored)) {
    reader.files_.push_back(path / "model.safetensors");
  } else if (std::filesystem::exists(path / "model.safetensors.index.json", ignored)) {
    FATHOM_ASSIGN(weight_map, read_index(path / "model.safetensors.index.json"));
    std::set<std::string> shards;
    for (const auto& [name, shard] : weight_map) shards.insert(shard);
    std::vector<std::string> absent;
    for (const std::string& shard : shards) {
      reader.files_.push_back(path / shard);
      if (!std::filesystem::exists(path / shard, ignored)) absent.push_back(shard);
    }
    if (!absent.empty()) {
      return fail(Error(Errc::not_found, "open a model's weights")
                      .on(path.string())
                      .because(fmt::format("files that the index names are missing: {}",
                                           fmt::join(absent, ", ")))
                      .remedy("fetch the model again"));
    }
  } else {
    return fail(Error(Errc::not_found, "open a model's weights")
                    .on(path.string())
                    .because("neither model.safetensors nor model.safetensors.index.json is there")
                    .remedy("save the model as safetensors"));
  }

  for (std::size_t i = 0; i < reader.files_.size(); ++i) {
    const std::filesystem::path& file = reader.files_[i];
    std::uint64_t bytes = 0;
    FATHOM_ASSIGN(UniqueFd fd, open_regular(file, bytes));
    FATHOM_ASSIGN(std::vector<TensorInfo> tensors, read_header(fd.get(), file, bytes));
    reader.descriptors_.push_back(std::move(fd));
    for (TensorInfo& tensor : tensors) {
      tensor.file = static_cast<std::uint32_t>(i);
      // With an index, it says which file's tensor counts.
      if (!weight_map.empty()) {
        const auto listed = weight_map.find(tensor.name);
        if (listed == weight_map.end() || listed->second != file.filename()) continue;
      }
      reader.by_name_.emplace(tensor.name, reader.tensors_.size());
      reader.tensors_.push_back(std::move(tensor));
    }
  }
  std::vector<std::string> absent;
  for (const auto& [name, shard] : weight_map) {
    if (!reader.by_name_.contains(name)) absent.push_back(fmt::format("\"{}\" in {}", name, shard));
  }
  if (!absent.empty()) {
    return fail(Error(Errc::bad_input, "open a model's weights")
                    .on(path.string())
                    .because(fmt::format("the index lists tensors that the files do not hold: {}",
                                         fmt::join(absent, ", ")))
                    .remedy("fetch the model again"));
  }
  return reader;
}

const TensorInfo* SafetensorsReader::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : &tensors_[at->second];
}

Result<const TensorInfo*> SafetensorsReader::require(std::string_view name) const {
  if (const TensorInfo* tensor = find(name)) return tensor;
  const std::filesystem::path where = files_.size() == 1 ? files_[0] : files_[0].parent_path();
  return fail(Error(Errc::not_found, "find a tensor")
                  .on(fmt::format("{}, tensor \"{}\"", where.string(), name))
                  .because(fmt::format("it is not among the {} tensors there", tensors_.size()))
                  .remedy("check that config.json and the weights belong together"));
}

Result<void> SafetensorsReader::read(const TensorInfo& tensor, std::uint64_t byte_offset,
                                     std::span<std::byte> out) const {
  const std::filesystem::path& file = files_[tensor.file];
  if (byte_offset > tensor.bytes || out.size() > tensor.bytes - byte_offset) {
    return fail(unreadable(Errc::bad_input, file)
                    .because(fmt::format("{} bytes at {} are beyond its {} bytes", out.size(),
                                         byte_offset, tensor.bytes))
                    .within(fmt::format("tensor \"{}\"", tensor.name)));
  }
  Result<void> done =
      read_at(descriptors_[tensor.file].get(), file, tensor.offset + byte_offset, out);
  if (!done) {
    return fail(std::move(done).error().within(fmt::format("tensor \"{}\"", tensor.name)));
  }
  return {};
}

}  // namespace fathom::models
