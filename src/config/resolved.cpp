// SPDX-License-Identifier: Apache-2.0
//
// The resolved configuration as JSON: what `dump_state` prints and the report repeats.
#include <string>

#include "config/build.hpp"
#include "config/key.hpp"

namespace fathom::config {
namespace {

using nlohmann::json;

json::json_pointer pointer(std::string_view path) {
  std::string text = "/";
  for (const char c : path) text += c == '.' ? '/' : c;
  return json::json_pointer(text);
}

std::string_view variant_of(const Values& values, std::string_view path) {
  for (const std::string_view block : {"optimizer", "scheduler"}) {
    const json& type = values.at(std::string(block) + ".type").value;
    if (path.starts_with(std::string(block) + ".params.") && type.is_string())
      return type.get_ref<const std::string&>();
  }
  return "";
}

json size_value(const std::optional<std::uint64_t>& bytes) {
  return bytes ? json(*bytes) : json("auto");
}

}  // namespace

json resolved_json(const Values& values, const Config& config, const Sources& sources) {
  json out = json::object();
  for (const Key& key : all_keys()) {
    if (key.effect != Effect::implemented || key.type == Type::object || key.type == Type::anything)
      continue;
    if (find_key(key.path, variant_of(values, key.path)) != &key) continue;
    const bool training_only =
        key.path.starts_with("optimizer.") || key.path.starts_with("scheduler.");
    if (training_only && sources.purpose == Purpose::inference) continue;
    if (key.path.starts_with("scheduler.") && !values.at("scheduler").given) continue;
    out[pointer(key.path)] = values.at(key.path).value;
  }
  // Values that are not what the file said, but what holds.
  json& zero = out["zero_optimization"];
  zero["stage"] = config.zero.stage;
  zero["sub_group_size"] = config.zero.chunk_elements;
  zero["overlap_comm"] = config.zero.overlap_comm;
  for (const auto& [name, offload] :
       {std::pair("offload_param", &config.zero.offload_param),
        std::pair("offload_optimizer", &config.zero.offload_optimizer)})
    if (offload->nvme_path.empty()) zero[name]["nvme_path"] = nullptr;
  json& own = out["fathom"];
  own["device_memory"] = size_value(config.fathom.device_memory);
  own["host_memory"] = size_value(config.fathom.host_memory);
  own["verify"] = config.fathom.verify == Verify::full      ? "full"
                  : config.fathom.verify == Verify::sampled ? "sampled"
                                                            : "off";
  own["nvme_paths"] = json::array();
  for (const NvmePath& path : config.fathom.nvme_paths)
    own["nvme_paths"].push_back(path.weight ? json{{"path", path.path}, {"weight", *path.weight}}
                                            : json(path.path));
  return out;
}

}  // namespace fathom::config
