// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.hpp"
#include "commands.hpp"
#include "engine/inspect.hpp"
#include "engine/leftover_jobs.hpp"
#include "options.hpp"

namespace fathom::tools {

namespace {

Result<int> list_jobs(const std::string& path, bool remove, bool json) {
  FATHOM_ASSIGN(const engine::LeftoverJobs found, engine::leftover_jobs(path, remove));
  if (json) {
    FATHOM_CHECK(print_json(found.document));
  } else {
    for (const auto& job : found.document["jobs"])
      FATHOM_CHECK(print_text(fmt::format(
          "{}: {}{}: {}\n", job["path"].get<std::string>(), job["kind"].get<std::string>(),
          job["removed"].get<bool>() ? ", removed" : "", job["why"].get<std::string>())));
    if (found.document["jobs"].empty())
      FATHOM_CHECK(print_text(fmt::format("{}: no stores lie there\n", path)));
  }
  for (const std::string& failure : found.failures)
    std::fprintf(stderr, "fathom inspect: %s\n", failure.c_str());
  return found.failures.empty() ? exit_ok : exit_failed;
}

}  // namespace

Command add_inspect(CLI::App& app) {
  const auto path = std::make_shared<std::string>();
  const auto gc = std::make_shared<bool>(false);
  const auto verify = std::make_shared<bool>(false), json = std::make_shared<bool>(false);
  app.add_option(
         "path", *path,
         "--out directory of a training run, one of its steps, a durable store's directory, "
         "or a directory that stores lie in")
      ->required();
  app.add_flag("--verify", *verify, "read everything and check every block");
  app.add_flag("--json", *json, "one JSON document on stdout");
  app.add_flag("--gc", *gc, "list stores there and remove those of dead runs that nothing needs");
  return [path, verify, json, gc]() -> Result<int> {
    if (*gc || engine::holds_jobs(*path)) return list_jobs(*path, *gc, *json);
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
