// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "commands.hpp"
#include "engine/evaluate.hpp"
#include "options.hpp"

namespace fathom::tools {

Command add_eval(CLI::App& app) {
  const auto options = std::make_shared<engine::EvaluateOptions>();
  const auto json = std::make_shared<bool>(false);
  add_inference_flags(app, *options);
  app.add_option("--data", options->data, "UTF-8 text, .jsonl, .bin, or a directory of such files");
  app.add_option("--seq-len", options->seq_len,
                 "tokens of a row (default: the model's positions, at most 1024)")
      ->check(whole_number(1));
  app.add_option("--target-len", options->target_len,
                 "encoder-decoder: tokens of a target (default: as --seq-len)")
      ->check(whole_number(1));
  app.add_option("--input-ids", options->input_ids,
                 "safetensors with int64 input_ids [batch, length], attention_mask, "
                 "decoder_input_ids, labels");
  app.add_option("--logits-out", options->logits_out,
                 "write fp32 logits [batch, length, vocabulary] here");
  app.add_option_function<std::string>(
         "--data-dtype",
         [options](const std::string& name) { options->wide_data = name == "uint32"; },
         "of .bin files: uint16 | uint32")
      ->check(CLI::IsMember({"uint16", "uint32"}));
  add_packing_flag(app, options->packing);
  app.add_flag("--logprobs", options->log_probabilities,
               "with --json: the log-probability of every predicted token");
  app.add_flag("--json", *json, "one JSON document on stdout");
  return [options, json]() -> Result<int> {
    FATHOM_ASSIGN(const nlohmann::json result, engine::evaluate(*options));
    if (*json) {
      FATHOM_CHECK(print_json(result));
    } else if (result["loss"].is_null()) {
      FATHOM_CHECK(print_text("nothing to predict\n"));
    } else {
      FATHOM_CHECK(print_text(
          fmt::format("loss {:.6f}  perplexity {:.4f}  tokens {}  {:.2f} s\n",
                      result["loss"].get<double>(), result["perplexity"].get<double>(),
                      result["tokens"].get<std::uint64_t>(), result["seconds"].get<double>())));
    }
    return exit_ok;
  };
}

}  // namespace fathom::tools
