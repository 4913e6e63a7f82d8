// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <type_traits>

#include <fmt/format.h>

namespace fathom::tools {
namespace {

// A Hugging Face flag in both spellings: --learning-rate and --learning_rate.
template <class T>
void add_flag_of(CLI::App& app, const std::string& name, std::optional<T>& target,
                 const char* help) {
  std::string underscored = name;
  for (std::size_t i = 2; i < underscored.size(); ++i)
    if (underscored[i] == '-') underscored[i] = '_';
  const std::string names = underscored == name ? name : name + "," + underscored;
  CLI::Option* option = app.add_option(names, target, help);
  if constexpr (std::is_same_v<T, std::uint64_t>) option->check(whole_number());
}

}  // namespace

CLI::Validator whole_number(std::uint64_t least, std::uint64_t most) {
  const auto check = [least, most](const std::string& text) -> std::string {
    const char* end = text.data() + text.size();
    std::uint64_t value = 0;
    const auto [rest, status] = std::from_chars(text.data(), end, value);
    if (status == std::errc() && rest == end && value >= least && value <= most) return {};
    if (most < INT64_MAX)
      return fmt::format("{} is not allowed here; write a whole number from {} to {}", text, least,
                         most);
    return fmt::format("{} is not allowed here; write a whole number, {} or more", text, least);
  };
  return CLI::Validator(check, "", "");
}

CLI::Validator real_number(double least, bool above, double most) {
  const auto check = [=](const std::string& text) -> std::string {
    const char* end = text.data() + text.size();
    double value = 0;
    const auto [rest, status] = std::from_chars(text.data(), end, value);
    const bool in_range = (above ? value > least : value >= least) && value <= most;
    if (status == std::errc() && rest == end && std::isfinite(value) && in_range) return {};
    return fmt::format("{} is not allowed here; write a number {} {}{}", text,
                       above ? "above" : "at least", least,
                       std::isfinite(most) ? fmt::format(" and at most {}", most) : "");
  };
  return CLI::Validator(check, "", "");
}

void add_run_flags(CLI::App& app, engine::RunOptions& options) {
  app.add_option("--model", options.model, "Hugging Face directory, or a config.json")->required();
  app.add_option("--config", options.config, "ds_config.json: a path, - for stdin, or inline JSON");
  app.add_option("--device", options.device, "auto | cpu | cuda")->capture_default_str();
  app.add_option("--seed", options.seed, "of initial weights, shuffling and sampling")
      ->capture_default_str()
      ->check(whole_number());
  app.add_option("--profile", options.profile,
                 "the disk's rates: report.json of aio_bench, instead of measuring");
  app.add_option_function<double>(
         "--flops", [&](double v) { options.rates.flops = v * 1e12; },
         "TFLOP/s, instead of measuring")
      ->check(real_number(0, true));
  app.add_option_function<double>(
         "--pcie", [&](double v) { options.rates.pcie = v * 1e9; },
         "GB/s between host and GPU, each way, instead of measuring")
      ->check(real_number(0, true));
  app.add_option_function<double>(
         "--read-gbps", [&](double v) { options.rates.read = v * 1e9; },
         "nvme read GB/s, instead of measuring")
      ->check(real_number(0, true));
  app.add_option_function<double>(
         "--write-gbps", [&](double v) { options.rates.write = v * 1e9; },
         "nvme write GB/s, instead of measuring")
      ->check(real_number(0, true));
  app.add_option_function<double>(
         "--duplex", [&](double v) { options.rates.duplex = v; },
         "0: reads and writes share the device's rate, 1: both at once")
      ->check(real_number(0, false, 1));
}

void add_packing_flag(CLI::App& app, models::Packing& packing) {
  app.add_option_function<std::string>(
         "--pack,--packing",
         [&packing](const std::string& name) {
           packing = name == "join"  ? models::Packing::join
                     : name == "eos" ? models::Packing::eos
                     : name == "pad" ? models::Packing::pad
                                     : models::Packing::automatic;
         },
         "documents to rows: auto | join | eos (joined, EOS behind each) | pad (rows of their own)")
      ->check(CLI::IsMember({"auto", "join", "eos", "pad"}));
}

void add_training_flags(CLI::App& app, engine::TrainOptions& options) {
  app.add_option("--data", options.data, "UTF-8 text, .jsonl, .bin, or a directory of such files");
  app.add_option("--seq-len", options.seq_len,
                 "tokens of a row (default: the model's positions, at most 1024)")
      ->check(whole_number(1));
  app.add_option("--target-len", options.target_len,
                 "encoder-decoder: tokens of a target (default: as --seq-len)")
      ->check(whole_number(1));
  app.add_option("--steps,--max-steps,--max_steps", options.flags.max_steps,
                 "optimizer steps in all, those before --resume included")
      ->check(whole_number(1));
  add_flag_of(app, "--num-train-epochs", options.epochs,
              "passes over the data without --steps (default 3)");
  app.add_flag("--shuffle", options.shuffle, "permute the rows by seed, anew each pass");
  add_packing_flag(app, options.packing);
  app.add_option_function<std::string>(
         "--data-dtype", [&](const std::string& name) { options.wide_data = name == "uint32"; },
         "of .bin files: uint16 | uint32")
      ->check(CLI::IsMember({"uint16", "uint32"}));
  config::CommandLine& flags = options.flags;
  add_flag_of(app, "--per-device-train-batch-size", flags.per_device_train_batch_size,
              "fills train_micro_batch_size_per_gpu");
  add_flag_of(app, "--gradient-accumulation-steps", flags.gradient_accumulation_steps,
              "micro-batches per optimizer step");
  add_flag_of(app, "--learning-rate", flags.learning_rate, "fills optimizer.params.lr");
  add_flag_of(app, "--weight-decay", flags.weight_decay, "fills optimizer.params.weight_decay");
  add_flag_of(app, "--adam-beta1", flags.adam_beta1, "fills the first of betas");
  add_flag_of(app, "--adam-beta2", flags.adam_beta2, "fills the second of betas");
  add_flag_of(app, "--adam-epsilon", flags.adam_epsilon, "fills optimizer.params.eps");
  add_flag_of(app, "--warmup-steps", flags.warmup_steps, "fills scheduler.params.warmup_num_steps");
  add_flag_of(app, "--warmup-ratio", flags.warmup_ratio, "share of all steps that warms up");
  add_flag_of(app, "--max-grad-norm", flags.max_grad_norm, "fills gradient_clipping");
  add_flag_of(app, "--lr-scheduler-type", flags.lr_scheduler_type,
              "constant, constant_with_warmup, linear, cosine, cosine_with_restarts, polynomial");
  // A flag that is not given must stay unset: the file decides then.
  const auto precision = [&app](const char* names, std::optional<bool>& target, const char* help) {
    app.add_flag_callback(names, [&target] { target = true; }, help);
  };
  precision("--bf16", flags.bf16, "compute in bf16");
  precision("--fp16", flags.fp16, "compute in fp16");
  app.add_option("--tf32", flags.tf32, "0 | 1; no effect on the CPU");
}

void add_saving_flags(CLI::App& app, engine::TrainOptions& options) {
  app.add_option("--resume-from,--resume-from-checkpoint,--resume_from_checkpoint",
                 options.resume_from,
                 "begin with this checkpoint (with --resume: when --out has none)");
  app.add_option("--save-every,--save-steps,--save_steps", options.save_every,
                 "a checkpoint each so many steps (default: at the end)")
      ->check(whole_number(1));
  app.add_option("--keep-last,--save-total-limit,--save_total_limit", options.keep_last,
                 "how many checkpoints stay, the newest")
      ->capture_default_str()
      ->check(whole_number(1));
  app.add_option("--eval-data", options.eval_data, "as --data: what the model is evaluated on");
  app.add_option("--eval-every,--eval-steps,--eval_steps", options.eval_every,
                 "an evaluation each so many steps (default: at the end)")
      ->check(whole_number(1));
  app.add_flag("--save-best", options.save_best,
               "keep the checkpoint with the lowest evaluation loss; OUT/best names it");
  app.add_option("--early-stopping-patience,--early_stopping_patience", options.patience,
                 "end after so many evaluations without a better loss")
      ->check(whole_number(1));
  app.add_option("--early-stopping-threshold,--early_stopping_threshold", options.threshold,
                 "by how much a loss must be lower to be better")
      ->check(real_number(0, false));
  app.add_flag_callback(
      "--save-on-each-node,--save_on_each_node",
      [&options] { options.flags.save_on_each_node = true; },
      "fills checkpoint.use_node_local_storage");
}

void add_inference_flags(CLI::App& app, engine::InferenceOptions& options) {
  add_run_flags(app, options);
  app.add_option("--dtype", options.dtype,
                 "compute type: fp32 | bf16 | fp16 (default: the model's)");
  app.add_option("--trace", options.trace, "write a Chrome trace here");
}

Result<void> print_text(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    return fail(Error(Errc::io, "write the result")
                    .on("stdout")
                    .because_errno(errno)
                    .remedy("check where it is redirected to"));
  return {};
}

// Text of a model may be cut inside a character: bytes that are no UTF-8 become U+FFFD.
Result<void> print_json(const nlohmann::json& document) {
  return print_text(document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace fathom::tools
