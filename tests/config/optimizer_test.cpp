// SPDX-License-Identifier: Apache-2.0
//
// The optimizer block: what each type takes, its defaults, and what does not go together.
#include "tests/config/support.hpp"

namespace fathom::config {
namespace {

OptimizerConfig optimizer_of(std::string_view block) {
  return must_load(with_batch("\"optimizer\": " + std::string(block))).config.optimizer;
}

TEST(Optimizer, EachTypeHasItsOwnDefaults) {
  const OptimizerConfig lion = optimizer_of(R"({"type": "Lion"})");
  EXPECT_EQ(lion.type, OptimizerType::lion);
  EXPECT_EQ(lion.lr, 1e-3);
  EXPECT_EQ(lion.beta2, 0.999);
  const OptimizerConfig adagrad = optimizer_of(R"({"type": "adagrad"})");
  EXPECT_EQ(adagrad.type, OptimizerType::adagrad);
  EXPECT_EQ(adagrad.lr, 1e-2);
  EXPECT_EQ(adagrad.eps, 1e-10);
  const OptimizerConfig sgd = optimizer_of(R"({"type": "SGD"})");
  EXPECT_EQ(sgd.type, OptimizerType::sgd);
  EXPECT_EQ(sgd.lr, 1e-3);
  EXPECT_EQ(sgd.momentum, 0);
  const OptimizerConfig lamb = optimizer_of(R"({"type": "LAMB", "params": {"max_grad_norm": 0}})");
  EXPECT_EQ(lamb.type, OptimizerType::lamb);
  EXPECT_EQ(lamb.eps, 1e-8);
  EXPECT_EQ(lamb.max_coeff, 10);
  EXPECT_EQ(lamb.min_coeff, 0.01);
}

TEST(Optimizer, TakesEveryParameterOfItsType) {
  const OptimizerConfig lion = optimizer_of(R"({"type": "Lion", "params":
      {"lr": 0.25, "betas": [0.5, 0.75], "weight_decay": 0.125, "fp32_optimizer_states": true}})");
  EXPECT_EQ(lion.lr, 0.25);
  EXPECT_EQ(lion.beta1, 0.5);
  EXPECT_EQ(lion.beta2, 0.75);
  EXPECT_EQ(lion.weight_decay, 0.125);
  const OptimizerConfig sgd = optimizer_of(R"({"type": "SGD", "params":
      {"lr": 0.25, "momentum": 0.5, "dampening": 0, "weight_decay": 0.125, "nesterov": true}})");
  EXPECT_EQ(sgd.momentum, 0.5);
  EXPECT_TRUE(sgd.nesterov);
  EXPECT_EQ(
      optimizer_of(R"({"type": "SGD", "params": {"momentum": 0.5, "dampening": 0.25}})").dampening,
      0.25);
  const OptimizerConfig lamb = optimizer_of(R"({"type": "Lamb", "params": {"bias_correction": false,
      "eps_inside_sqrt": true, "max_coeff": 8, "min_coeff": 0.5, "betas": [0.5, 0.75]}})");
  EXPECT_FALSE(lamb.bias_correction);
  EXPECT_TRUE(lamb.eps_inside_sqrt);
  EXPECT_EQ(lamb.max_coeff, 8);
  EXPECT_EQ(lamb.min_coeff, 0.5);
  EXPECT_EQ(lamb.beta1, 0.5);
}

TEST(Optimizer, KnowsWhichStatesItKeeps) {
  const auto states = [](std::string_view block) {
    const OptimizerConfig optimizer = optimizer_of(block);
    return std::string(optimizer.has_m() ? "m" : "") + (optimizer.has_v() ? "v" : "");
  };
  EXPECT_EQ(states(R"({"type": "Adam"})"), "mv");
  EXPECT_EQ(states(R"({"type": "AdamW"})"), "mv");
  EXPECT_EQ(states(R"({"type": "Lamb"})"), "mv");
  EXPECT_EQ(states(R"({"type": "Lion"})"), "m");
  EXPECT_EQ(states(R"({"type": "Adagrad"})"), "v");
  EXPECT_EQ(states(R"({"type": "SGD", "params": {"momentum": 0.5}})"), "m");
  EXPECT_EQ(states(R"({"type": "SGD"})"), "");
}

