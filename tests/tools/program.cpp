// SPDX-License-Identifier: Apache-2.0
#include "program.hpp"

#include <cstdlib>
#include <filesystem>
#include <random>
#include <sstream>

namespace fathom::tools {

namespace fs = std::filesystem;

const std::string& program() {
  static const std::string path =
      std::getenv("FATHOM") != nullptr ? std::getenv("FATHOM") : FATHOM_PROGRAM;
  return path;
}

std::vector<std::string> command_line(const Arguments& arguments) {
  return Arguments{program()} + arguments;
}

Outcome fathom(const Arguments& arguments, const Launch& launch) {
  return run(command_line(arguments), launch);
}

Arguments operator+(Arguments first, const Arguments& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

const Arguments& fixed_rates() {
  static const Arguments flags = {"--flops", "0.1", "--read-gbps", "2", "--write-gbps", "2"};
  return flags;
}

std::string make_model(const Shape& shape) {
  std::string directory = new_scratch_directory("model");
  const json config = {{"model_type", "llama"},
                       {"vocab_size", shape.vocabulary},
                       {"hidden_size", shape.hidden},
                       {"intermediate_size", shape.intermediate},
                       {"num_hidden_layers", shape.layers},
                       {"num_attention_heads", 4},
                       {"num_key_value_heads", 2},
                       {"max_position_embeddings", shape.positions},
                       {"rms_norm_eps", 1e-5},
                       {"tie_word_embeddings", shape.tied}};
  write_file(directory + "/config.json", config.dump(1));
  return directory;
}

const std::string& small_model() {
  static const std::string directory = make_model({});
  return directory;
}

const std::string& layered_model() {
  static const std::string directory =
      make_model({.hidden = 128, .intermediate = 256, .layers = 6});
  return directory;
}

const std::string& words() {
  static const std::string path = [] {
    static constexpr const char* list[] = {"river",  "stone", "cloud", "winter", "lamp",
                                           "seven ", "crow",  "paper", "salt",   "blue"};
    std::mt19937 random(7);
    std::string text;
    for (int i = 0; i < 4000; ++i) text += std::string(list[random() % 10]) + " ";
    return scratch_file("words.txt", text);
  }();
  return path;
}

std::string scratch_file(const std::string& name, std::string_view text) {
  std::string path = new_scratch_directory("file") + "/" + name;
  write_file(path, text);
  return path;
}

json ds_config(const std::string& nvme) {
  const json offload = {{"device", "nvme"}, {"nvme_path", nvme}};
  return {{"train_micro_batch_size_per_gpu", 2},
          {"gradient_accumulation_steps", 2},
          {"gradient_clipping", 0},
          {"bf16", {{"enabled", true}}},
          {"optimizer", {{"type", "AdamW"}, {"params", {{"lr", 1e-3}, {"weight_decay", 0.1}}}}},
          {"zero_optimization",
           {{"stage", 3}, {"offload_param", offload}, {"offload_optimizer", offload}}},
          {"fathom", {{"host_memory", "8MiB"}}}};
}

Arguments Training::arguments() const {
  return Arguments{"train",     "--quiet",
                   "--model",   model,
                   "--data",    data,
                   "--config",  config.dump(),
                   "--out",     out,
                   "--steps",   std::to_string(steps),
                   "--seq-len", std::to_string(length)} +
         fixed_rates() + more;
}

Arguments Training::plan_arguments() const {
  return Arguments{"plan",      "--json",
                   "--model",   model,
                   "--data",    data,
                   "--config",  config.dump(),
                   "--seq-len", std::to_string(length),
                   "--steps",   std::to_string(steps)} +
         fixed_rates();
}

json plan_of(const Training& run) {
  const Outcome planned = fathom(run.plan_arguments());
  EXPECT_TRUE(succeeded(planned));
  return json::parse(planned.out, nullptr, false);
}

std::uint64_t smallest_host_memory(const Training& run) {
  return plan_of(run).value("smallest_host_memory", std::uint64_t{0});
}

json manifest_of(const std::string& out) {
  const std::string text = read_file(step_directory(out) + "/manifest.json");
  EXPECT_GT(text.size(), 17U);
  return json::parse(text.substr(0, text.size() - 17));  // without its hash
}

std::map<std::string, std::string> state_of(const std::string& out) {
  const json manifest = manifest_of(out);
  const std::string state = read_file(step_directory(out) + "/state-0.bin");
  std::map<std::string, std::string> sections;
  for (const json& chunk : manifest.at("chunks"))
    for (const json& section : chunk.at("sections")) {
      const json& unit = manifest.at("units").at(chunk.at("unit").get<std::size_t>());
      sections[unit.at("name").get<std::string>() + "/" + section.at("name").get<std::string>()] +=
          state.substr(section.at("offset"), section.at("bytes"));
    }
  EXPECT_FALSE(sections.empty());
  return sections;
}

std::string exported(const std::string& out, const Arguments& more) {
  std::string directory = new_scratch_name("export");
  EXPECT_TRUE(succeeded(fathom(Arguments{"export", out, directory} + more)));
  return directory;
}

std::map<std::string, std::string> weights_of(const std::string& out) {
  return tensors_of(exported(out));
}

std::string step_directory(const std::string& out) {
  std::string name = read_file(out + "/latest");
  while (!name.empty() && name.back() == '\n') name.pop_back();
  return out + "/" + name;
}

const std::vector<std::string>& working_engines() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> found;
    const Outcome told = fathom({"env", "--json", "--path", new_scratch_directory("env")});
    EXPECT_TRUE(succeeded(told));
    const json env = json::parse(told.out);
    for (const json& engine : env.at("engines"))
      if (engine.at("works").get<bool>()) found.push_back(engine.at("engine"));
    EXPECT_FALSE(found.empty());  // posix works everywhere
    return found;
  }();
  return names;
}

