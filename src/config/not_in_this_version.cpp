// SPDX-License-Identifier: Apache-2.0
//
// THE LIST. Each row is refused with one sentence. Whoever teaches the engine one of these deletes
// its row here and nothing else: parsing, defaults and typing are in place already.
#include "config/not_in_this_version.hpp"

#include <array>
#include <string_view>

#include <fmt/format.h>

namespace fathom::config {
namespace {

struct Missing {
  std::string_view path;
  std::string_view value;  // JSON text; "" for every value but `accepted`
  std::string_view accepted;
  std::string_view what;  // "… is not in this version"
  std::string_view instead;
};

constexpr auto missing = std::to_array<Missing>({
    {"data_types.buffer_dtype", "", "null", "a dtype for buffers", "leave the key out"},
    {"data_types.keep_in_fp32_modules", "", "\"auto\"", "a list of modules", "use \"auto\""},
    {"optimizer.params.fp32_optimizer_states", "false", "", "16-bit optimizer states", "use true"},
    {"zero_optimization.offload_optimizer.ratio", "", "1.0",
     "a split of the update between CPU and device", "use 1.0"},
    {"fathom.activation_tier", "\"nvme\"", "", "a tier for block inputs below host memory",
     "use \"auto\""},
    {"fathom.parity", "true", "", "the parity mode", "use false"},
    {"activation_checkpointing.number_checkpoints", "", "null", "a fixed number of checkpoints",
     "leave the key out: every block keeps its input"},
    {"flops_profiler.enabled", "true", "", "the FLOPs profiler", "use --report FILE.json"},
    {"comms_logger.enabled", "true", "", "the communication log", "use --metrics FILE.jsonl"},
    {"weight_quantization", "", "null", "weight quantization", "leave the block out"},
});

}  // namespace

void refuse_what_is_missing(const Values& values, Report& report) {
  for (const Missing& row : missing) {
    const Value& value = values.at(row.path);
    if (value.broken || value.automatic) continue;
    const bool matches = row.value.empty() ? value.value != nlohmann::json::parse(row.accepted)
                                           : value.value == nlohmann::json::parse(row.value);
    if (matches)
      report.problem(value.at, value.written,
                     fmt::format("{} is not in this version; {}", row.what, row.instead));
  }
}

}  // namespace fathom::config
