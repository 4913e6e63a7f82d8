// SPDX-License-Identifier: Apache-2.0
//
// SafetensorsReader: the tensors of a safetensors file or of a model directory, by name.
//
// Purpose      Loading streams slices of tensors straight into partitions: nothing is mapped,
// nothing
//              is read that was not asked for. Headers are not trusted: lengths, shapes, offsets,
//              holes, overlaps and duplicates are checked before the first tensor is listed.
// Ownership    Holds one descriptor per file until destroyed. Movable.
// Threads      read may be called from any number of threads at once.
// Units        Bytes; offsets in TensorInfo count from the start of the file.
// Errors       Name the file and the tensor.
//
//   FATHOM_ASSIGN(auto reader, SafetensorsReader::open("/models/llama"));
//   FATHOM_ASSIGN(const TensorInfo* norm, reader.require("model.norm.weight"));
//   FATHOM_CHECK(reader.read(*norm, 0, std::as_writable_bytes(std::span(buffer))));
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "models/dtype.hpp"

namespace fathom::models {

struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::int64_t> shape;
  std::uint32_t file = 0;    // index into SafetensorsReader::files()
  std::uint64_t offset = 0;  // of the first byte, from the start of the file
  std::uint64_t bytes = 0;

  std::uint64_t elements() const;
};

class SafetensorsReader {
 public:
  // `path`: one .safetensors file, or a directory with model.safetensors or with
  // model.safetensors.index.json and the shards that it names.
  static Result<SafetensorsReader> open(const std::filesystem::path& path);

  // In the order of (file, offset): reading them so is sequential.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const std::vector<std::filesystem::path>& files() const { return files_; }

  const TensorInfo* find(std::string_view name) const;             // null when absent
  Result<const TensorInfo*> require(std::string_view name) const;  // not_found when absent

  // Fills `out` with the tensor's bytes from `byte_offset` on.
  Result<void> read(const TensorInfo& tensor, std::uint64_t byte_offset,
                    std::span<std::byte> out) const;

 private:
  std::vector<std::filesystem::path> files_;
  std::vector<UniqueFd> descriptors_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

// The header of one file, already cut out of it: `header` is the JSON text, `data_begin` the offset
// of the first data byte, `file_bytes` the length of the file. The whole format check; the fuzzer's
// entry. Tensors come sorted by offset, with `file` 0.
Result<std::vector<TensorInfo>> parse_safetensors_header(std::string_view header,
                                                         std::uint64_t data_begin,
                                                         std::uint64_t file_bytes,
                                                         std::string_view origin);

}  // namespace fathom::models
