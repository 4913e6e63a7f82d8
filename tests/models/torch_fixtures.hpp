// SPDX-License-Identifier: Apache-2.0
//
// A whole model held in memory, for tests of blocks: parameters from a file or from a seed, the
// composition of all units, and comparison relative to the largest value.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "fixtures.hpp"
#include "models/autograd.hpp"
#include "models/block.hpp"
#include "models/hf_config.hpp"
#include "models/initialise.hpp"
#include "models/safetensors.hpp"
#include "models/weight_map.hpp"

namespace fathom::models {

inline at::ScalarType scalar_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32: return at::kFloat;
    case Dtype::bf16: return at::kBFloat16;
    case Dtype::i64: return at::kLong;
    default: ADD_FAILURE() << "unexpected dtype " << to_string(dtype); return at::kFloat;
  }
}

inline at::Tensor load(const SafetensorsReader& reader, const std::string& name) {
  const auto info = reader.require(name);
  if (!info) {
    ADD_FAILURE() << info.error().message();
    return {};
  }
  at::Tensor tensor =
      at::empty((*info)->shape, at::TensorOptions().dtype(scalar_type((*info)->dtype)));
  const auto done = reader.read(
      **info, 0, std::span(static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()));
  if (!done) ADD_FAILURE() << done.error().message();
  return tensor;
}

struct WholeModel {
  Model model;
  std::vector<TensorList>
      units;  // parameters as the blocks take them, the head's tied weight included

  std::map<std::string, std::string> file_names;  // tensor of the file -> parameter

  const ModelSpec& spec() const { return model.spec; }
  const std::string& parameter_of(const std::string& tensor) const { return file_names.at(tensor); }
  const std::string& table_name() const { return spec().units.front().parameters.front().name; }

  template <class F>
  static WholeModel make(const ModelSpec& spec, at::ScalarType dtype, F&& value) {
    auto model = make_model(spec);
    if (!model) throw std::runtime_error(model.error().message());
    WholeModel whole{std::move(*model), {}, {}};
    for (const UnitSpec& unit : spec.units) {
      TensorList list;
      for (const ParameterSpec& parameter : unit.parameters) {
        list.push_back(leaf(value(parameter).to(dtype)));
        EXPECT_EQ(list.back().sizes().vec(), parameter.shape) << parameter.name;
      }
      whole.units.push_back(std::move(list));
    }
    if (spec.tied_head) whole.units.back().push_back(whole.units.front().front());
    return whole;
  }

  static WholeModel from_directory(const std::filesystem::path& directory) {
    const auto spec = load_config(directory);
    if (!spec) throw std::runtime_error(spec.error().message());
    const auto reader = SafetensorsReader::open(directory);
    if (!reader) throw std::runtime_error(reader.error().message());
    const auto weights = WeightMap::match(*reader, *spec);
    if (!weights) throw std::runtime_error(weights.error().message());
    WholeModel whole = make(*spec, at::kFloat, [&](const ParameterSpec& parameter) {
      return load(*reader, weights->of(parameter.name).name);
    });
    for (const UnitSpec& unit : spec->units) {
      for (const ParameterSpec& parameter : unit.parameters) {
        whole.file_names[weights->of(parameter.name).name] = parameter.name;
      }
    }
    return whole;
  }