namespace {

testing::AssertionResult fails(const Outcome& outcome, const std::string& why) {
  return testing::AssertionFailure()
         << why << "\ncode " << outcome.code << ", signal " << outcome.signal
         << (outcome.hung ? ", hung" : "") << "\nstdout: " << outcome.out.substr(0, 2000)
         << "\nstderr: " << outcome.err.substr(0, 4000);
}

const char* trace_of_crash(const std::string& text) {
  for (const char* sign : {"terminate called", "what():", "Exception raised from", "frame #",
                           "this is a bug", "Assertion", "core dumped"})
    if (text.find(sign) != std::string::npos) return sign;
  return nullptr;
}

}  // namespace

testing::AssertionResult succeeded(const Outcome& outcome) {
  if (outcome.code != 0) return fails(outcome, "it did not succeed");
  return testing::AssertionSuccess();
}

testing::AssertionResult refused(const Outcome& outcome, int code,
                                 const std::vector<std::string>& says) {
  if (outcome.code != code) return fails(outcome, "the exit code is not " + std::to_string(code));
  if (!outcome.out.empty()) return fails(outcome, "stdout is not empty");
  for (const std::string& text : says)
    if (outcome.err.find(text) == std::string::npos)
      return fails(outcome, "stderr does not say \"" + text + "\"");
  if (const char* sign = trace_of_crash(outcome.err))
    return fails(outcome, std::string("stderr shows \"") + sign + "\"");
  // One message: either CLI11's, or one that begins with the command's name.
  std::size_t messages = 0;
  std::istringstream lines(outcome.err);
  for (std::string line; std::getline(lines, line);) {
    for (const char* command :
         {"train", "plan", "generate", "eval", "export", "inspect", "tokenize", "launch", "env"})
      messages += line.starts_with("fathom " + std::string(command) + ": ");
    messages += line.starts_with("Run with --help") || line.starts_with("fathom: ");
  }
  if (messages != 1) return fails(outcome, std::to_string(messages) + " messages, not one");
  return testing::AssertionSuccess();
}

testing::AssertionResult left_nothing(const Training& run) {
  for (const std::string& directory : {run.out, run.nvme})
    for (const auto& [name, content] : files_in(directory))
      return testing::AssertionFailure() << directory << " holds " << name;
  return testing::AssertionSuccess();
}

std::string shared(const std::string& name) {
  const char* given = std::getenv("FATHOM_SHARED");
  const fs::path base =
      given != nullptr ? fs::path(given) : fs::path(FATHOM_SOURCE_ROOT).parent_path() / "shared";
  return (base / name).string();
}

}  // namespace fathom::tools
