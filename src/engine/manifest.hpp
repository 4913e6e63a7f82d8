// SPDX-License-Identifier: Apache-2.0
//
// Manifest: what a checkpoint says of itself, as text and back. Pure.
//
// Purpose      The seal (its last line is the hash of the rest), and every number in it checked
//              against the others before anything is read or allocated by it: sections lie inside
//              the state file, parameters inside their unit, chunks make up the units.
// Threads      Stateless.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.hpp"
#include "base/units.hpp"
#include "config/loss_scale.hpp"

namespace fathom::engine {

inline constexpr const char* checkpoint_magic = "fathom-checkpoint";
inline constexpr int checkpoint_version = 1;
inline constexpr std::uint64_t checkpoint_block_bytes = 1 * MiB;

// What a run needs besides the sections to go on as if nothing had happened.
struct Progress {
  std::int64_t step = 0;          // optimizer steps run
  std::int64_t updates = 0;       // steps that were not skipped: Adam's t, the schedule's iteration
  std::uint64_t tokens = 0;       // predictions trained on
  std::uint64_t next_window = 0;  // position in the data
  std::uint64_t seed = 0;
  std::optional<config::LossScaleState> loss_scale = {};  // of fp16 training
};

struct ManifestSection {
  std::string name;                   // W, lo, m, v
  std::uint64_t offset = 0;           // in the state file
  std::uint64_t bytes = 0;            // payload
  std::vector<std::uint64_t> hashes;  // of each MiB
};
struct ManifestChunk {
  std::uint32_t unit = 0;
  std::uint64_t first = 0, elements = 0;
  std::vector<ManifestSection> sections;
};
struct ManifestParameter {
  std::string name;
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0;  // elements, in its unit
};
struct ManifestUnit {
  std::string name;
  std::uint64_t elements = 0;
  std::vector<ManifestParameter> parameters;
};

struct Manifest {
  Progress progress;
  nlohmann::json config;
  std::vector<ManifestUnit> units;
  std::vector<ManifestChunk> chunks;
  std::string state_file;  // a name, not a path
  std::uint64_t state_bytes = 0;
};

// A JSON text with the hash of itself in the last line, and back. The hash is seeded with the
// format's version, so a damaged or foreign text is refused before anything in it is believed.
std::string sealed(const nlohmann::json& manifest);
Result<nlohmann::json> unsealed(std::string_view text, const std::string& path);

// Errors: corrupt, unsupported; they name `path`.
Result<Manifest> parse_manifest(std::string_view text, const std::string& path);
// The part that a durable store's description has as well.
Result<std::vector<ManifestUnit>> parse_units(const nlohmann::json& units, const std::string& path);

}  // namespace fathom::engine
