// SPDX-License-Identifier: Apache-2.0
#include "engine/generate.hpp"

#include <algorithm>
#include <map>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <fmt/format.h>

#include "base/clock.hpp"
#include "engine/inference_setup.hpp"
#include "engine/plan/render.hpp"
#include "engine/sampler.hpp"
#include "engine/stop_strings.hpp"
#include "engine/tensors.hpp"

namespace fathom::engine {
namespace {

constexpr std::size_t rows_at_once = 8;
constexpr std::uint64_t default_new_tokens = 128;

// One padded batch of prompts and what has become of them.
class Batch {
 public:
  Batch(const GenerateOptions& options, std::uint64_t most_new, InferenceSetup& setup,
        const models::Tokenizer& tokenizer, std::span<const std::vector<std::int64_t>> prompts,
        std::span<const std::uint64_t> keys, std::size_t first_index, const TextSink& sink)
      : options_(options),
        most_new_(most_new),
        setup_(setup),
        prompts_(prompts),
        keys_(keys),
        seen_(prompts.begin(), prompts.end()),
        stops_(prompts.size(), StopStrings(options.stop)),
        first_(first_index),
        sink_(sink) {
    for (const auto& prompt : prompts) longest_ = std::max(longest_, prompt.size());
    for (const auto& prompt : prompts) {
      padded_ |= prompt.size() != longest_;
      rows_.push_back({});
      rows_.back().prompt_tokens = prompt.size();
      const std::vector<models::TokenId> context(prompt.begin(), prompt.end());
      streams_.emplace_back(tokenizer, context);
    }
    ended_.assign(prompts.size(), false);
    // The penalty concerns what the decoder sees: with a stack of its own not the prompt.
    if (two_stacks())
      for (auto& seen : seen_) seen.clear();
  }

  Result<std::vector<Generation>> run() {
    const double begin = now_seconds();
    const std::uint64_t sweeps = setup_.executor().sweeps();
    const StepBytes bytes = setup_.executor().bytes();
    std::vector<SweepBatch> batch(1);
    batch[0].caches = setup_.make_caches(prompts_.size(), longest_);
    at::Tensor mask = prompt_mask();
    batch[0].context = two_stacks() ? encoder_context(mask) : prompt_context(mask);
    for (std::uint64_t made = 0; made < most_new_ && !all_ended(); ++made) {
      std::vector<std::int64_t> chosen;
      const bool last = made + 1 == most_new_;
      FATHOM_CHECK(setup_.executor().sweep(
          batch, !last,
          [&](std::size_t, const models::Head& head, std::span<const at::Tensor> parameters,
              const at::Tensor& hidden) -> Result<void> {
            const at::Tensor logits =
                head.logits(parameters, hidden.select(1, hidden.size(1) - 1).contiguous())
                    .to(c10::ScalarType::Float)
                    .contiguous();
            chosen = choose(logits, made);
            return {};
          },
          two_stacks() && made > 0 ? SweepPart::decoder : SweepPart::whole));
      take(chosen);
      if (two_stacks()) {
        feed_decoder(chosen, batch[0].context);
        continue;
      }
      mask = extend(mask);
      batch[0].context = next_context(chosen, mask);
    }
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      Generation& row = rows_[r];
      show(r, stops_[r].push(streams_[r].finish()));
      show(r, stops_[r].finish());
      row.seconds = now_seconds() - begin;
      row.sweeps = setup_.executor().sweeps() - sweeps;
      row.bytes.nvme_read = setup_.executor().bytes().nvme_read - bytes.nvme_read;
    }
    return std::move(rows_);
  }

 private:
  static at::TensorOptions long_type() { return at::TensorOptions().dtype(c10::ScalarType::Long); }
  std::int64_t count() const { return static_cast<std::int64_t>(prompts_.size()); }

  bool two_stacks() const { return setup_.spec().encoder_decoder; }

  // Padding is on the left, where the newest tokens stay side by side; an encoder's on the right.
  std::size_t first_column(std::size_t row) const {
    return two_stacks() ? 0 : longest_ - prompts_[row].size();
  }

  at::Tensor prompt_mask() const {
    const auto columns = static_cast<std::int64_t>(longest_);
    at::Tensor mask = at::empty({count(), columns}, long_type());
    auto* out = static_cast<std::int64_t*>(mask.data_ptr());
    for (std::size_t r = 0; r < prompts_.size(); ++r)
      for (std::size_t c = 0; c < longest_; ++c)
        *out++ = c >= first_column(r) && c < first_column(r) + prompts_[r].size();
    return mask;
  }

