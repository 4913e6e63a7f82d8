// SPDX-License-Identifier: Apache-2.0
#include "models/weight_map.hpp"

#include <algorithm>
#include <set>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/assert.hpp"

namespace fathom::models {
namespace {

bool is_weight(Dtype dtype) {
  return dtype == Dtype::f32 || dtype == Dtype::bf16 || dtype == Dtype::f16;
}

std::string_view without(std::string_view prefix, std::string_view name) {
  return !prefix.empty() && name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

bool is_surplus(const ModelSpec& spec, std::string_view name) {
  // A tied head is stored by some tools all the same.
  if (spec.tied_head && name == "lm_head.weight") return true;
  const std::string_view bare = without(spec.optional_prefix, name);
  return std::ranges::any_of(spec.surplus, [&](const std::string& pattern) {
    return matches_name(pattern, bare) || matches_name(pattern, name);
  });
}

// What is wrong, by kind, each with all its names.
struct Findings {
  std::vector<std::string> missing, unexpected, other;

  std::string text() const {
    std::vector<std::string> parts;
    if (!missing.empty()) parts.push_back(fmt::format("missing: {}", fmt::join(missing, ", ")));
    if (!unexpected.empty()) {
      parts.push_back(fmt::format("not of this model: {}", fmt::join(unexpected, ", ")));
    }
    parts.insert(parts.end(), other.begin(), other.end());
    return fmt::format("{}", fmt::join(parts, "; "));
  }
  bool none() const { return missing.empty() && unexpected.empty() && other.empty(); }
};

}  // namespace

bool matches_name(std::string_view pattern, std::string_view name) {
  while (true) {
    const std::size_t p = std::min(pattern.find('.'), pattern.size());
    const std::size_t n = std::min(name.find('.'), name.size());
    if (pattern.substr(0, p) != "*" && pattern.substr(0, p) != name.substr(0, n)) return false;
    const bool pattern_ends = p == pattern.size(), name_ends = n == name.size();
    if (pattern_ends || name_ends) return pattern_ends && name_ends;
    pattern.remove_prefix(p + 1);
    name.remove_prefix(n + 1);
  }
}

Result<WeightMap> WeightMap::match(const SafetensorsReader& reader, const ModelSpec& spec) {
  WeightMap map;
  Findings findings;
  std::set<const TensorInfo*> used;
  for (const UnitSpec& unit : spec.units) {
    for (const ParameterSpec& parameter : unit.parameters) {
      const TensorInfo* tensor = reader.find(parameter.name);
      if (tensor == nullptr) tensor = reader.find(without(spec.optional_prefix, parameter.name));
      if (tensor == nullptr) {
        findings.missing.push_back(parameter.name);
        continue;
      }
      used.insert(tensor);
      map.tensors_.emplace(parameter.name, tensor);
      if (tensor->shape != parameter.shape) {
        findings.other.push_back(fmt::format("{} is [{}], config.json makes it [{}]", tensor->name,
                                             fmt::join(tensor->shape, ", "),
                                             fmt::join(parameter.shape, ", ")));
      } else if (!is_weight(tensor->dtype)) {
        findings.other.push_back(
            fmt::format("{} has dtype {}, only F32, BF16 and F16 are weights here", tensor->name,
                        to_string(tensor->dtype)));
      }
    }
  }
  for (const TensorInfo& tensor : reader.tensors()) {
    if (!used.contains(&tensor) && !is_surplus(spec, tensor.name)) {
      findings.unexpected.push_back(tensor.name);
    }
  }
  if (findings.none()) return map;
  FATHOM_ASSERT(!reader.files().empty(), "a reader without files");
  const std::filesystem::path& file = reader.files().front();
  return fail(
      Error(Errc::bad_input, "load the weights")
          .on(fmt::format("tensors of the {} in {}", spec.family,
                          reader.files().size() == 1 ? file.string() : file.parent_path().string()))
          .because(findings.text())
          .remedy("check that config.json belongs to these weights"));
}

const TensorInfo& WeightMap::of(const std::string& parameter) const {
  const auto at = tensors_.find(parameter);
  FATHOM_ASSERT(at != tensors_.end(), "a parameter that the map was not made for");
  return *at->second;
}

}  // namespace fathom::models
