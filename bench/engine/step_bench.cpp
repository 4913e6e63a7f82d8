// SPDX-License-Identifier: Apache-2.0
//
// step_bench [DIRECTORY] [ROUNDS]: the optimizer step by placement, held against everything in
// memory.
//
// Arms run interleaved, round by round, so that a disturbance meets all of them: everything in host
// memory; weights in host memory, states on disk (20 bytes per parameter); everything on disk (26);
// and the same without clipping (eager updates). Printed: median seconds per step and its spread,
// the ratio to the arm in memory of the same round, what the plan predicted and measured /
// predicted, per cent of the plan's lower bound, bytes per parameter. One JSON line follows. What
// the machine can do is measured anew for each arm and round, right before it, so that a prediction
// meets the machine that it was made for.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/log.hpp"
#include "base/random.hpp"
#include "base/text_file.hpp"
#include "engine/train.hpp"

namespace {

namespace fs = std::filesystem;
using fathom::engine::TrainOptions;
using nlohmann::json;

constexpr int steps = 12;

constexpr const char* model_json =
    R"({"model_type":"llama","hidden_size":512,"num_hidden_layers":8,"vocab_size":256,"intermediate_size":1408,
"num_attention_heads":8,"num_key_value_heads":4,"max_position_embeddings":256,"rms_norm_eps":1e-5,
"hidden_act":"silu","tie_word_embeddings":false,"torch_dtype":"bfloat16","rope_theta":10000.0})";

struct Arm {
  const char* name;
  const char* weights;
  const char* states;
  double clipping;
  bool smallest;  // the smallest host budget that works, so that nothing is cached beyond the tiers
  std::uint64_t micro_batch = 2;
  std::vector<double> seconds = {}, ratio = {}, percent = {}, predicted = {}, error = {};
  json last = {};
};

std::string config_of(const Arm& arm, const std::string& directory, std::uint64_t host_memory) {
  json config = {{"train_micro_batch_size_per_gpu", arm.micro_batch},
                 {"gradient_clipping", arm.clipping},
                 {"bf16", {{"enabled", true}}},
                 {"optimizer", {{"type", "AdamW"}, {"params", {{"lr", 1e-4}}}}},
                 {"zero_optimization",
                  {{"stage", 3},
                   {"offload_param", {{"device", arm.weights}}},
                   {"offload_optimizer", {{"device", arm.states}}}}}};
  for (const char* key : {"offload_param", "offload_optimizer"})
    if (config["zero_optimization"][key]["device"] == "nvme")
      config["zero_optimization"][key]["nvme_path"] = directory;
  if (host_memory != 0) config["fathom"]["host_memory"] = host_memory;
  return config.dump();
}

TrainOptions options_of(const fs::path& directory, const std::string& config) {
  TrainOptions options;
  options.model = (directory / "model.json").string();
  options.data = (directory / "text.txt").string();
  options.config = config;
  options.out = (directory / "out").string();
  options.seq_len = 128;
  options.flags.max_steps = steps;
  options.quiet = true;
  return options;
}