  // Norms and biases get random values too, so that leaving one out shows.
  static WholeModel random(const ModelSpec& spec, at::ScalarType dtype, std::uint64_t seed = 1) {
    return make(spec, dtype, [&](const ParameterSpec& parameter) {
      ParameterSpec noisy = parameter;
      noisy.init = Init::normal;
      noisy.init_std = parameter.init == Init::normal ? 0.2 : 0.1;
      at::Tensor tensor = at::empty(parameter.shape, at::TensorOptions().dtype(at::kFloat));
      fill(noisy, seed, 0,
           std::span(tensor.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())));
      return parameter.init == Init::ones ? tensor.add_(1) : tensor;
    });
  }

  // What block i takes of what was handed on so far.
  TensorList inputs_of(std::size_t i, const TensorList& carried) const {
    TensorList inputs;
    for (const std::uint32_t carry : spec().units[i].inputs) inputs.push_back(carried[carry]);
    return inputs;
  }
  void run_block(std::size_t i, const BatchContext& batch, LayerCache* cache,
                 TensorList& carried) const {
    carried.resize(spec().carries.size());
    const TensorList out = model.blocks[i]->forward(units[i], inputs_of(i, carried), batch, cache);
    const std::vector<std::uint32_t>& outputs = spec().units[i].outputs;
    EXPECT_EQ(out.size(), outputs.size());
    for (std::size_t k = 0; k < out.size(); ++k) carried[outputs[k]] = out[k];
  }

  at::Tensor hidden(const BatchContext& batch, std::vector<LayerCache>* cache = nullptr) const {
    TensorList carried;
    for (std::size_t i = 0; i < model.blocks.size(); ++i) {
      run_block(i, batch, cache != nullptr && i > 0 ? &(*cache)[i - 1] : nullptr, carried);
    }
    return carried[spec().units.back().inputs.front()];
  }

  // [b, s, v]
  at::Tensor logits(const BatchContext& batch, std::vector<LayerCache>* cache = nullptr) const {
    const at::Tensor x = hidden(batch, cache);
    return model.head->logits(units.back(), x.reshape({-1, x.size(2)}))
        .view({x.size(0), x.size(1), -1});
  }

  std::vector<LayerCache> caches(std::int64_t rows, std::int64_t capacity) const {
    std::vector<LayerCache> caches;
    for (std::uint64_t i = 0; i < spec().layers; ++i) {
      const auto zeros = [&] {
        return at::zeros({rows, static_cast<std::int64_t>(spec().kv_heads), capacity,
                          static_cast<std::int64_t>(spec().head_dim)},
                         units[0][0].options().requires_grad(false));
      };
      caches.push_back({zeros(), zeros(), 0, {}, {}});
    }
    return caches;
  }

  // The parameter of that name, a leaf.
  at::Tensor parameter(const std::string& name) const {
    for (std::size_t i = 0; i < spec().units.size(); ++i) {
      for (std::size_t j = 0; j < spec().units[i].parameters.size(); ++j) {
        if (spec().units[i].parameters[j].name == name) return units[i][j];
      }
    }
    ADD_FAILURE() << "no parameter " << name;
    return {};
  }
};

inline at::Tensor positions_from(std::int64_t begin, std::int64_t count) {
  return at::arange(begin, begin + count, at::TensorOptions().dtype(at::kLong)).unsqueeze(0);
}

// The additive mask of rows with padding: causal, and no padded key; finite everywhere.
inline at::Tensor padding_mask(const at::Tensor& attention_mask, at::ScalarType dtype) {
  const std::int64_t b = attention_mask.size(0), s = attention_mask.size(1);
  at::Tensor mask = at::zeros({b, 1, s, s}, at::TensorOptions().dtype(at::kFloat));
  for (std::int64_t row = 0; row < b; ++row) {
    for (std::int64_t q = 0; q < s; ++q) {
      for (std::int64_t k = 0; k < s; ++k) {
        if (k > q || attention_mask[row][k].item<std::int64_t>() == 0) {
          mask.select(0, row).select(0, 0).select(0, q).select(0, k).fill_(
              dtype == at::kHalf ? -65504.0 : -3.3895e38);
        }
      }
    }
  }
  return mask.to(dtype);
}

// max |a - b| / max |b|
inline double relative_error(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.detach().to(at::kDouble), y = b.detach().to(at::kDouble);
  return x.sub(y).abs().max().item<double>() / y.abs().max().item<double>();
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.detach().contiguous(), y = b.detach().contiguous();
  return x.sizes() == y.sizes() && x.scalar_type() == y.scalar_type() &&
         std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

// A small model of any family for tests without reference files.
inline ModelSpec small_spec(const std::string& changes = "{}") {
  nlohmann::json json = {{"model_type", "llama"},   {"vocab_size", 61},
                         {"hidden_size", 32},       {"intermediate_size", 56},
                         {"num_hidden_layers", 2},  {"num_attention_heads", 4},
                         {"num_key_value_heads", 2}};
  json.merge_patch(nlohmann::json::parse(changes));
  auto spec = parse_config(json.dump(), "small");
  if (!spec) throw std::runtime_error(spec.error().message());
  return *spec;
}

inline at::Tensor some_ids(std::int64_t rows, std::int64_t length, std::int64_t vocabulary) {
  at::Tensor ids = at::empty({rows, length}, at::TensorOptions().dtype(at::kLong));
  auto* data = ids.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < rows * length; ++i) data[i] = (i * 7919 + 13) % 10007 % vocabulary;
  return ids;
}

inline BatchContext batch_of(const at::Tensor& ids) {
  return {ids, positions_from(0, ids.size(1)).expand({ids.size(0), ids.size(1)}), {}};
}

}  // namespace fathom::models
