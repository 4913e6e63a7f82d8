// SPDX-License-Identifier: Apache-2.0
//
// Key: one row of the table that knows every key of ds_config.json.
//
// Purpose      Parsing, defaults, range checks, notes, refusals, name hints and the resolved output
//              all follow from these rows; a key is added by adding a row. Effect is the class of
//              docs: implemented (I), no effect (N, one note when the value is not the default),
//              off only (D, the default passes, anything else is an error) and refused (R).
// Ownership    Rows point to string literals and live for ever.
// Threads      Immutable.
//
//   const Key* key = find_key("aio.block_size", "");
//   key->fallback  -> "1048576", as JSON text
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

namespace fathom::config {

enum class Effect : std::uint8_t { implemented, no_effect, off_only, refused };

enum class Type : std::uint8_t {
  boolean,
  integer,
  elements,  // integer; a fraction is rounded down with a note
  number,
  text,
  choice,     // one of `choices`, as written there
  any_case,   // one of `choices`, case does not matter
  pair,       // two numbers
  per_group,  // a number, or a list of equal ones: the groups share one schedule
  size,       // "auto", bytes, or a text with a unit; "auto" is null in the bound values
  paths,      // directories, each a text or {"path", "weight"}
  texts,      // a text or a list of texts
  object,     // its members have rows of their own
  block,      // D: accepted whole while it is off; see Key::switches
  anything,
};

struct Key {
  std::string_view path;
  Type type = Type::anything;
  Effect effect = Effect::implemented;
  std::string_view fallback = "null";  // default, as JSON text
  std::string_view reason = {};  // N: why it has no effect; D and R: why not, and what instead
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool above_low = false;  // the bound itself is excluded
  bool below_high = false;
  std::string_view choices = {};   // separated by |
  std::string_view variants = {};  // types of the block that this row is for, by |; empty: all
  std::string_view switches = "enabled";  // members that turn a `block` on, by |

  constexpr Key at_least(double bound) const {
    Key k = *this;
    k.low = bound;
    return k;
  }
  constexpr Key above(double bound) const {
    Key k = at_least(bound);
    k.above_low = true;
    return k;
  }
  constexpr Key at_most(double bound) const {
    Key k = *this;
    k.high = bound;
    return k;
  }
  constexpr Key below(double bound) const {
    Key k = at_most(bound);
    k.below_high = true;
    return k;
  }
  constexpr Key one_of(std::string_view names) const {
    Key k = *this;
    k.choices = names;
    return k;
  }
  constexpr Key only_for(std::string_view types) const {
    Key k = *this;
    k.variants = types;
    return k;
  }
  constexpr Key switched_by(std::string_view names) const {
    Key k = *this;
    k.switches = names;
    return k;
  }
};

// Row makers, one per effect.
constexpr Key on(std::string_view path, Type type, std::string_view fallback) {
  return {.path = path, .type = type, .effect = Effect::implemented, .fallback = fallback};
}
constexpr Key idle(std::string_view path, Type type, std::string_view fallback,
                   std::string_view reason) {
  return {.path = path,
          .type = type,
          .effect = Effect::no_effect,
          .fallback = fallback,
          .reason = reason};
}
constexpr Key off(std::string_view path, Type type, std::string_view fallback,
                  std::string_view reason) {
  return {.path = path,
          .type = type,
          .effect = Effect::off_only,
          .fallback = fallback,
          .reason = reason};
}
constexpr Key never(std::string_view path, Type type, std::string_view fallback,
                    std::string_view reason) {
  return {.path = path,
          .type = type,
          .effect = Effect::refused,
          .fallback = fallback,
          .reason = reason};
}

// The parts of the table, in the order in which the resolved configuration is checked.
std::span<const Key> training_keys();
std::span<const Key> zero_keys();
std::span<const Key> other_keys();

// Every row, in the order above.
std::span<const Key> all_keys();

// The row of `path`; rows that are for certain types only match when `variant` is one of them.
const Key* find_key(std::string_view path, std::string_view variant);

// Names that may stand in the object `parent` ("" is the root), old names included.
std::vector<std::string_view> names_in(std::string_view parent, std::string_view variant);

// A key that has another name, or used to.
struct Alias {
  std::string_view from;  // full path
  std::string_view to;
  bool quiet = false;         // as good a name as the other: no note
  bool both_allowed = false;  // beside the other with the same value it is a note, not a problem
};
std::span<const Alias> aliases();

// Parts of a list that is separated by |.
std::vector<std::string_view> split_names(std::string_view names);

}  // namespace fathom::config
