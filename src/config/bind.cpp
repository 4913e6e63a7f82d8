// SPDX-License-Identifier: Apache-2.0
#include "config/bind.hpp"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "config/convert.hpp"
#include "config/key.hpp"
#include "config/nearest_name.hpp"

namespace fathom::config {
namespace {

using nlohmann::json;
using Kind = Node::Kind;

class Binder {
 public:
  Binder(const Node& root, Report& report) : root_(root), report_(report) {}

  Values run() {
    // The types come first: they decide which rows the params objects have.
    bind_type("optimizer");
    bind_type("scheduler");
    for (const Key& key : all_keys()) {
      const Key* row = find_key(key.path, variant_of(key.path));
      insert_default(row != nullptr ? *row : key);
    }
    for (const Node& child : root_.children) bind_member(child, child.name, false);
    return std::move(values_);
  }

 private:
  std::string_view variant_of(std::string_view path) const {
    if (path.starts_with("optimizer.params.")) return optimizer_;
    if (path.starts_with("scheduler.params.")) return scheduler_;
    return "";
  }

  // A block without a usable type leaves its params unchecked: each would only repeat the problem.
  void bind_type(std::string_view block) {
    const Node* node = root_.find(block);
    std::string& type = block == "optimizer" ? optimizer_ : scheduler_;
    if (node == nullptr || !node->is(Kind::object)) {
      if (block == "optimizer") type = "AdamW";
      return;
    }
    const Node* named = node->find("type");
    if (named == nullptr || named->is(Kind::null)) {
      report_.problem(node->at, node->path,
                      fmt::format("{0}.type is missing; name the {0}", block));
      return;
    }
    Report quiet("");
    const Key* key = find_key(fmt::format("{}.type", block), "");
    if (const auto value = convert(*key, *named, quiet)) type = value->get<std::string>();
  }

  void insert_default(const Key& key) {
    if (values_.has(key.path)) return;
    Value value;
    value.written = key.path;
    value.value = key.type == Type::size ? json(nullptr) : json::parse(key.fallback);
    values_.insert(key.path, std::move(value));
  }

  // `auto` of a whole object has no meaning; of a leaf it is resolved later.
  void bind_member(const Node& node, const std::string& path, bool unchecked) {
    const Key* key = find_key(path, variant_of(path));
    if (key == nullptr) {
      if (!unchecked) unknown(node, path);
      return;
    }
    if (node.is(Kind::null)) return;
    Value& value = values_.at(path);
    value.given = true;
    value.at = node.at;
    value.written = node.path;
    if (key->type == Type::object) return bind_object(*key, node, path, value);
    if (key->type == Type::block) return bind_block(*key, node);
    if (is_auto(*key, node)) return bind_auto(*key, node, value);
    if (key->type == Type::anything) {
      value.value = true;  // only its presence matters
    } else if (auto converted = convert(*key, node, report_)) {
      value.value = std::move(*converted);
    } else {
      value.broken = true;
      return;
    }
    apply_effect(*key, node, value);
  }

  void bind_object(const Key& key, const Node& node, const std::string& path, Value& value) {
    if (!node.is(Kind::object)) {
      report_.problem(node.at, node.path,
                      fmt::format("{} is not allowed here; write an object", describe(node)));
      value.broken = true;
      return;
    }
    value.value = true;
    const bool params = key.path.ends_with(".params");
    const bool typed = !params || has_rows(variant_of(path + "."), path);
    for (const Node& child : node.children)
      bind_member(child, fmt::format("{}.{}", path, child.name), !typed);
  }

  // Whether the chosen type's params are in the table; those of refused types are not.
  static bool has_rows(std::string_view variant, std::string_view path) {
    return !variant.empty() && !names_in(path, variant).empty();
  }

  void bind_block(const Key& key, const Node& node) {
    if (node.is(Kind::boolean) && !node.boolean) return;
    if (!node.is(Kind::object)) {
      report_.problem(node.at, node.path, fmt::format("only off is accepted: {}", key.reason));
      return;
    }
    for (const std::string_view name : split_names(key.switches)) {
      const Node* toggle = node.find(name);
      if (toggle == nullptr) continue;
      if (toggle->is(Kind::text) && toggle->text == "auto") {
        report_.note(node.at, node.path,
                     fmt::format("{} \"auto\" means off here: {}", name, key.reason));
        continue;
      }
      const bool numeric = toggle->is(Kind::integer) || toggle->is(Kind::number);
      const bool off = toggle->is(Kind::null) || (toggle->is(Kind::boolean) && !toggle->boolean) ||
                       (toggle->is(Kind::text) && toggle->text == "false") ||
                       (numeric && toggle->number <= (name == "enabled" ? 0 : 1));
      if (!off)
        report_.problem(toggle->at, toggle->path,
                        fmt::format("only off is accepted: {}", key.reason));
    }
  }

  static bool is_auto(const Key& key, const Node& node) {
    if (!node.is(Kind::text) || node.text != "auto") return false;
    if (key.type == Type::size || key.type == Type::texts) return false;
    const auto names = split_names(key.choices);  // for some choices it is one of the values
    return std::ranges::find(names, "auto") == names.end();
  }

  void bind_auto(const Key& key, const Node& node, Value& value) {
    if (key.effect == Effect::implemented) {
      value.automatic = true;
      return;
    }
    value.given = false;  // the default stands in
    report_.note(node.at, node.path,
                 fmt::format("\"auto\" means the default here: {}", key.reason));
  }

  void apply_effect(const Key& key, const Node& node, Value& value) {
    const json fallback = json::parse(key.fallback);
    if (key.effect == Effect::implemented || value.value == fallback) return;
    if (key.effect == Effect::no_effect) {
      report_.note(node.at, node.path, fmt::format("no effect: {}", key.reason));
      return;
    }
    report_.problem(node.at, node.path,
                    key.effect == Effect::refused || fallback.is_null()
                        ? fmt::format("not offered: {}", key.reason)
                        : fmt::format("only {} is accepted: {}", key.fallback, key.reason));
    value.broken = true;
  }

  void unknown(const Node& node, const std::string& path) {
    const auto dot = path.rfind('.');
    const std::string parent = dot == std::string::npos ? "" : path.substr(0, dot);
    const auto siblings = names_in(parent, variant_of(parent + "."));
    if (const auto nearest = nearest_name(node.name, siblings)) {
      report_.problem(node.at, node.path, fmt::format("unknown key; did you mean {}?", *nearest));
      return;
    }
    // The right name in the wrong place.
    for (const Key& key : all_keys()) {
      const bool same = key.path == node.name || key.path.ends_with("." + node.name);
      if (same && key.variants.empty() && key.path != path) {
        report_.problem(node.at, node.path,
                        fmt::format("unknown key here; the key of this name is {}", key.path));
        return;
      }
    }
    report_.problem(node.at, node.path, "unknown key; remove it or look up its name");
  }

  const Node& root_;
  Report& report_;
  Values values_;
  std::string optimizer_, scheduler_;
};

}  // namespace

Values bind(const Node& root, Report& report) { return Binder(root, report).run(); }

}  // namespace fathom::config
