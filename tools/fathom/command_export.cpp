// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.hpp"
#include "commands.hpp"
#include "engine/export_model.hpp"
#include "options.hpp"

namespace fathom::tools {

Command add_export(CLI::App& app) {
  const auto options = std::make_shared<engine::ExportOptions>();
  const auto json = std::make_shared<bool>(false);
  app.add_option("checkpoint", options->checkpoint, "--out directory of a training run")
      ->required();
  app.add_option("out", options->out, "directory to write")->required();
  app.add_option("--dtype", options->dtype, "fp32 | bf16 | fp16")->capture_default_str();
  app.add_option_function<std::string>(
      "--max-shard-size",
      [options](const std::string& text) {
        const Result<std::uint64_t> bytes = parse_bytes(text);
        if (!bytes) throw CLI::ValidationError("--max-shard-size", bytes.error().message());
        options->max_shard_bytes = *bytes;
      },
      "split files above this size (default 5GB)");
  app.add_flag("--json", *json, "one JSON document on stdout");
  return [options, json]() -> Result<int> {
    FATHOM_ASSIGN(const engine::ExportSummary summary, engine::export_model(*options));
    const nlohmann::json document = {{"out", options->out},
                                     {"dtype", options->dtype},
                                     {"tensors", summary.tensors},
                                     {"bytes", summary.bytes},
                                     {"step", summary.step}};
    FATHOM_CHECK(*json ? print_json(document)
                       : print_text(fmt::format("{} tensors, {} in {}, to {} (step {})\n",
                                                summary.tensors, format_bytes(summary.bytes),
                                                options->dtype, options->out, summary.step)));
    return exit_ok;
  };
}

}  // namespace fathom::tools