TEST(Optimizer, RefusesWhatDoesNotGoTogether) {
  const Row rows[] = {
      {R"("optimizer": {"type": "SGD", "params": {"nesterov": true}})", {"nesterov", "momentum"}},
      {R"("optimizer": {"type": "SGD", "params": {"nesterov": true, "momentum": 0.5, "dampening": 0.5}})",
       {"nesterov", "dampening"}},
      {R"("optimizer": {"type": "SGD", "params": {"betas": [0.9, 0.9]}})",
       {"optimizer.params.betas", "unknown key"}},
      {R"("optimizer": {"type": "Lion", "params": {"esp": 1}})", {"optimizer.params.esp"}},
      {R"("optimizer": {"type": "Lion", "params": {"max_grad_norm": 1}})",
       {"max_grad_norm", "gradient_clipping"}},
      {R"("optimizer": {"type": "Lamb", "params": {"max_grad_norm": 1}})",
       {"max_grad_norm", "gradient_clipping"}},
      {R"("optimizer": {"type": "Adagrad", "params": {"amsgrad": true}})", {"amsgrad"}},
      {R"("optimizer": {"type": "Lamb", "params": {"min_coeff": 2, "max_coeff": 1}})",
       {"min_coeff"}},
      {R"("optimizer": {"type": "Lamb"},
          "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}})",
       {"offload_optimizer.device", "Lamb"}},
      {R"("optimizer": {"type": "Lamb"},
          "zero_optimization": {"stage": 3, "offload_param": {"device": "nvme", "nvme_path": "/a"}})",
       {"offload_param.device", "Lamb"}},
      {R"("optimizer": {"type": "ZeroOneAdam"})", {"ZeroOneAdam", "compressed", "Lion"}},
      {R"("optimizer": {"type": "OneBitLamb"})", {"OneBitLamb", "compressed"}},
      {R"("optimizer": {"type": "Muon"})", {"Muon", "whole matrices"}},
      {R"("optimizer": {"type": "MuAdamW"})", {"MuAdamW", "use Adam"}},
      {R"("optimizer": {"type": "SGD", "params": {"lr": -1}})", {"optimizer.params.lr"}},
      {R"("optimizer": {"type": "Adagrad", "params": {"eps": 0}})", {"optimizer.params.eps"}},
      {R"("optimizer": {"type": "Lion", "params": {"betas": [0.9, 1]}})",
       {"optimizer.params.betas"}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.members);
    const std::string message = problems_of(with_batch(row.members));
    EXPECT_SAYS(message, "one problem");
    for (const char* part : row.says) EXPECT_SAYS(message, part);
  }
}

TEST(Optimizer, TheFallbackToHostMemorySaysItsBytes) {
  const auto note_of = [](std::string_view optimizer) {
    const Loaded loaded = must_load(with_batch(
        "\"optimizer\": " + std::string(optimizer) +
        R"(, "zero_optimization": {"stage": 3, "offload_optimizer": {"device": "nvme"}})"));
    return joined(loaded.notes);
  };
  EXPECT_SAYS(note_of(R"({"type": "AdamW"})"),
              "10 bytes per parameter in bf16, 12 in fp16, 8 in fp32");
  EXPECT_SAYS(note_of(R"({"type": "Lion"})"),
              "6 bytes per parameter in bf16, 8 in fp16, 4 in fp32");
  EXPECT_SAYS(note_of(R"({"type": "SGD"})"), "2 bytes per parameter in bf16, 4 in fp16, 0 in fp32");
}

TEST(Optimizer, SurvivesItsOwnResolvedForm) {
  for (const char* type : {"Adam", "AdamW", "Lion", "Adagrad", "SGD", "Lamb"}) {
    const Loaded loaded =
        must_load(with_batch("\"optimizer\": {\"type\": \"" + std::string(type) + "\"}"));
    const auto again = load_object(loaded.resolved, {});
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_TRUE(again->config == loaded.config) << loaded.resolved.dump(1);
  }
}

}  // namespace
}  // namespace fathom::config
