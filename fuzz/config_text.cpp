// SPDX-License-Identifier: Apache-2.0
//
// Any text is a configuration, whose resolved form loads again to the same, or an Error.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/assert.hpp"
#include "config/config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A leading brace makes it inline text; anything else would be taken for a path.
  const std::string text = "{" + std::string(reinterpret_cast<const char*>(data), size);
  const fathom::config::Sources sources{.hidden_size = 64, .total_steps = 10};
  const auto loaded = fathom::config::load(text, sources);
  if (!loaded) {
    FATHOM_ASSERT(!loaded.error().message().empty(), "an Error says something");
    return 0;
  }
  const auto again = fathom::config::load_object(loaded->resolved, sources);
  FATHOM_ASSERT(again.has_value() && again->config == loaded->config, "resolved is a fixed point");
  return 0;
}
