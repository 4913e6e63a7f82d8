// SPDX-License-Identifier: Apache-2.0
#include "models/config_fields.hpp"

#include <array>

namespace fathom::models {

Result<Activation> activation_named(const Fields& fields, const char* key,
                                    const std::string& name) {
  static constexpr std::array<std::pair<const char*, Activation>, 8> known = {
      {{"silu", Activation::silu},
       {"swish", Activation::silu},
       {"gelu", Activation::gelu},
       {"gelu_python", Activation::gelu},
       {"gelu_new", Activation::gelu_tanh},
       {"gelu_fast", Activation::gelu_tanh},
       {"gelu_pytorch_tanh", Activation::gelu_tanh},
       {"relu", Activation::relu}}};
  for (const auto& [text, activation] : known) {
    if (name == text) return activation;
  }
  return fail(fields.unsupported(
      key, "\"" + name + "\"",
      "silu, swish, gelu, gelu_python, gelu_new, gelu_fast, gelu_pytorch_tanh, relu"));
}

Result<Activation> activation_of(const Fields& fields, const char* key, const char* otherwise) {
  FATHOM_ASSIGN(const std::string name, fields.text(key, otherwise));
  return activation_named(fields, key, name);
}

}  // namespace fathom::models
