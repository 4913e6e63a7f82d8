// SPDX-License-Identifier: Apache-2.0
//
// Flags that several subcommands share, bound to the engine's options.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "engine/run.hpp"

namespace fathom::tools {

// Checks with messages for people: CLI11 wraps negative numbers around and lets "nan" through.
CLI::Validator whole_number(std::uint64_t least = 0, std::uint64_t most = INT64_MAX);
CLI::Validator real_number(double least, bool above, double most = HUGE_VAL);

void add_run_flags(CLI::App& app,
                   engine::RunOptions& options);  // model, config, device, seed, rates
void add_training_flags(CLI::App& app,
                        engine::TrainOptions& options);  // data and Hugging Face's names
void add_saving_flags(CLI::App& app,
                      engine::TrainOptions& options);  // checkpoints and evaluation in between
void add_packing_flag(CLI::App& app, models::Packing& packing);
void add_inference_flags(CLI::App& app, engine::InferenceOptions& options);

// One JSON document on stdout. A write that fails (a full disk, a closed pipe) is an Error.
Result<void> print_json(const nlohmann::json& document);
Result<void> print_text(const std::string& text);

}  // namespace fathom::tools
