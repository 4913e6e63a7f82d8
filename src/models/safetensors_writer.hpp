// SPDX-License-Identifier: Apache-2.0
//
// SafetensorsWriter: writes tensors as a stream into one file or into the shards of a model
// directory.
//
// Purpose      All tensors are declared first, then their bytes are appended in that order, in
// pieces
//              of any size: memory stays bounded by the caller's piece. Until finish() returns, the
//              files carry the suffix ".partial"; finish() syncs and renames them, the index last,
//              so a crash leaves either the whole model or none.
// Ownership    Owns its descriptors; destroyed unfinished, it removes what it wrote. Movable.
// Threads      One thread at a time.
//
//   FATHOM_ASSIGN(auto writer, SafetensorsWriter::create_directory(dir, declarations,
//   5'000'000'000)); for (...) FATHOM_CHECK(writer.append(bytes)); FATHOM_CHECK(writer.finish());
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "models/dtype.hpp"

namespace fathom::models {

struct TensorDeclaration {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::int64_t> shape;
};

class SafetensorsWriter {
 public:
  // model.safetensors, or, when the tensors need more than `max_shard_bytes`, several
  // model-0000i-of-0000n.safetensors with model.safetensors.index.json. Tensors stay whole. Refuses
  // a directory that already holds one of these.
  static Result<SafetensorsWriter> create_directory(const std::filesystem::path& directory,
                                                    std::vector<TensorDeclaration> tensors,
                                                    std::uint64_t max_shard_bytes);
  // One file of any name; an existing one is replaced by finish().
  static Result<SafetensorsWriter> create_file(const std::filesystem::path& file,
                                               std::vector<TensorDeclaration> tensors);

  SafetensorsWriter(SafetensorsWriter&& other) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&& other) = delete;
  ~SafetensorsWriter();

  // The next bytes in the declared order; a piece may span tensors and shards.
  Result<void> append(std::span<const std::byte> bytes);

  // Fails when bytes are missing.
  Result<void> finish();

  std::uint64_t total_bytes() const { return total_; }

 private:
  struct Shard {
    std::filesystem::path file;
    std::size_t first = 0, count = 0;  // tensors
    std::uint64_t bytes = 0;           // of tensors
    bool created = false;
  };

  SafetensorsWriter() = default;
  static Result<SafetensorsWriter> create(std::vector<TensorDeclaration> tensors);
  Result<void> open_shard();
  Result<void> close_shard();
  Result<void> write_index();
  void remove_partials();

  std::filesystem::path directory_;
  std::vector<TensorDeclaration> tensors_;
  std::vector<std::uint64_t> sizes_;
  std::vector<Shard> shards_;
  std::size_t current_ = 0;
  std::uint64_t written_ = 0;  // in the current shard
  std::uint64_t total_ = 0;
  UniqueFd fd_;
  bool index_ = false, index_created_ = false, finished_ = false;
};

}  // namespace fathom::models
