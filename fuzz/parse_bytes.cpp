// SPDX-License-Identifier: Apache-2.0
//
// Any text is a size or an Error that quotes it; a size that is printed reads back to what was
// printed.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.hpp"
#include "base/units.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto bytes = fathom::parse_bytes(text);
  if (!bytes) {
    FATHOM_ASSERT(bytes.error().code() == fathom::Errc::bad_config, "a size is configuration");
    FATHOM_ASSERT(bytes.error().message().find(text) != std::string::npos, "the text is quoted");
    return 0;
  }
  // Two decimals are printed, so the second reading is the fixed point.
  const std::string shown = fathom::format_bytes(*bytes);
  const auto again = fathom::parse_bytes(shown);
  FATHOM_ASSERT(again.has_value(), "what is printed can be read");
  FATHOM_ASSERT(fathom::format_bytes(*again) == shown, "printing is stable");
  return 0;
}