// The steps' median, without the first ones: they fill caches and have no update pending.
double median_step(const fs::path& metrics) {
  std::vector<double> seconds;
  std::ifstream in(metrics);
  for (std::string line; std::getline(in, line);) seconds.push_back(json::parse(line)["seconds"]);
  seconds.erase(seconds.begin(), seconds.begin() + 3);
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int run(const fs::path& directory, int rounds) {
  // The computation binds the first, the disk the last; the others mix.
  std::vector<Arm> arms = {{"in memory", "none", "none", 1, false},
                           {"states on disk", "cpu", "nvme", 1, true},
                           {"all on disk", "nvme", "nvme", 1, true},
                           {"all on disk, eager", "nvme", "nvme", 0, true},
                           {"all on disk, batch 1", "nvme", "nvme", 1, true, 1}};
  std::string text;
  for (std::uint64_t i = 0; i < 300'000; ++i)
    text += static_cast<char>('a' + fathom::CounterRandom(1, "text").bits(i) % 26);
  std::ofstream(directory / "text.txt") << text;
  std::ofstream(directory / "model.json") << model_json;
  for (int round = 0; round < rounds; ++round)
    for (Arm& arm : arms) {
      fs::remove_all(directory / "cache");
      std::uint64_t budget = 0;
      if (arm.smallest) {
        const auto setup = fathom::engine::prepare_training(
            options_of(directory, config_of(arm, directory.string(), 0)),
            fathom::engine::DataNeed::required);
        if (!setup) return std::fprintf(stderr, "%s\n", setup.error().message().c_str()), 1;
        budget = setup->plan.smallest_host_memory;
      }
      const auto summary =
          fathom::engine::train(options_of(directory, config_of(arm, directory.string(), budget)));
      if (!summary) return std::fprintf(stderr, "%s\n", summary.error().message().c_str()), 1;
      arm.last = summary->report;
      arm.seconds.push_back(median_step(directory / "out/metrics.jsonl"));
      arm.ratio.push_back(arm.seconds.back() / arms[0].seconds.back());
      arm.predicted.push_back(arm.last["plan"]["seconds"]);
      arm.error.push_back(arm.seconds.back() / arm.predicted.back());
      arm.percent.push_back(100 * arm.last["lower_bound_seconds"].get<double>() /
                            arm.seconds.back());
      fs::remove_all(directory / "out");
    }
  json result = json::array();
  fmt::print("{:<21} {:>8} {:>13} {:>6} {:>10} {:>10} {:>11} {:>8} {:>6} {:>6} {:>9}\n",
             "placement", "s/step", "min-max", "ratio", "predicted", "meas/pred", "min-max",
             "% bound", "B/p r", "B/p w", "binds");
  for (const Arm& arm : arms) {
    const double parameters = arm.last["plan"]["parameters"];
    const double read = arm.last["plan"]["bytes"]["nvme_read"].get<double>() / parameters;
    const double wrote = arm.last["plan"]["bytes"]["nvme_write"].get<double>() / parameters;
    const auto [low, high] = std::minmax_element(arm.seconds.begin(), arm.seconds.end());
    const auto [least, most] = std::minmax_element(arm.error.begin(), arm.error.end());
    fmt::print(
        "{:<21} {:>8.3f} {:>6.3f}-{:<6.3f} {:>6.2f} {:>10.3f} {:>10.2f} {:>5.2f}-{:<5.2f} {:>8.0f} "
        "{:>6.1f} {:>6.1f} {:>9}\n",
        arm.name, median(arm.seconds), *low, *high, median(arm.ratio), median(arm.predicted),
        median(arm.error), *least, *most, median(arm.percent), read, wrote,
        arm.last["plan"]["bound_by"].get<std::string>());
    result.push_back({{"placement", arm.name},
                      {"seconds", arm.seconds},
                      {"ratio", arm.ratio},
                      {"predicted", arm.predicted},
                      {"measured_over_predicted", arm.error},
                      {"percent_of_bound", arm.percent},
                      {"bytes_read_per_parameter", read},
                      {"bytes_written_per_parameter", wrote},
                      {"rates", arm.last["plan"]["rates"]}});
  }
  fmt::print("{}\n", json{{"bench", "step"}, {"steps", steps}, {"arms", result}}.dump());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // As `fathom` does: threads that spin while they wait would measure each other.
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) {
    ::setenv("OMP_WAIT_POLICY", "passive", 1);
    ::execv("/proc/self/exe", argv);
  }
  fathom::log::set_level(fathom::log::Level::warning);
  const fs::path parent = argc > 1 ? fs::path(argv[1]) : fs::current_path();
  std::string name = (parent / "fathom-step-bench-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    std::perror(name.c_str());
    return 1;
  }
  ::setenv("XDG_CACHE_HOME", (fs::path(name) / "cache").c_str(), 1);
  const int status = run(name, argc > 2 ? std::stoi(argv[2]) : 5);
  std::error_code ignored;
  fs::remove_all(name, ignored);
  return status;
}
