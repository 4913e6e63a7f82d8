// SPDX-License-Identifier: Apache-2.0
//
// Sources: what the configuration file is completed from: flags, model, data, world.
//
// Purpose      A key that says "auto" takes its value from the flag of the same meaning, else from
//              `stand_in`. A flag also sets a key that the file leaves out, and must not contradict
//              one that it states. Without flags a key that is left out has its documented default.
// Ownership    A value.
//
//   Sources sources{.world_size = 2, .hidden_size = 4096};
//   sources.flags.learning_rate = 3e-5;   // --learning-rate 3e-5
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace fathom::config {

// Flags as Hugging Face names them; nothing: not on the command line.
struct CommandLine {
  std::optional<std::uint64_t> per_device_train_batch_size, gradient_accumulation_steps;
  std::optional<double> learning_rate, weight_decay, adam_beta1, adam_beta2, adam_epsilon;
  std::optional<double> max_grad_norm;
  std::optional<std::uint64_t> warmup_steps;
  std::optional<double> warmup_ratio;
  std::optional<std::uint64_t> max_steps;  // --max-steps or --steps: optimizer steps in all
  // constant, constant_with_warmup, linear, cosine, cosine_with_restarts, polynomial
  std::optional<std::string> lr_scheduler_type;
  std::optional<bool> bf16, fp16, tf32;
  std::optional<bool> save_on_each_node;
};

// The defaults of Hugging Face's training arguments.
CommandLine hugging_face_defaults();

enum class Purpose : std::uint8_t { train, inference };

struct Sources {
  Purpose purpose = Purpose::train;
  std::uint64_t world_size = 1;                   // data-parallel ranks
  std::optional<std::uint64_t> hidden_size = {};  // of the model
  // From data length and epochs; --max-steps goes before it.
  std::optional<std::uint64_t> total_steps = {};
  CommandLine flags = {};
  CommandLine stand_in = hugging_face_defaults();
};

}  // namespace fathom::config
