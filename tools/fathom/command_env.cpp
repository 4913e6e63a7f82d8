// SPDX-License-Identifier: Apache-2.0
#include "commands.hpp"
#include "engine/environment.hpp"
#include "options.hpp"

namespace fathom::tools {

Command add_env(CLI::App& app) {
  const auto path = std::make_shared<std::string>(".");
  const auto as_json = std::make_shared<bool>(false);
  app.add_option("--path", *path, "directory to probe the I/O engines in")->capture_default_str();
  app.add_flag("--json", *as_json, "one JSON document on stdout");
  return [path, as_json]() -> Result<int> {
    const nlohmann::json document = engine::environment(*path);
    FATHOM_CHECK(*as_json ? print_json(document) : print_text(engine::environment_text(document)));
    return exit_ok;
  };
}

}  // namespace fathom::tools