  at::Tensor prompt_ids() const {
    at::Tensor all = at::full({count(), static_cast<std::int64_t>(longest_)},
                              setup_.spec().pad_token.value_or(0), long_type());
    auto* ids = static_cast<std::int64_t*>(all.data_ptr());
    for (std::size_t r = 0; r < prompts_.size(); ++r)
      std::copy(prompts_[r].begin(), prompts_[r].end(), ids + r * longest_ + first_column(r));
    return all;
  }

  // The first sweep: the encoder reads the prompts, the decoder its start token.
  models::BatchContext encoder_context(const at::Tensor& mask) const {
    models::BatchContext context = plain_context(prompt_ids());
    context.decoder_input_ids =
        at::full({count(), 1}, *setup_.spec().decoder_start_token, long_type());
    if (padded_) context.mask = source_mask(mask, setup_.compute());
    return context;
  }

  // Further ones: the decoder alone; the mask still hides the source's padding.
  void feed_decoder(const std::vector<std::int64_t>& chosen, models::BatchContext& context) const {
    context.input_ids.reset();
    context.positions.reset();
    context.decoder_input_ids = at::empty({count(), 1}, long_type());
    std::copy(chosen.begin(), chosen.end(),
              static_cast<std::int64_t*>(context.decoder_input_ids.data_ptr()));
  }

  at::Tensor extend(const at::Tensor& mask) const {
    at::Tensor longer = at::full({count(), mask.size(1) + 1}, 1, long_type());
    longer.narrow(1, 0, mask.size(1)).copy_(mask);
    return longer;
  }

  models::BatchContext prompt_context(const at::Tensor& mask) const {
    models::BatchContext context{
        .input_ids = prompt_ids(), .positions = positions_of(mask), .mask = {}};
    if (padded_) context.mask = additive_mask(mask, mask.size(1), setup_.compute());
    return context;
  }

  models::BatchContext next_context(const std::vector<std::int64_t>& chosen,
                                    const at::Tensor& mask) const {
    models::BatchContext context{
        .input_ids = at::empty({count(), 1}, long_type()),
        .positions = positions_of(mask).narrow(1, mask.size(1) - 1, 1).contiguous(),
        .mask = {}};
    std::copy(chosen.begin(), chosen.end(),
              static_cast<std::int64_t*>(context.input_ids.data_ptr()));
    if (padded_) context.mask = additive_mask(mask, 1, setup_.compute());
    return context;
  }

  std::vector<std::int64_t> choose(const at::Tensor& logits, std::uint64_t position) const {
    const auto vocabulary = static_cast<std::size_t>(logits.size(1));
    std::vector<std::int64_t> chosen;
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      const std::span<const float> row(
          static_cast<const float*>(logits.data_ptr()) + r * vocabulary, vocabulary);
      chosen.push_back(sample(row, options_.sampling, seen_[r], options_.seed, keys_[r], position));
    }
    return chosen;
  }

  void take(const std::vector<std::int64_t>& chosen) {
    const auto& eos = setup_.spec().eos_tokens;
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      if (ended_[r]) continue;
      if (!options_.ignore_eos && std::find(eos.begin(), eos.end(), chosen[r]) != eos.end()) {
        ended_[r] = true;
        continue;
      }
      rows_[r].ids.push_back(chosen[r]);
      seen_[r].push_back(chosen[r]);
      show(r, stops_[r].push(streams_[r].push(static_cast<models::TokenId>(chosen[r]))));
      ended_[r] = stops_[r].found();
    }
  }

  void show(std::size_t row, const std::string& text) {
    if (sink_ && !text.empty()) sink_(first_ + row, text);
    rows_[row].text += text;
  }

  bool all_ended() const { return std::find(ended_.begin(), ended_.end(), false) == ended_.end(); }

  const GenerateOptions& options_;
  const std::uint64_t most_new_;
  InferenceSetup& setup_;
  std::span<const std::vector<std::int64_t>> prompts_;
  std::span<const std::uint64_t> keys_;
  std::vector<std::vector<std::int64_t>> seen_;  // prompt and answer, for the repetition penalty
  std::vector<StopStrings> stops_;
  std::size_t first_;
  const TextSink& sink_;
  std::size_t longest_ = 0;
  bool padded_ = false;
  std::vector<Generation> rows_;
  std::vector<models::StreamDecoder> streams_;
  std::vector<bool> ended_;
};

