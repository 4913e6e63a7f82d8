// SPDX-License-Identifier: Apache-2.0
#include "config/rewrite.hpp"

#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "config/key.hpp"

namespace fathom::config {
namespace {

using Kind = Node::Kind;

std::pair<std::string_view, std::string_view> split_path(std::string_view path) {
  const auto dot = path.rfind('.');
  if (dot == std::string_view::npos) return {"", path};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

// The object at `path`, which has at most one dot in the table's aliases; null when there is none.
Node* object_at(Node& root, std::string_view path) {
  Node* node = &root;
  while (node != nullptr && !path.empty()) {
    const auto dot = path.find('.');
    node = node->is(Kind::object) ? node->find(path.substr(0, dot)) : nullptr;
    path.remove_prefix(dot == std::string_view::npos ? path.size() : dot + 1);
  }
  return node != nullptr && node->is(Kind::object) ? node : nullptr;
}

bool same_scalar(const Node& a, const Node& b) {
  return !a.is(Kind::array) && !a.is(Kind::object) && describe(a) == describe(b);
}

// Takes the member out of its object; nothing when it is absent. A null is absent, and removed.
std::optional<Node> take(Node& root, std::string_view path) {
  const auto [parent_path, name] = split_path(path);
  Node* parent = object_at(root, parent_path);
  Node* node = parent != nullptr ? parent->find(name) : nullptr;
  if (node == nullptr) return std::nullopt;
  Node taken = std::move(*node);
  parent->children.erase(parent->children.begin() + (node - parent->children.data()));
  if (taken.is(Kind::null)) return std::nullopt;
  return taken;
}

void apply(const Alias& alias, Node& root, Report& report) {
  std::optional<Node> old = take(root, alias.from);
  if (!old) return;
  const auto [parent_path, name] = split_path(alias.to);
  Node* parent = object_at(root, parent_path);
  FATHOM_ASSERT(parent != nullptr, "an alias leads out of an object that is not there");
  if (Node* current = parent->find(name); current != nullptr && !current->is(Kind::null)) {
    if (!alias.both_allowed || !same_scalar(*old, *current))
      report.problem(old->at, old->path,
                     fmt::format("{} (line {}) says the same thing; keep only that one",
                                 current->path, current->at.line));
    else
      report.note(old->at, old->path,
                  fmt::format("another name of {}, given twice", current->path));
    return;
  }
  parent->remove(name);
  if (!alias.quiet)
    report.note(old->at, old->path, fmt::format("read as {}, its present name", alias.to));
  old->name = name;
  parent->children.push_back(std::move(*old));
}

// true or false for the whole object: the form of the first releases.
void apply_boolean_zero(Node& root, Report& report) {
  Node* zero = root.find("zero_optimization");
  const bool was_boolean = zero != nullptr && zero->is(Kind::boolean);
  if (was_boolean) {
    Node stage;
    stage.name = "stage";
    stage.path = zero->path + ".stage";
    stage.at = zero->at;
    stage.kind = Kind::integer;
    stage.integer = zero->boolean ? 1 : 0;
    stage.number = static_cast<double>(stage.integer);
    report.note(zero->at, zero->path,
                fmt::format("the old form: read as {{\"stage\": {}}}", stage.integer));
    zero->kind = Kind::object;
    zero->children.clear();
    zero->children.push_back(std::move(stage));
  }
  if (!was_boolean) return;  // elsewhere allgather_size is an unknown key like any other
  if (std::optional<Node> size = take(root, "allgather_size")) {
    report.note(size->at, size->path, "read as zero_optimization.allgather_bucket_size");
    size->name = "allgather_bucket_size";
    root.find("zero_optimization")->children.push_back(std::move(*size));
  }
}

// cpu_offload: true → offload_optimizer: {device: cpu}; the same for the parameters.
void apply_cpu_offload(Node& root, std::string_view old_name, std::string_view new_name,
                       Report& report) {
  std::optional<Node> old = take(root, fmt::format("zero_optimization.{}", old_name));
  if (!old) return;
  if (old->is(Kind::text) && (old->text == "true" || old->text == "false")) {
    old->boolean = old->text == "true";
    old->kind = Kind::boolean;
  }
  if (!old->is(Kind::boolean)) {
    report.problem(old->at, old->path,
                   fmt::format("{} is not allowed here; write \"{}\": {{\"device\": \"cpu\"}}",
                               describe(*old), new_name));
    return;
  }
  Node* zero = root.find("zero_optimization");
  if (const Node* current = zero->find(new_name); current != nullptr && !current->is(Kind::null)) {
    report.problem(old->at, old->path,
                   fmt::format("{} (line {}) replaced this key; keep only that one", current->path,
                               current->at.line));
    return;
  }
  zero->remove(new_name);
  report.note(old->at, old->path,
              fmt::format("the old name; write \"{}\": {{\"device\": \"{}\"}}", new_name,
                          old->boolean ? "cpu" : "none"));
  Node device;
  device.name = "device";
  device.path = old->path;
  device.at = old->at;
  device.kind = Kind::text;
  device.text = old->boolean ? "cpu" : "none";
  old->name = new_name;
  old->kind = Kind::object;
  old->children.clear();
  old->children.push_back(std::move(device));
  zero->children.push_back(std::move(*old));
}

}  // namespace

void rewrite_old_names(Node& root, Report& report) {
  apply_boolean_zero(root, report);
  apply_cpu_offload(root, "cpu_offload", "offload_optimizer", report);
  apply_cpu_offload(root, "cpu_offload_param", "offload_param", report);
  if (const auto pin = take(root, "zero_optimization.cpu_offload_use_pin_memory"))
    report.note(pin->at, pin->path,
                "no effect: its value was never carried over; set pin_memory in offload_optimizer");
  for (const Alias& alias : aliases()) apply(alias, root, report);
}

}  // namespace fathom::config
