// SPDX-License-Identifier: Apache-2.0
//
// plan_bench [ROUNDS]: how long planning takes, simulation included.
//
// Models of 1000 units and of 70 billion parameters, on both devices, with budgets that keep a
// third of the states in memory. Printed: the median of the rounds in milliseconds of one processor
// and its spread,
// operations of a step, and one JSON line.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/plan/plan.hpp"
#include "models/hf_config.hpp"

namespace {

using namespace fathom;
using namespace fathom::engine;

struct Case {
  const char* name;
  std::uint64_t layers, hidden, intermediate, vocabulary;
  DeviceKind device;
  bool lazy;
};

constexpr Case cases[] = {
    {"1000 units, 1.2 B, cpu", 998, 384, 1024, 32000, DeviceKind::cpu, true},
    {"1000 units, 1.2 B, cuda", 998, 384, 1024, 32000, DeviceKind::cuda, true},
    {"1000 units, 202 B, cpu", 998, 4096, 11008, 32000, DeviceKind::cpu, true},
    {"1000 units, 202 B, cuda", 998, 4096, 11008, 32000, DeviceKind::cuda, true},
    {"1000 units, 202 B, cuda, eager", 998, 4096, 11008, 32000, DeviceKind::cuda, false},
    {"82 units, 70 B, cpu", 80, 8192, 28672, 128256, DeviceKind::cpu, true},
    {"82 units, 70 B, cuda", 80, 8192, 28672, 128256, DeviceKind::cuda, true},
    {"82 units, 70 B, cuda, eager", 80, 8192, 28672, 128256, DeviceKind::cuda, false}};

PlanInput input_of(const Case& c) {
  const std::string config = fmt::format(
      R"({{"model_type":"llama","hidden_size":{},"num_hidden_layers":{},"vocab_size":{},)"
      R"("intermediate_size":{},"num_attention_heads":32,"num_key_value_heads":8,)"
      R"("max_position_embeddings":4096,"rms_norm_eps":1e-5,"tie_word_embeddings":false}})",
      c.hidden, c.layers, c.vocabulary, c.intermediate);
  PlanInput input;
  input.model = models::parse_config(config, "bench").value();
  input.device = c.device;
  input.lazy = c.lazy;
  input.length = 2048;
  const std::uint64_t n = input.model.parameters();
  if (input.on_cuda()) {
    input.device_memory = 40 * GiB;
    input.rates.flops = 4e14;
  }
  input.host_memory = n * 6 + 32 * GiB;
  input.rates.read = 7e9;
  input.rates.write = 6e9;
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::stoi(argv[1]) : 5;
  nlohmann::json result = nlohmann::json::array();
  fmt::print("{:<32} {:>9} {:>19} {:>10} {:>8} {:>9} {:>9}\n", "model", "ms", "min-max",
             "operations", "chunk", "% bound", "binds");
  for (const Case& c : cases) {
    const PlanInput input = input_of(c);
    std::vector<double> ms;
    std::size_t operations = 0;
    std::uint64_t chunk = 0;
    double percent = 0;
    std::string binds;
    for (int round = 0; round < rounds; ++round) {
      // Of the processor: planning is one thread that waits for nothing, and machines are shared.
      const std::clock_t begin = std::clock();
      const auto plan = make_plan(input);
      ms.push_back(static_cast<double>(std::clock() - begin) * 1e3 / CLOCKS_PER_SEC);
      if (!plan) return std::fprintf(stderr, "%s\n", plan.error().message().c_str()), 1;
      operations = plan->steady.ops.size();
      chunk = plan->input.chunk_elements;
      binds = plan->prediction.bound_by;
      percent = 100 * plan->prediction.lower_bound_seconds / plan->prediction.seconds;
    }
    std::sort(ms.begin(), ms.end());
    fmt::print("{:<32} {:>9.1f} {:>9.1f}-{:<9.1f} {:>10} {:>7}K {:>9.1f} {:>9}\n", c.name,
               ms[ms.size() / 2], ms.front(), ms.back(), operations, chunk / KiB, percent, binds);
    result.push_back({{"model", c.name}, {"ms", ms}, {"operations", operations}});
  }
  fmt::print("{}\n", nlohmann::json{{"bench", "plan"}, {"cases", result}}.dump());
  return 0;
}
