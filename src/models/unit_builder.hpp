// SPDX-License-Identifier: Apache-2.0
//
// UnitBuilder: lists the parameters of one unit. Internal to the families.
//
//   UnitBuilder layer("layers.0", UnitKind::layer, "model.layers.0.", 0.02);
//   layer.norm(Role::attention_norm, "input_layernorm", hidden, /*bias=*/false);
//   layer.linear(Role::query, "self_attn.q_proj", query, hidden, /*bias=*/false);
//   spec.units.push_back(layer.take());
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "models/spec.hpp"

namespace fathom::models {

class UnitBuilder {
 public:
  // `prefix` precedes the names of all parameters.
  UnitBuilder(std::string name, UnitKind kind, std::string prefix, double init_std)
      : prefix_(std::move(prefix)), init_std_(init_std) {
    unit_.name = std::move(name);
    unit_.kind = kind;
  }

  void side(Side side) { unit_.side = side; }
  void norm(Role role, const std::string& name, std::uint64_t size, bool bias) {
    add({prefix_ + name + ".weight", {as_signed(size)}, Init::ones, 0, role});
    if (bias) add({prefix_ + name + ".bias", {as_signed(size)}, Init::zeros, 0, role, true});
  }
  // A norm whose name has no prefix, without bias.
  void bare_norm(Role role, const std::string& name, std::uint64_t size) {
    add({name + ".weight", {as_signed(size)}, Init::ones, 0, role});
  }
  // Stored [out, in].
  void linear(Role role, const std::string& name, std::uint64_t out, std::uint64_t in, bool bias,
              std::uint32_t expert = 0, std::optional<double> init_std = {}) {
    matrix(role, name, out, in, init_std, expert);
    if (bias) this->bias(role, name, out);
    unit_.matmul_elements += out * in;
  }
  // Stored [in, out], always with a bias.
  void transposed_linear(Role role, const std::string& name, std::uint64_t out, std::uint64_t in,
                         double init_std) {
    matrix(role, name, in, out, init_std, 0);
    bias(role, name, out);
    unit_.matmul_elements += out * in;
  }
  // A product over the source's tokens in a unit of the target.
  void source_linear(Role role, const std::string& name, std::uint64_t out, std::uint64_t in) {
    matrix(role, name, out, in, {}, 0);
    unit_.source_elements += out * in;
  }
  // No product: rows are looked up.
  void table(Role role, const std::string& name, std::uint64_t rows, std::uint64_t width,
             std::optional<double> init_std = {}) {
    matrix(role, name, rows, width, init_std, 0);
  }
  // A product with a weight that another unit owns.
  void shared_product(std::uint64_t elements) { unit_.matmul_elements += elements; }
  // Of the products so far, only this share runs for each token.
  void scale_products_since(std::uint64_t before, std::uint64_t part, std::uint64_t of) {
    unit_.matmul_elements = before + (unit_.matmul_elements - before) * part / of;
  }
  std::uint64_t products() const { return unit_.matmul_elements; }

  UnitSpec take() { return std::move(unit_); }

 private:
  static std::int64_t as_signed(std::uint64_t size) { return static_cast<std::int64_t>(size); }
  void add(ParameterSpec parameter) { unit_.parameters.push_back(std::move(parameter)); }
  void matrix(Role role, const std::string& name, std::uint64_t rows, std::uint64_t columns,
              std::optional<double> init_std, std::uint32_t expert) {
    add({prefix_ + name + ".weight",
         {as_signed(rows), as_signed(columns)},
         Init::normal,
         init_std.value_or(init_std_),
         role,
         false,
         expert});
  }
  void bias(Role role, const std::string& name, std::uint64_t size) {
    add({prefix_ + name + ".bias", {as_signed(size)}, Init::zeros, 0, role, true});
  }

  std::string prefix_;
  double init_std_;
  UnitSpec unit_;
};

}  // namespace fathom::models
