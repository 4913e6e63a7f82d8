// SPDX-License-Identifier: Apache-2.0
//
// Checkpoint: the exact state of a committed step, in files of its own.
//
// Purpose      What `train` leaves in --out when it ends, and what --resume, export and inspect
// read. Files        DIR/latest names the newest step-NNNNNNNN directory; in it state-0.bin holds
// every chunk's
//              sections in the order W | lo | m | v, each padded to 4 KiB, and manifest.json says
//              where everything is, with an XXH3-64 per MiB. The manifest is renamed into place
//              after the data is synced, `latest` after that: a crash leaves the checkpoint before.
//              Little-endian. The complete format is docs/checkpoint-format.md.
// Ownership    Writer and reader own their descriptors.
// Threads      One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/unique_fd.hpp"
#include "comm/communicator.hpp"
#include "engine/manifest.hpp"
#include "engine/residence.hpp"
#include "swap/store_reader.hpp"

namespace fathom::engine {

// Writes DIR/step-N and points `latest` at it; other steps stay (checkpoint_series.hpp). All
// updates must be flushed. Of several `ranks` each writes its partitions to the one file, and the
// first does what is done once; all return together.
Result<std::string> write_checkpoint(const std::string& directory, Residence& residence,
                                     const Progress& progress, const nlohmann::json& config,
                                     comm::Communicator* ranks = nullptr);

class Checkpoint {
 public:
  // `path`: the --out directory, one of its step directories, the file `latest` or `best` that
  // names one, or a durable store's job directory.
  // An --out that refers to a durable store means its committed step; the store is locked against
  // runs (Access::read) or only looked at. Checks the manifest against the file.
  static Result<Checkpoint> open(const std::string& path, swap::Access access = swap::Access::read);
  // Whether `directory` has a committed checkpoint.
  static bool exists(const std::string& directory);

  using Section = ManifestSection;
  using Chunk = ManifestChunk;
  using Parameter = ManifestParameter;
  using Unit = ManifestUnit;

  const std::string& path() const { return path_; }  // of the step or job directory
  const std::string& run() const { return run_; }    // where the model's small files lie
  const std::string& state_path() const { return state_path_; }
  std::string path_of(const Chunk& chunk) const;                   // the file that holds it
  const swap::StoreReader* store() const { return store_.get(); }  // null: a manifest
  const Progress& progress() const { return progress_; }
  const nlohmann::json& config() const { return config_; }
  const std::vector<Unit>& units() const { return units_; }
  const std::vector<Chunk>& chunks() const { return chunks_; }

  // Reads a section and verifies it; damage is an Error that names unit, section, path and offset.
  Result<std::vector<std::byte>> read(const Chunk& chunk, const Section& section) const;
  // The zeros between a section and the next multiple of 4 KiB; nothing but `inspect` reads them.
  Result<void> check_padding(const Chunk& chunk, const Section& section) const;

 private:
  static Result<Checkpoint> open_store(const std::vector<std::string>& directories,
                                       swap::Access access);
  static Result<Checkpoint> open_job(const std::string& directory, swap::Access access);
  Result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const;
  swap::ChunkId id_of(const Chunk& chunk) const {
    return static_cast<swap::ChunkId>(&chunk - chunks_.data());
  }

  std::string path_, run_, state_path_;
  Progress progress_;
  nlohmann::json config_;
  std::vector<Unit> units_;
  std::vector<Chunk> chunks_;
  UniqueFd fd_;
  std::unique_ptr<swap::StoreReader> store_;
};

// Loads every section into a residence of the same model; chunk sizes and placement may differ.
Result<void> load_checkpoint(const Checkpoint& checkpoint, Residence& residence);

// Element ranges of one section of a unit, whatever the checkpoint's chunks: keeps the chunk that
// was read last, so sequential readers read and verify everything once.
class SectionReader {
 public:
  SectionReader(const Checkpoint& checkpoint, std::string section);
  // Fills `out` with elements [first, …) of the unit, `element_bytes` each.
  Result<void> read(std::uint32_t unit, std::uint64_t first, std::span<std::byte> out,
                    std::uint64_t element_bytes);
  std::uint64_t element_bytes() const;  // of this section; 0: the format does not have it

 private:
  const Checkpoint& checkpoint_;
  std::string section_;
  const Checkpoint::Chunk* held_ = nullptr;
  std::vector<std::byte> bytes_;
};

}  // namespace fathom::engine
