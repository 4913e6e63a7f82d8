// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.hpp"
#include "commands.hpp"
#include "engine/inspect.hpp"
#include "options.hpp"

namespace fathom::tools {

Command add_inspect(CLI::App& app) {
  const auto path = std::make_shared<std::string>();
  const auto verify = std::make_shared<bool>(false), json = std::make_shared<bool>(false);
  app.add_option("path", *path, "--out directory of a training run, or one of its steps")
      ->required();
  app.add_flag("--verify", *verify, "read everything and check every block");
  app.add_flag("--json", *json, "one JSON document on stdout");
  return [path, verify, json]() -> Result<int> {
    FATHOM_ASSIGN(const engine::Inspection found, engine::inspect(*path, *verify));
    const nlohmann::json& d = found.document;
    if (*json) {
      FATHOM_CHECK(print_json(d));
    } else {
      FATHOM_CHECK(print_text(fmt::format(
          "{}: step {}, {} parameters in {} units, {} in {} extents{}\n",
          d["path"].get<std::string>(), d["step"].get<std::int64_t>(),
          format_count(d["parameters"]), d["units"].size(), format_bytes(d["bytes"]),
          d["extents"].size(), *verify && found.damage.empty() ? ", all verified" : "")));
    }
    for (const std::string& damage : found.damage)
      std::fprintf(stderr, "fathom inspect: %s\n", damage.c_str());
    return found.damage.empty() ? exit_ok : exit_failed;
  };
}

}  // namespace fathom::tools