Result<std::vector<std::vector<std::int64_t>>> tokenise(const GenerateOptions& options,
                                                        const models::Tokenizer& tokenizer,
                                                        const models::ModelSpec& spec) {
  std::vector<std::vector<std::int64_t>> prompts = options.prompt_ids;
  for (const std::string& text : options.prompts) {
    const auto ids = tokenizer.encode(text, /*add_special=*/true);
    prompts.emplace_back(ids.begin(), ids.end());
  }
  if (prompts.empty())
    return fail(Error(Errc::bad_config, "generate")
                    .because("there is no prompt")
                    .remedy("add --prompt TEXT"));
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto bad = [&](std::string_view why, const char* remedy) {
      return fail(Error(Errc::bad_input, "generate")
                      .on(fmt::format("prompt {}", i))
                      .because(why)
                      .remedy(remedy));
    };
    // Without a single token there is nothing to predict from; a model with a start token has one.
    if (prompts[i].empty() && spec.bos_token) prompts[i].push_back(*spec.bos_token);
    if (prompts[i].empty()) return bad("it has no tokens", "give at least one character");
    for (const std::int64_t id : prompts[i])
      if (id < 0 || static_cast<std::uint64_t>(id) >= spec.vocabulary)
        return bad(fmt::format("token {} is not below the vocabulary's {}", id, spec.vocabulary),
                   "use this model's tokenizer");
    const std::uint64_t least = options.max_new_tokens.value_or(1);
    const std::uint64_t positions = prompts[i].size() + (spec.encoder_decoder ? 0 : least);
    if (positions > spec.max_positions)
      return bad(fmt::format("{} tokens and {} new ones are more than the model's {} positions",
                             prompts[i].size(), least, spec.max_positions),
                 "lower --max-new-tokens or shorten the prompt");
  }
  return prompts;
}

}  // namespace

nlohmann::json generation_json(const Generation& g) {
  return {{"text", g.text},       {"ids", g.ids},       {"prompt_tokens", g.prompt_tokens},
          {"seconds", g.seconds}, {"sweeps", g.sweeps}, {"bytes", bytes_json(g.bytes)}};
}

Result<std::vector<Generation>> generate(const GenerateOptions& options, const TextSink& sink,
                                         const ResultSink& done) {
  FATHOM_ASSIGN(const std::unique_ptr<InferenceSetup> setup, InferenceSetup::read(options));
  FATHOM_ASSIGN(const models::Tokenizer tokenizer, models::Tokenizer::load(options.model));
  FATHOM_ASSIGN(const auto prompts, tokenise(options, tokenizer, setup->spec()));
  std::vector<Generation> results;
  if (options.skip >= prompts.size()) return results;
  std::size_t longest = 0;
  for (const auto& prompt : prompts) longest = std::max(longest, prompt.size());
  std::map<std::vector<std::int64_t>, std::uint64_t> occurrences;
  std::vector<std::uint64_t> keys;
  for (const auto& prompt : prompts) keys.push_back(prompt_key(prompt, occurrences[prompt]++));
  const std::uint64_t most_new = options.max_new_tokens.value_or(
      std::min(default_new_tokens, setup->spec().max_positions - longest));
  // A decoder of its own begins with the start token, and its cache with that.
  const bool two = setup->spec().encoder_decoder;
  FATHOM_CHECK(setup->open({.rows = std::min(prompts.size() - options.skip, rows_at_once),
                            .batches = 1,
                            .length = longest,
                            .capacity = most_new + (two ? 1 : longest),
                            .target = two ? most_new + 1 : 0}));
  for (std::size_t at = options.skip; at < prompts.size(); at += rows_at_once) {
    const std::size_t count = std::min(rows_at_once, prompts.size() - at);
    FATHOM_ASSIGN(std::vector<Generation> made,
                  Batch(options, most_new, *setup, tokenizer, std::span(prompts).subspan(at, count),
                        std::span(keys).subspan(at, count), at, sink)
                      .run());
    for (std::size_t r = 0; done && r < made.size(); ++r) FATHOM_CHECK(done(at + r, made[r]));
    std::move(made.begin(), made.end(), std::back_inserter(results));
  }
  FATHOM_CHECK(setup->finish());
  return results;
}

}  // namespace fathom::engine
