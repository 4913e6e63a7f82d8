// SPDX-License-Identifier: Apache-2.0
//
// blocks_cuda_bench [CONFIG.json] [BATCH] [LENGTH]: a model's blocks on the GPU with everything
// resident: what a step costs when nothing is moved.
//
// For the first layer and the head: FLOP/s forward and with gradients (recomputed), the share of
// what a plain matrix product reaches, peak working memory beside the bound that plans use, and
// whether two runs give the same bits. One JSON line follows.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "engine/cuda/library.hpp"
#include "engine/tensors.hpp"
#include "models/autograd.hpp"
#include "models/hf_config.hpp"
#include "models/loss.hpp"

namespace {

using namespace fathom;
namespace allocator = c10::cuda::CUDACachingAllocator;

// The 1.10 B Llama that bench/results compares with others.
constexpr const char* default_model =
    R"({"model_type":"llama","hidden_size":2048,"num_hidden_layers":22,"vocab_size":32000,
"intermediate_size":5632,"num_attention_heads":32,"num_key_value_heads":4,
"max_position_embeddings":4096,"rms_norm_eps":1e-5,"hidden_act":"silu",
"tie_word_embeddings":false,"torch_dtype":"bfloat16","rope_theta":10000.0})";

struct Timing {
  double median = 0, low = 0, high = 0;
  std::uint64_t peak = 0;
};

// Seconds of one run, over several groups of runs; the first group warms up.
Timing time(const std::function<void()>& run) {
  std::vector<double> seconds;
  Timing timing;
  run();
  (void)cudaDeviceSynchronize();
  allocator::resetPeakStats(0);
  const auto before = allocator::getDeviceStats(0).allocated_bytes[0].current;
  run();
  (void)cudaDeviceSynchronize();
  timing.peak =
      static_cast<std::uint64_t>(allocator::getDeviceStats(0).allocated_bytes[0].peak - before);
  for (int group = 0; group < 6; ++group) {
    constexpr int runs = 10;
    const double begin = now_seconds();
    for (int i = 0; i < runs; ++i) run();
    (void)cudaDeviceSynchronize();
    if (group != 0) seconds.push_back((now_seconds() - begin) / runs);
  }
  std::sort(seconds.begin(), seconds.end());
  timing.median = seconds[seconds.size() / 2];
  timing.low = seconds.front();
  timing.high = seconds.back();
  return timing;
}

at::TensorOptions on_device(c10::ScalarType type) {
  return at::TensorOptions().dtype(type).device(c10::DeviceType::CUDA);
}

models::TensorList random_parameters(const models::UnitSpec& unit) {
  models::TensorList list;
  for (const models::ParameterSpec& parameter : unit.parameters)
    list.push_back(
        parameter.shape.size() == 1
            ? at::full(parameter.shape, 1.0, on_device(c10::ScalarType::BFloat16))
            : at::randn(parameter.shape, on_device(c10::ScalarType::BFloat16)).mul(0.02));
  return list;
}

