// SPDX-License-Identifier: Apache-2.0
#include "config/convert.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include <fmt/format.h>

#include "base/units.hpp"
#include "config/nearest_name.hpp"

namespace fathom::config {
namespace {

using nlohmann::json;
using Kind = Node::Kind;

// One conversion; a class only so that key, node and report need not be passed around.
class Converter {
 public:
  Converter(const Key& key, const Node& node, Report& report)
      : key_(key), node_(node), report_(report) {}

  std::optional<json> run() {
    switch (key_.type) {
      case Type::boolean: return boolean();
      case Type::integer: return integer(node_, false);
      case Type::elements: return integer(node_, true);
      case Type::number: return number(node_);
      case Type::text: return text();
      case Type::choice: return choice(false);
      case Type::any_case: return choice(true);
      case Type::pair: return pair();
      case Type::per_group: return per_group();
      case Type::size: return size();
      case Type::paths: return paths();
      case Type::texts: return texts();
      case Type::object:
      case Type::block:
      case Type::anything: break;
    }
    return json(true);
  }

 private:
  std::nullopt_t bad(const Node& node, std::string_view wanted) {
    report_.problem(node.at, node.path,
                    fmt::format("{} is not allowed here; write {}", describe(node), wanted));
    return std::nullopt;
  }

  std::optional<json> boolean() {
    if (node_.is(Kind::boolean)) return json(node_.boolean);
    if (node_.is(Kind::text) && (node_.text == "true" || node_.text == "false")) {
      report_.note(
          node_.at, node_.path,
          fmt::format("the text \"{0}\" is read as {0}; write it without quotes", node_.text));
      return json(node_.text == "true");
    }
    return bad(node_, "true or false");
  }

  // The finite number that `node` holds, be it as text; nothing if there is none.
  std::optional<double> value_of(const Node& node) {
    if (node.is(Kind::integer) || node.is(Kind::number)) return node.number;
    if (!node.is(Kind::text) || node.text.empty()) return std::nullopt;
    double value = 0;
    const char* end = node.text.data() + node.text.size();
    const auto [rest, status] = std::from_chars(node.text.data(), end, value);
    if (status != std::errc() || rest != end || !std::isfinite(value)) return std::nullopt;
    return value;
  }

  std::string wanted(std::string_view kind) const {
    const std::string limits = range_text(key_);
    return limits.empty() ? std::string(kind) : fmt::format("{} {}", kind, limits);
  }

  std::optional<json> integer(const Node& node, bool floor_fraction) {
    const std::optional<double> value = value_of(node);
    const std::string kind = wanted("an integer");
    if (!value || !in_range(key_, *value)) return bad(node, kind);
    // 2^63 is the first double that does not fit.
    if (std::abs(*value) >= 9223372036854775808.0 && !node.is(Kind::integer))
      return bad(node, kind);
    std::int64_t whole = 0;
    if (node.is(Kind::integer)) {
      whole = node.integer;
    } else {
      if (*value != std::floor(*value)) {
        if (!floor_fraction) return bad(node, kind);
        report_.note(node.at, node.path,
                     fmt::format("{} is a count of elements and is rounded down to {}", *value,
                                 static_cast<std::int64_t>(std::floor(*value))));
      }
      whole = static_cast<std::int64_t>(std::floor(*value));
      // A text of digits holds more of them than a double.
      if (node.is(Kind::text)) {
        const char* end = node.text.data() + node.text.size();
        std::int64_t exact = 0;
        const auto [rest, status] = std::from_chars(node.text.data(), end, exact);
        if (status == std::errc() && rest == end) whole = exact;
      }
    }
    if (node.is(Kind::text)) note_number_text(node, fmt::format("{}", whole));
    return json(whole);
  }

  void note_number_text(const Node& node, std::string_view read) {
    report_.note(
        node.at, node.path,
        fmt::format("the text \"{}\" is read as {}; write it without quotes", node.text, read));
  }

  std::optional<json> number(const Node& node) {
    const std::optional<double> value = value_of(node);
    if (!value || !in_range(key_, *value)) return bad(node, wanted("a number"));
    if (node.is(Kind::text)) note_number_text(node, fmt::format("{}", *value));
    return json(*value);
  }

  std::optional<json> text() {
    if (node_.is(Kind::text)) return json(node_.text);
    if (node_.is(Kind::array) && key_.path.ends_with(".nvme_path")) {
      report_.problem(node_.at, node_.path,
                      "one directory is wanted here; list several under fathom.nvme_paths");
      return std::nullopt;
    }
    return bad(node_, "a text");
  }

  std::optional<json> choice(bool any_case) {
    const std::vector<std::string_view> names = split_names(key_.choices);
    const std::string all = names.size() == 1 ? fmt::format("\"{}\"", names[0])
                                              : fmt::format("one of {}", fmt::join(names, ", "));
    if (!node_.is(Kind::text)) return bad(node_, all);
    if (std::ranges::find(names, node_.text) != names.end()) return json(node_.text);
    const auto nearest = nearest_name(node_.text, names);
    if (any_case && nearest && edit_distance(node_.text, *nearest) == 0) return json(*nearest);
    report_.problem(node_.at, node_.path,
                    nearest ? fmt::format("\"{}\" is not known; did you mean \"{}\"? Write {}",
                                          node_.text, *nearest, all)
                            : fmt::format("{} is not known; write {}", describe(node_), all));
    return std::nullopt;
  }

