// SPDX-License-Identifier: Apache-2.0
#include "config/key.hpp"

#include <algorithm>
#include <array>

namespace fathom::config {
namespace {

// Renames that need no thought; those that do more than move a value are in rewrite.cpp.
constexpr auto alias_rows = std::to_array<Alias>({
    {"bfloat16", "bf16"},
    {"bf16.check_overflow", "bf16.check_grad_overflow"},
    {"activation_checkpointing.partitioned_activations",
     "activation_checkpointing.partition_activations"},
    {"zero_optimization.aio", "aio"},
    {"aio.thread_count", "aio.intra_op_parallelism", false, true},
    {"aio.num_threads", "aio.intra_op_parallelism", false, true},
    {"zero_optimization.stage3_gather_fp16_weights_on_model_save",
     "zero_optimization.stage3_gather_16bit_weights_on_model_save"},
    {"zero_optimization.gather_16bit_weights_on_model_save",
     "zero_optimization.stage3_gather_16bit_weights_on_model_save", true},
    {"zero_optimization.prefetch_bucket_size", "zero_optimization.stage3_prefetch_bucket_size",
     true},
    {"zero_optimization.param_persistence_threshold",
     "zero_optimization.stage3_param_persistence_threshold", true},
    {"zero_optimization.model_persistence_threshold",
     "zero_optimization.stage3_model_persistence_threshold", true},
    {"zero_optimization.max_live_parameters", "zero_optimization.stage3_max_live_parameters", true},
    {"zero_optimization.max_reuse_distance", "zero_optimization.stage3_max_reuse_distance", true},
    {"zero_optimization.module_granularity_threshold",
     "zero_optimization.stage3_module_granularity_threshold", true},
    {"zero_optimization.use_all_reduce_for_fetch_params",
     "zero_optimization.stage3_use_all_reduce_for_fetch_params", true},
    {"zero_optimization.allgather_sequential", "zero_optimization.stage3_allgather_sequential",
     true},
});

bool matches_variant(const Key& key, std::string_view variant) {
  if (key.variants.empty()) return true;
  const auto names = split_names(key.variants);
  return std::ranges::find(names, variant) != names.end();
}

std::string_view parent_of(std::string_view path) {
  const auto dot = path.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : path.substr(0, dot);
}

std::string_view name_of(std::string_view path) {
  const auto dot = path.rfind('.');
  return dot == std::string_view::npos ? path : path.substr(dot + 1);
}

}  // namespace

std::span<const Alias> aliases() { return alias_rows; }

std::span<const Key> all_keys() {
  static const std::vector<Key> rows = [] {
    std::vector<Key> joined;
    for (const auto part : {training_keys(), zero_keys(), other_keys()})
      joined.insert(joined.end(), part.begin(), part.end());
    return joined;
  }();
  return rows;
}

const Key* find_key(std::string_view path, std::string_view variant) {
  for (const Key& key : all_keys())
    if (key.path == path && matches_variant(key, variant)) return &key;
  return nullptr;
}

std::vector<std::string_view> names_in(std::string_view parent, std::string_view variant) {
  std::vector<std::string_view> names;
  for (const Key& key : all_keys())
    if (parent_of(key.path) == parent && matches_variant(key, variant))
      names.push_back(name_of(key.path));
  for (const Alias& alias : aliases())
    if (parent_of(alias.from) == parent) names.push_back(name_of(alias.from));
  return names;
}

std::vector<std::string_view> split_names(std::string_view names) {
  std::vector<std::string_view> parts;
  while (!names.empty()) {
    const auto bar = names.find('|');
    parts.push_back(names.substr(0, bar));
    names.remove_prefix(bar == std::string_view::npos ? names.size() : bar + 1);
  }
  return parts;
}

}  // namespace fathom::config
