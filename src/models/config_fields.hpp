// SPDX-License-Identifier: Apache-2.0
//
// Fields: typed access to a model's config.json, with Errors that name file and key. Internal to
// the families.
//
// Purpose      A family reads its keys through this: absent keys get transformers' defaults, values
//              that the blocks do not compute are refused by name.
// Ownership    Borrows the JSON object.
//
//   FATHOM_ASSIGN(spec.hidden, fields.size("hidden_size", std::nullopt, width_limit));
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/result.hpp"
#include "models/causal_config.hpp"

namespace fathom::models {

// Sizes above these are damage, not models; below them no product of sizes overflows 64 bits.
inline constexpr std::uint64_t width_limit = 1U << 22, vocabulary_limit = 1U << 30,
                               layer_limit = 1U << 16;

// Typed access to one JSON object with Errors that name file and key.
class Fields {
 public:
  Fields(const nlohmann::json& object, std::string origin)
      : object_(object), origin_(std::move(origin)) {}

  // null counts as absent, as in transformers.
  const nlohmann::json* find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  bool has(const char* key) const { return object_.contains(key); }

  Result<std::uint64_t> size(const char* key, std::optional<std::uint64_t> otherwise,
                             std::uint64_t limit) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) {
      if (otherwise) return *otherwise;
      return fail(bad(key, "the key is missing"));
    }
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() == 0 ||
        value->get<std::uint64_t>() > limit) {
      return fail(
          bad(key, fmt::format("{} is not a whole number from 1 to {}", value->dump(), limit)));
    }
    return value->get<std::uint64_t>();
  }

  Result<double> positive(const char* key, std::optional<double> otherwise) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) {
      if (otherwise) return *otherwise;
      return fail(bad(key, "the key is missing"));
    }
    if (!value->is_number() || !(value->get<double>() > 0) ||
        !std::isfinite(value->get<double>())) {
      return fail(bad(key, fmt::format("{} is not a positive number", value->dump())));
    }
    return value->get<double>();
  }

  // A flag that must have the value that is computed.
  Result<void> require_flag(const char* key, bool value) const {
    FATHOM_ASSIGN(const bool is, flag(key, value));
    if (is == value) return {};
    return fail(unsupported(key, is ? "true" : "false", value ? "true" : "false"));
  }

  Result<bool> flag(const char* key, bool otherwise) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) {
      return fail(bad(key, fmt::format("{} is neither true nor false", value->dump())));
    }
    return value->get<bool>();
  }

  Result<std::string> text(const char* key, const char* otherwise) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::string(otherwise);
    if (!value->is_string()) return fail(bad(key, fmt::format("{} is not a text", value->dump())));
    return value->get<std::string>();
  }

  // One token id or a list of them.
  Result<std::vector<std::int64_t>> tokens(const char* key) const {
    std::vector<std::int64_t> ids;
    const nlohmann::json* value = find(key);
    if (value == nullptr) return ids;
    const nlohmann::json list = value->is_array() ? *value : nlohmann::json::array({*value});
    for (const nlohmann::json& id : list) {
      if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= vocabulary_limit) {
        return fail(bad(key, fmt::format("{} is not a token id", id.dump())));
      }
      ids.push_back(id.get<std::int64_t>());
    }
    return ids;
  }

  Error bad(const char* key, std::string_view why) const {
    return Error(Errc::bad_input, "read the model's configuration")
        .on(fmt::format("{}, key \"{}\"", origin_, key))
        .because(why)
        .remedy("correct the key, or fetch the file again");
  }
  Error unsupported(const char* key, std::string_view value, std::string_view supported) const {
    return Error(Errc::unsupported, "read the model's configuration")
        .on(fmt::format("{}, key \"{}\"", origin_, key))
        .because(fmt::format("{} is not supported", value))
        .remedy(fmt::format("supported: {}", supported));
  }
  const std::string& origin() const { return origin_; }

 private:
  const nlohmann::json& object_;
  std::string origin_;
};

// The activation that `key` names, or `name`, when it comes from elsewhere.
Result<Activation> activation_named(const Fields& fields, const char* key, const std::string& name);
Result<Activation> activation_of(const Fields& fields, const char* key, const char* otherwise);

}  // namespace fathom::models
