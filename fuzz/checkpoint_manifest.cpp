// SPDX-License-Identifier: Apache-2.0
//
// Any sealed text is a manifest whose parts lie inside each other, or an Error that names the file.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.hpp"
#include "base/units.hpp"
#include "engine/manifest.hpp"

namespace {

void check(std::string_view text) {
  const auto manifest = fathom::engine::parse_manifest(text, "a file");
  if (!manifest) {
    FATHOM_ASSERT(manifest.error().message().find("a file") != std::string::npos,
                  "the file is named");
    return;
  }
  for (const auto& chunk : manifest->chunks) {
    FATHOM_ASSERT(chunk.unit < manifest->units.size(), "a chunk has its unit");
    const auto& unit = manifest->units[chunk.unit];
    FATHOM_ASSERT(chunk.elements <= unit.elements - chunk.first, "a chunk lies inside its unit");
    for (const auto& section : chunk.sections)
      FATHOM_ASSERT(section.bytes <= manifest->state_bytes - section.offset &&
                        section.hashes.size() == fathom::ceil_div(section.bytes, fathom::MiB),
                    "a section lies inside the file and has its hashes");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(text);  // as it is: the seal fits by chance only
  // Sealed, so that what lies behind the seal is reached.
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return 0;
  try {
    check(fathom::engine::sealed(json));
  } catch (const nlohmann::json::exception&) {  // text that is no UTF-8 can't be written
  }
  return 0;
}
