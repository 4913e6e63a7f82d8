// SPDX-License-Identifier: Apache-2.0
//
// Values: the table's keys with the value of each, typed and in range, and where it came from.
//
// Purpose      The state between binding (tree → values) and building (values → Config): resolving
//              `auto`, deriving the batch triple and the cross-checks read and change it.
// Ownership    Owns its values.
// Threads      One thread at a time.
//
//   values.integer("zero_optimization.stage")
//   values.set("gradient_accumulation_steps", 2)
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/assert.hpp"
#include "config/document.hpp"

namespace fathom::config {

struct Value {
  nlohmann::json value;  // null: absent and without a default
  Position at;
  std::string written;     // path as written in the text
  bool given = false;      // the text has it, and not as null
  bool automatic = false;  // the text says "auto"
  bool broken = false;     // the text has it, but not in a usable form; reported already
};

class Values {
 public:
  Value& at(std::string_view path) {
    const auto found = map_.find(path);
    FATHOM_ASSERT(found != map_.end(), "a key that has no row in the table");
    return found->second;
  }
  const Value& at(std::string_view path) const { return const_cast<Values*>(this)->at(path); }

  bool has(std::string_view path) const { return map_.contains(path); }
  void insert(std::string_view path, Value value) {
    map_.insert_or_assign(std::string(path), std::move(value));
  }
  void set(std::string_view path, nlohmann::json value) { at(path).value = std::move(value); }

  // A usable value stands in the text: not null, "auto" or broken.
  bool states(std::string_view path) const {
    const Value& value = at(path);
    return value.given && !value.automatic && !value.broken;
  }
  bool is_null(std::string_view path) const { return at(path).value.is_null(); }

  bool boolean(std::string_view path) const { return at(path).value.get<bool>(); }
  std::uint64_t integer(std::string_view path) const { return at(path).value.get<std::uint64_t>(); }
  std::int64_t signed_integer(std::string_view path) const {
    return at(path).value.get<std::int64_t>();
  }
  double number(std::string_view path) const { return at(path).value.get<double>(); }
  std::string text(std::string_view path) const { return at(path).value.get<std::string>(); }
  std::optional<std::uint64_t> optional_integer(std::string_view path) const {
    return is_null(path) ? std::nullopt : std::optional(integer(path));
  }
  std::string text_or_empty(std::string_view path) const { return is_null(path) ? "" : text(path); }

  const std::map<std::string, Value, std::less<>>& all() const { return map_; }

 private:
  std::map<std::string, Value, std::less<>> map_;
};

}  // namespace fathom::config
