// SPDX-License-Identifier: Apache-2.0
#include "config/document.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace fathom::config {

const Node* Node::find(std::string_view child) const {
  const auto found = std::ranges::find(children, child, &Node::name);
  return found == children.end() ? nullptr : &*found;
}

Node* Node::find(std::string_view child) {
  return const_cast<Node*>(std::as_const(*this).find(child));
}

bool Node::remove(std::string_view child) {
  return std::erase_if(children, [&](const Node& node) { return node.name == child; }) > 0;
}

std::string describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null: return "null";
    case Node::Kind::boolean: return node.boolean ? "true" : "false";
    case Node::Kind::integer: return fmt::format("{}", node.integer);
    case Node::Kind::number: return fmt::format("{}", node.number);
    case Node::Kind::text:
      return node.text.size() <= 60 ? fmt::format("\"{}\"", node.text)
                                    : fmt::format("a text of {} bytes", node.text.size());
    case Node::Kind::array: return fmt::format("a list of {}", node.children.size());
    case Node::Kind::object: return "an object";
  }
  return "?";
}

namespace {

constexpr int max_depth = 64;

// Fills `node` from `value`; false when it is nested too deeply or holds what JSON text cannot say.
bool convert(const nlohmann::json& value, int depth, Node& node, Document& document) {
  if (depth > max_depth) return false;
  using Type = nlohmann::json::value_t;
  switch (value.type()) {
    case Type::null: return true;
    case Type::boolean:
      node.kind = Node::Kind::boolean;
      node.boolean = value.get<bool>();
      return true;
    case Type::number_unsigned:
      if (value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
        node.kind = Node::Kind::number;
        node.number = value.get<double>();
        return true;
      }
      [[fallthrough]];
    case Type::number_integer:
      node.kind = Node::Kind::integer;
      node.integer = value.get<std::int64_t>();
      node.number = static_cast<double>(node.integer);
      return true;
    case Type::number_float:
      node.kind = Node::Kind::number;
      node.number = value.get<double>();
      if (!std::isfinite(node.number)) {
        node.kind = Node::Kind::null;
        document.problems.push_back(
            {{}, node.path, "the number is not finite; write a finite one"});
      }
      return true;
    case Type::string:
      node.kind = Node::Kind::text;
      node.text = value.get_ref<const std::string&>();
      return true;
    case Type::array: {
      node.kind = Node::Kind::array;
      for (std::size_t i = 0; i < value.size(); ++i) {
        Node& child = node.children.emplace_back();
        child.path = fmt::format("{}[{}]", node.path, i);
        if (!convert(value[i], depth + 1, child, document)) return false;
      }
      return true;
    }
    case Type::object:
      node.kind = Node::Kind::object;
      for (const auto& [name, member] : value.items()) {
        Node& child = node.children.emplace_back();
        child.name = name;
        child.path = node.path.empty() ? name : node.path + "." + name;
        if (!convert(member, depth + 1, child, document)) return false;
      }
      return true;
    case Type::binary:
    case Type::discarded: return false;
  }
  return false;
}

}  // namespace

Result<Document> document_from_json(const nlohmann::json& object, std::string_view origin) {
  Document document{.origin = std::string(origin), .root = {}, .departures = {}, .problems = {}};
  if (!object.is_object() || !convert(object, 0, document.root, document))
    return fail(Error(Errc::bad_config, "read the configuration")
                    .on(origin)
                    .because("it is not an object of plain JSON values")
                    .remedy("pass one JSON object"));
  return document;
}

}  // namespace fathom::config
