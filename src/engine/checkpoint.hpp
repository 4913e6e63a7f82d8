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
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/unique_fd.hpp"
#include "config/loss_scale.hpp"
#include "engine/residence.hpp"

namespace fathom::engine {

// What a run needs besides the sections to go on as if nothing had happened.
struct Progress {
  std::int64_t step = 0;          // optimizer steps run
  std::int64_t updates = 0;       // steps that were not skipped: Adam's t, the schedule's iteration
  std::uint64_t tokens = 0;       // predictions trained on
  std::uint64_t next_window = 0;  // position in the data
  std::uint64_t seed = 0;
  std::optional<config::LossScaleState> loss_scale = {};  // of fp16 training
};

// Writes DIR/step-N and points `latest` at it, then removes older steps. All updates must be
// flushed.
Result<std::string> write_checkpoint(const std::string& directory, Residence& residence,
                                     const Progress& progress, const nlohmann::json& config);

class Checkpoint {
 public:
  // `path`: the --out directory or one of its step directories. Checks the manifest against the
  // file.
  static Result<Checkpoint> open(const std::string& path);
  // Whether `directory` has a committed checkpoint.
  static bool exists(const std::string& directory);

  struct Section {
    std::string name;                   // W, lo, m, v
    std::uint64_t offset = 0;           // in the state file
    std::uint64_t bytes = 0;            // payload
    std::vector<std::uint64_t> hashes;  // of each MiB
  };
  struct Chunk {
    std::uint32_t unit = 0;
    std::uint64_t first = 0, elements = 0;
    std::vector<Section> sections;
  };
  struct Parameter {
    std::string name;
    std::vector<std::int64_t> shape;
    std::uint64_t offset = 0;  // elements, in its unit
  };
  struct Unit {
    std::string name;
    std::uint64_t elements = 0;
    std::vector<Parameter> parameters;
  };

  const std::string& path() const { return path_; }  // of the step directory
  const std::string& state_path() const { return state_path_; }
  const Progress& progress() const { return progress_; }
  const nlohmann::json& config() const { return config_; }
  const std::vector<Unit>& units() const { return units_; }
  const std::vector<Chunk>& chunks() const { return chunks_; }

  // Reads a section and verifies it; damage is an Error that names unit, section, path and offset.
  Result<std::vector<std::byte>> read(const Chunk& chunk, const Section& section) const;
  // The zeros between a section and the next multiple of 4 KiB; nothing but `inspect` reads them.
  Result<void> check_padding(const Chunk& chunk, const Section& section) const;

 private:
  Result<void> read_at(std::uint64_t offset, std::span<std::byte> out) const;

  std::string path_, state_path_;
  Progress progress_;
  nlohmann::json config_;
  std::vector<Unit> units_;
  std::vector<Chunk> chunks_;
  UniqueFd fd_;
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