  std::optional<json> pair() {
    if (!node_.is(Kind::array) || node_.children.size() != 2)
      return bad(node_, wanted("a list of two numbers, each"));
    json both = json::array();
    for (const Node& child : node_.children) {
      const auto value = number(child);
      if (!value) return std::nullopt;
      both.push_back(*value);
    }
    return both;
  }

  std::optional<json> per_group() {
    if (!node_.is(Kind::array)) return number(node_);
    std::optional<json> shared;
    for (const Node& child : node_.children) {
      const auto value = number(child);
      if (!value) return std::nullopt;
      if (!shared) shared = value;
      if (*shared != *value) return bad(child, "the same number for every group");
    }
    return shared ? shared : bad(node_, wanted("a number"));
  }

  std::optional<json> size() {
    static constexpr std::string_view kinds = "\"auto\", bytes, or a size such as \"12GiB\"";
    if (node_.is(Kind::text) && node_.text == "auto") return json(nullptr);
    std::uint64_t bytes = 0;
    if (node_.is(Kind::text)) {
      const auto parsed = parse_bytes(node_.text);
      if (!parsed) return bad(node_, kinds);
      bytes = *parsed;
    } else {
      const auto value = value_of(node_);
      if (!value || *value < 0 || *value != std::floor(*value) || *value >= 9.2e18)
        return bad(node_, kinds);
      bytes = node_.is(Kind::integer) ? static_cast<std::uint64_t>(node_.integer)
                                      : static_cast<std::uint64_t>(*value);
    }
    if (bytes == 0) return bad(node_, kinds);
    return json(bytes);
  }

  // Canonical form: {"path", "weight"} with weight null where none is given.
  std::optional<json> paths() {
    static constexpr std::string_view form =
        "a list of directories, each a text or {\"path\": …, \"weight\": …}";
    if (node_.is(Kind::text)) return json::array({{{"path", node_.text}, {"weight", nullptr}}});
    if (!node_.is(Kind::array)) return bad(node_, form);
    json list = json::array();
    bool ok = true;
    for (const Node& child : node_.children) {
      json entry = {{"path", nullptr}, {"weight", nullptr}};
      if (child.is(Kind::text)) {
        entry["path"] = child.text;
      } else if (child.is(Kind::object)) {
        ok = path_object(child, entry) && ok;
      }
      if (!entry["path"].is_string() || entry["path"].get_ref<const std::string&>().empty()) {
        bad(child, form);
        ok = false;
        continue;
      }
      const auto same = [&](const json& other) { return other["path"] == entry["path"]; };
      if (std::ranges::any_of(list, same)) {
        report_.problem(child.at, child.path, "this directory is listed twice; remove one");
        ok = false;
      }
      list.push_back(std::move(entry));
    }
    return ok ? std::optional(std::move(list)) : std::nullopt;
  }

  bool path_object(const Node& object, json& entry) {
    static constexpr std::string_view names[] = {"path", "weight"};
    bool ok = true;
    for (const Node& member : object.children) {
      if (member.name == "path" && member.is(Kind::text)) {
        entry["path"] = member.text;
      } else if (member.name == "weight") {
        const auto weight = value_of(member);
        if (member.is(Kind::null)) continue;
        if (weight && *weight > 0)
          entry["weight"] = *weight;
        else
          ok = false, bad(member, "a number above 0");
      } else if (member.name != "path") {
        const auto nearest = nearest_name(member.name, names);
        report_.problem(member.at, member.path,
                        nearest ? fmt::format("unknown key; did you mean {}?", *nearest)
                                : "unknown key; only path and weight may stand here");
        ok = false;
      }
    }
    return ok;
  }

  std::optional<json> texts() {
    if (node_.is(Kind::text)) return json(node_.text);
    const auto is_text = [](const Node& child) { return child.is(Kind::text); };
    if (!node_.is(Kind::array) || !std::ranges::all_of(node_.children, is_text))
      return bad(node_, "a text or a list of texts");
    json list = json::array();
    for (const Node& child : node_.children) list.push_back(child.text);
    return list;
  }

  const Key& key_;
  const Node& node_;
  Report& report_;
};

}  // namespace

bool in_range(const Key& key, double value) {
  const bool low = key.above_low ? value > key.low : value >= key.low;
  const bool high = key.below_high ? value < key.high : value <= key.high;
  return low && high && std::isfinite(value);
}

std::string range_text(const Key& key) {
  std::string text;
  if (std::isfinite(key.low))
    text += fmt::format("{} {}", key.above_low ? "above" : "at least", key.low);
  if (std::isfinite(key.high))
    text += fmt::format("{}{} {}", text.empty() ? "" : " and ",
                        key.below_high ? "below" : "at most", key.high);
  return text;
}

std::optional<json> convert(const Key& key, const Node& node, Report& report) {
  return Converter(key, node, report).run();
}

}  // namespace fathom::config
