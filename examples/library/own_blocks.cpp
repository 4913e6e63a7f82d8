// SPDX-License-Identifier: Apache-2.0
//
// A program's own blocks: a residual network over single tokens, trained with its states on disk.
// A block declares its parameters and computes; it owns no tensor, and gradients come by
// themselves.
//
//   c++ -std=c++23 own_blocks.cpp $(pkg-config --cflags --libs fathom-engine) -o own_blocks
//   ./own_blocks DS_CONFIG OUT
#include <cstdio>

#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <fathom/engine.hpp>
#include <fathom/models/block.hpp>

namespace {

using fathom::models::TensorList;
constexpr std::int64_t vocabulary = 64, hidden = 32, inner = 96, layers = 2, length = 16;

struct Embedding final : fathom::models::Block {
  TensorList forward(std::span<const at::Tensor> weights, const TensorList&,
                     const fathom::models::BatchContext& batch,
                     fathom::models::LayerCache*) const override {
    return {at::embedding(weights[0], batch.input_ids)};
  }
};

struct Layer final : fathom::models::Block {
  TensorList forward(std::span<const at::Tensor> weights, const TensorList& carry,
                     const fathom::models::BatchContext&,
                     fathom::models::LayerCache*) const override {
    const at::Tensor& x = carry[0];
    return {x.add(at::linear(at::gelu(at::linear(x, weights[0])), weights[1]))};
  }
};

struct Head final : fathom::models::Head {
  at::Tensor logits(std::span<const at::Tensor> weights, const at::Tensor& x) const override {
    return at::linear(x, weights[0]);
  }
};

fathom::models::ParameterSpec matrix(std::string name, std::int64_t rows, std::int64_t columns) {
  fathom::models::ParameterSpec parameter;
  parameter.name = std::move(name);
  parameter.shape = {rows, columns};
  return parameter;
}

// A unit is what is fetched, computed and released together.
fathom::models::UnitSpec unit(const std::string& name, fathom::models::UnitKind kind,
                              std::vector<fathom::models::ParameterSpec> parameters) {
  fathom::models::UnitSpec made;
  made.name = name;
  made.kind = kind;
  made.parameters = std::move(parameters);
  if (kind != fathom::models::UnitKind::embedding) made.matmul_elements = made.elements();
  // What a layer's forward makes a token: up, its gelu, down, the sum.
  if (kind == fathom::models::UnitKind::layer) made.working_elements = 2 * inner + 2 * hidden;
  return made;
}

fathom::models::Model make_model() {
  using fathom::models::UnitKind;
  fathom::models::Model model;
  fathom::models::ModelSpec& spec = model.spec;
  spec.family = "residual";
  spec.vocabulary = vocabulary;
  spec.hidden = hidden;
  spec.max_positions = length;
  spec.units.push_back(
      unit("embed", UnitKind::embedding, {matrix("embed.weight", vocabulary, hidden)}));
  model.blocks.push_back(std::make_unique<Embedding>());
  for (int i = 0; i < layers; ++i) {
    const std::string name = "layers." + std::to_string(i);
    spec.units.push_back(
        unit(name, UnitKind::layer,
             {matrix(name + ".up", inner, hidden), matrix(name + ".down", hidden, inner)}));
    model.blocks.push_back(std::make_unique<Layer>());
  }
  spec.units.push_back(unit("head", UnitKind::head, {matrix("head.weight", vocabulary, hidden)}));
  model.head = std::make_unique<Head>();
  chain_carries(spec);
  return model;
}

fathom::Result<void> train(char** argv) {
  FATHOM_ASSIGN(fathom::Engine engine,
                fathom::Engine::create({.config = argv[1], .length = length}, make_model()));
  const fathom::Shape shape = engine.shape();
  // A rule to learn: the token after t is 5 t + 1.
  std::vector<std::int64_t> ids, targets;
  for (std::uint64_t i = 0; i < shape.rows * shape.length; ++i) {
    ids.push_back(static_cast<std::int64_t>(i * 7 % vocabulary));
    targets.push_back((5 * ids.back() + 1) % vocabulary);
  }
  double first = 0;
  for (int i = 0; i < 100; ++i) {
    FATHOM_ASSIGN(const fathom::Step step, engine.step({ids, targets}));
    if (i == 0) first = step.loss;
  }
  FATHOM_ASSIGN(const double loss, engine.evaluate({ids, targets}));
  std::printf("loss %.4f -> %.4f\n", first, loss);

  // Parameters exist as a whole for the call only; one may be replaced.
  FATHOM_ASSIGN(std::vector<float> up, engine.read("layers.0.up"));
  const std::vector<float> zeros(up.size());
  FATHOM_CHECK(engine.write("layers.0.up", 0, zeros));
  FATHOM_ASSIGN(const double without, engine.evaluate({ids, targets}));
  FATHOM_CHECK(engine.write("layers.0.up", 0, up));
  FATHOM_ASSIGN(const double again, engine.evaluate({ids, targets}));
  std::printf("without layers.0.up %.4f, with it again %.4f\n", without, again);
  FATHOM_ASSIGN(const std::string path, engine.save(argv[2]));

  // Going on from what was saved.
  FATHOM_ASSIGN(fathom::Engine resumed,
                fathom::Engine::create(
                    {.config = argv[1], .length = length, .resume_from = argv[2]}, make_model()));
  FATHOM_ASSIGN(const double same, resumed.evaluate({ids, targets}));
  std::printf("%s: step %ld, loss %.4f\n", path.c_str(), static_cast<long>(resumed.steps()), same);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: own_blocks CONFIG OUT\n"), 2;
  const auto done = train(argv);
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return done ? 0 : 1;
}
