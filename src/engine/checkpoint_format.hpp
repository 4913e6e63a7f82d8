// SPDX-License-Identifier: Apache-2.0
//
// The constants of the checkpoint format, and the seal of its manifest. See
// docs/checkpoint-format.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/result.hpp"
#include "base/units.hpp"

namespace fathom::engine {

inline constexpr const char* checkpoint_magic = "fathom-checkpoint";
inline constexpr int checkpoint_version = 1;
inline constexpr const char* manifest_file_name = "manifest.json";
inline constexpr const char* state_file_name = "state-0.bin";
inline constexpr const char* latest_file_name = "latest";
inline constexpr std::uint64_t checkpoint_block_bytes = 1 * MiB;

// The manifest's text with the hash of itself in the last line, and back. The hash is seeded with
// the format's version, so a damaged or foreign manifest is refused before anything in it is
// believed.
std::string sealed(const nlohmann::json& manifest);
Result<nlohmann::json> unsealed(std::string_view text, const std::string& path);

}  // namespace fathom::engine