int run(const models::ModelSpec& spec, std::int64_t batch, std::int64_t length) {
  const auto model = models::make_model(spec);
  if (!model) return std::fprintf(stderr, "%s\n", model.error().message().c_str()), 1;
  const auto tokens = static_cast<double>(batch * length);
  nlohmann::json result;
  const auto print = [&](const char* name, double flops, const Timing& t, std::uint64_t bound) {
    fmt::print(
        "{:<24} {:>8.3f} ms ({:.3f}-{:.3f})  {:>6.1f} TFLOP/s  working memory {} (bound {})\n",
        name, t.median * 1e3, t.low * 1e3, t.high * 1e3, flops / t.median / 1e12,
        format_bytes(t.peak), format_bytes(bound));
    result[name] = {{"seconds", t.median},  {"low", t.low},
                    {"high", t.high},       {"tflops", flops / t.median / 1e12},
                    {"peak_bytes", t.peak}, {"bound_bytes", bound}};
  };
  {
    const std::int64_t n = 8192;
    const at::Tensor a = at::randn({n, n}, on_device(c10::ScalarType::BFloat16));
    const at::Tensor b = at::randn({n, n}, on_device(c10::ScalarType::BFloat16));
    print("matmul 8192", 2.0 * n * n * n, time([&] { (void)at::matmul(a, b); }), n * n * 2);
  }
  const models::UnitSpec& layer = spec.units.at(1);
  const models::TensorList weights = random_parameters(layer);
  const at::Tensor ids = at::randint(static_cast<std::int64_t>(spec.vocabulary), {batch, length},
                                     on_device(c10::ScalarType::Long));
  const at::Tensor hidden = at::randn({batch, length, static_cast<std::int64_t>(spec.hidden)},
                                      on_device(c10::ScalarType::BFloat16));
  const auto bound = models::activation_bytes(spec, 1, static_cast<std::uint64_t>(batch),
                                              {static_cast<std::uint64_t>(length), 0}, 2);
  const double matmul = 2.0 * static_cast<double>(layer.matmul_elements) * tokens;
  // Causal attention: half of the s × s products count.
  const double attention =
      2.0 * tokens * static_cast<double>(length) * static_cast<double>(spec.heads * spec.head_dim);
  std::string failure;
  const auto must = [&](const auto& outcome) {
    if (!outcome && failure.empty()) failure = outcome.error().message();
    return outcome.has_value();
  };
  print("layer forward", matmul + attention, time([&] {
          (void)must(engine::forward_block(*model->blocks[1], weights, {hidden},
                                           engine::plain_context(ids)));
        }),
        bound.forward);
  print("layer gradients", 4 * (matmul + attention), time([&] {
          (void)must(engine::block_gradients(*model->blocks[1], weights, {hidden},
                                             engine::plain_context(ids), {hidden}));
        }),
        bound.backward);
  const auto first = engine::block_gradients(*model->blocks[1], weights, {hidden},
                                             engine::plain_context(ids), {hidden});
  const auto second = engine::block_gradients(*model->blocks[1], weights, {hidden},
                                              engine::plain_context(ids), {hidden});
  bool same = must(first) && must(second);
  for (std::size_t i = 0; same && i < first->size(); ++i)
    same = at::equal((*first)[i], (*second)[i]);

  const models::UnitSpec& head = spec.units.back();
  models::TensorList head_weights = random_parameters(head), sums;
  if (spec.tied_head) head_weights.push_back(random_parameters(spec.units[0]).front());
  for (const at::Tensor& weight : head_weights)
    sums.push_back(at::zeros(weight.sizes(), on_device(c10::ScalarType::Float)));
  const at::Tensor flat = hidden.view({-1, static_cast<std::int64_t>(spec.hidden)});
  const at::Tensor targets = ids.view({-1});
  const auto rows = static_cast<std::int64_t>(
      models::loss_chunk_rows(spec, static_cast<std::uint64_t>(batch * length)));
  const auto head_bound = models::activation_bytes(
      spec, static_cast<std::uint32_t>(spec.units.size() - 1), static_cast<std::uint64_t>(batch),
      {static_cast<std::uint64_t>(length), 0}, 2);
  print("head loss and gradients", 6.0 * static_cast<double>(head.matmul_elements) * tokens,
        time([&] {
          (void)must(models::head_loss_backward(*model->head, head_weights, flat, targets, rows,
                                                1 / tokens, sums));
        }),
        head_bound.backward);
  const models::TensorList table = random_parameters(spec.units[0]);
  const auto one =
      engine::block_gradients(*model->blocks[0], table, {}, engine::plain_context(ids), {hidden});
  const auto two =
      engine::block_gradients(*model->blocks[0], table, {}, engine::plain_context(ids), {hidden});
  same = same && must(one) && must(two) && at::equal(one->front(), two->front());
  if (!failure.empty()) return std::fprintf(stderr, "%s\n", failure.c_str()), 1;
  fmt::print("two runs: {}\n", same ? "the same bits" : "DIFFERENT BITS");
  result["repeatable"] = same;
  result["batch"] = batch;
  result["length"] = length;
  fmt::print("{}\n", nlohmann::json{{"bench", "blocks_cuda"}, {"results", result}}.dump());
  return same ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const auto device = engine::open_cuda_device(0);
  if (!device) {
    std::fprintf(stderr, "skipped: %s\n", device.error().message().c_str());
    return 0;
  }
  const auto spec = argc > 1 ? models::load_config(argv[1])
                             : models::parse_config(default_model, "the built-in model");
  if (!spec) return std::fprintf(stderr, "%s\n", spec.error().message().c_str()), 1;
  fmt::print("{} ({} free), {} parameters\n", device->name, format_bytes(device->free_bytes),
             spec->parameters());
  const auto outcome = models::guarded("run the blocks", [&]() -> Result<int> {
    return run(*spec, argc > 2 ? std::stoll(argv[2]) : 4, argc > 3 ? std::stoll(argv[3]) : 1024);
  });
  if (!outcome) return std::fprintf(stderr, "%s\n", outcome.error().message().c_str()), 1;
  return *outcome;
}
