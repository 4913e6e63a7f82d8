// SPDX-License-Identifier: Apache-2.0
#include "engine/evaluate.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "base/clock.hpp"
#include "engine/inference_setup.hpp"
#include "engine/plan/render.hpp"
#include "models/loss.hpp"
#include "models/safetensors.hpp"
#include "models/safetensors_writer.hpp"

namespace fathom::engine {
namespace {

using nlohmann::json;

constexpr std::uint64_t default_length = 1024;
constexpr std::uint64_t batches_per_sweep = 8;  // one landing of the weights serves this many

struct Totals {
  double loss = 0;
  std::uint64_t tokens = 0;
};

json summary(const Totals& totals, InferenceSetup& setup, double seconds) {
  const double loss = totals.tokens == 0 ? 0 : totals.loss / static_cast<double>(totals.tokens);
  return {{"loss", loss},
          {"perplexity", std::exp(loss)},
          {"tokens", totals.tokens},
          {"seconds", seconds},
          {"sweeps", setup.executor().sweeps()},
          {"bytes", bytes_json(setup.executor().bytes())},
          {"dtype", to_string(setup.compute())}};
}

models::BatchContext plain_context(const at::Tensor& ids) {
  return {
      .input_ids = ids,
      .positions =
          at::arange(ids.size(1), ids.options()).unsqueeze(0).expand({ids.size(0), ids.size(1)}),
      .mask = {}};
}

Result<void> add_loss(const InferenceSetup& setup, const models::Head& head,
                      std::span<const at::Tensor> parameters, const at::Tensor& hidden,
                      const at::Tensor& targets, Totals& totals) {
  const at::Tensor flat = hidden.contiguous().view({-1, hidden.size(-1)});
  const auto rows = static_cast<std::uint64_t>(flat.size(0));
  FATHOM_ASSIGN(
      const double loss,
      models::head_loss(head, parameters, flat, targets.contiguous().view({-1}),
                        static_cast<std::int64_t>(models::loss_chunk_rows(setup.spec(), rows))));
  totals.loss += loss;
  const auto* target = static_cast<const std::int64_t*>(targets.data_ptr());
  for (std::int64_t i = 0; i < targets.numel(); ++i)
    totals.tokens += target[i] != models::ignored_target;
  return {};
}

Result<json> evaluate_text(const EvaluateOptions& options, InferenceSetup& setup) {
  const models::ModelSpec& spec = setup.spec();
  const std::uint64_t length =
      options.seq_len.value_or(std::min(spec.max_positions, default_length));
  if (length == 0 || length > spec.max_positions)
    return fail(Error(Errc::bad_config, "choose the sequence length")
                    .on(fmt::format("--seq-len {}", length))
                    .because(fmt::format("the model has {} positions", spec.max_positions))
                    .remedy(fmt::format("use 1 to {}", spec.max_positions)));
  FATHOM_ASSIGN(const models::Tokenizer tokenizer, models::Tokenizer::load(options.model));
  FATHOM_ASSIGN(const models::Dataset data, models::Dataset::open(options.data, tokenizer,
                                                                  {.sequence_length = length,
                                                                   .vocabulary = spec.vocabulary,
                                                                   .wide = options.wide_data}));
  const std::uint64_t rows =
      std::min(std::max<std::uint64_t>(1, setup.config().batch.micro), data.windows());
  FATHOM_CHECK(setup.open({.rows = rows, .batches = batches_per_sweep, .length = length}));

  const double begin = now_seconds();
  Totals totals;
  std::vector<std::int64_t> window(length + 1);
  for (std::uint64_t next = 0; next < data.windows();) {
    std::vector<SweepBatch> batches;
    std::vector<at::Tensor> targets;
    while (batches.size() < batches_per_sweep && next < data.windows()) {
      const auto count = static_cast<std::int64_t>(std::min(rows, data.windows() - next));
      const auto columns = static_cast<std::int64_t>(length);
      const auto type = at::TensorOptions().dtype(c10::ScalarType::Long);
      const at::Tensor ids = at::empty({count, columns}, type),
                       target = at::empty({count, columns}, type);
      for (std::int64_t row = 0; row < count; ++row) {
        data.window(next++, window);
        std::copy(window.begin(), window.end() - 1,
                  static_cast<std::int64_t*>(ids.data_ptr()) + row * columns);
        std::copy(window.begin() + 1, window.end(),
                  static_cast<std::int64_t*>(target.data_ptr()) + row * columns);
      }
      batches.push_back({.context = plain_context(ids), .caches = {}, .hidden = {}});
      targets.push_back(target);
    }
    FATHOM_CHECK(setup.executor().sweep(
        batches, next < data.windows(),
        [&](std::size_t i, const models::Head& head, std::span<const at::Tensor> parameters,
            const at::Tensor& hidden) {
          return add_loss(setup, head, parameters, hidden, targets[i], totals);
        }));
  }
  return summary(totals, setup, now_seconds() - begin);
}

struct TokenRows {
  at::Tensor ids, mask;  // int64 [batch, length]
};

Result<at::Tensor> read_rows(const models::SafetensorsReader& reader,
                             const models::TensorInfo& tensor) {
  if (tensor.dtype != models::Dtype::i64 || tensor.shape.size() != 2)
    return fail(Error(Errc::bad_input, "read token ids")
                    .on(tensor.name)
                    .because("it is not int64 [batch, length]")
                    .remedy("store it so"));
  at::Tensor rows = at::empty(tensor.shape, at::TensorOptions().dtype(c10::ScalarType::Long));
  FATHOM_CHECK(reader.read(tensor, 0, {static_cast<std::byte*>(rows.data_ptr()), tensor.bytes}));
  return rows;
}

Result<TokenRows> read_tokens(const std::string& path, std::uint64_t vocabulary) {
  FATHOM_ASSIGN(const models::SafetensorsReader reader, models::SafetensorsReader::open(path));
  FATHOM_ASSIGN(const models::TensorInfo* ids, reader.require("input_ids"));
  TokenRows rows;
  FATHOM_ASSIGN(rows.ids, read_rows(reader, *ids));
  const auto* id = static_cast<const std::int64_t*>(rows.ids.data_ptr());
  for (std::int64_t i = 0; i < rows.ids.numel(); ++i)
    if (id[i] < 0 || static_cast<std::uint64_t>(id[i]) >= vocabulary)
      return fail(
          Error(Errc::bad_input, "read token ids")
              .on(fmt::format("input_ids, element {}, in {}", i, path))
              .because(fmt::format("{} is not below the vocabulary's {}", id[i], vocabulary))
              .remedy("tokenise with this model's tokenizer"));
  if (const models::TensorInfo* mask = reader.find("attention_mask")) {
    FATHOM_ASSIGN(rows.mask, read_rows(reader, *mask));
    if (rows.mask.sizes() != rows.ids.sizes())
      return fail(Error(Errc::bad_input, "read token ids")
                      .on("attention_mask in " + path)
                      .because("its shape is not that of input_ids")
                      .remedy("give both the same shape"));
  }
  return rows;
}

// Next token where this and the next are real, else ignored.
at::Tensor next_tokens(const at::Tensor& ids, const at::Tensor& mask) {
  at::Tensor targets = at::empty(ids.sizes(), ids.options());
  const std::int64_t columns = ids.size(1);
  const auto* id = static_cast<const std::int64_t*>(ids.data_ptr());
  const auto* keep = mask.defined() ? static_cast<const std::int64_t*>(mask.data_ptr()) : nullptr;
  auto* out = static_cast<std::int64_t*>(targets.data_ptr());
  for (std::int64_t i = 0; i < ids.numel(); ++i) {
    const bool last = i % columns == columns - 1;
    const bool real = !last && (keep == nullptr || (keep[i] != 0 && keep[i + 1] != 0));
    out[i] = real ? id[i + 1] : models::ignored_target;
  }
  return targets;
}

Result<json> evaluate_tokens(const EvaluateOptions& options, InferenceSetup& setup) {
  FATHOM_ASSIGN(const TokenRows rows, read_tokens(options.input_ids, setup.spec().vocabulary));
  const std::int64_t count = rows.ids.size(0), length = rows.ids.size(1);
  if (static_cast<std::uint64_t>(length) > setup.spec().max_positions)
    return fail(Error(Errc::bad_input, "evaluate tokens")
                    .on(options.input_ids)
                    .because(fmt::format("{} tokens a row, the model has {} positions", length,
                                         setup.spec().max_positions))
                    .remedy("shorten the rows"));
  FATHOM_CHECK(setup.open(
      {.rows = 1, .batches = batches_per_sweep, .length = static_cast<std::uint64_t>(length)}));
  std::optional<models::SafetensorsWriter> writer;
  if (!options.logits_out.empty()) {
    FATHOM_ASSIGN(models::SafetensorsWriter created,
                  models::SafetensorsWriter::create_file(
                      options.logits_out,
                      {{"logits",
                        models::Dtype::f32,
                        {count, length, static_cast<std::int64_t>(setup.spec().vocabulary)}}}));
    writer.emplace(std::move(created));
  }
  const double begin = now_seconds();
  Totals totals;
  for (std::int64_t next = 0; next < count;) {
    std::vector<SweepBatch> batches;
    std::vector<at::Tensor> targets;
    for (; batches.size() < batches_per_sweep && next < count; ++next) {
      // A copy of its own: rows of the file need no alignment to each other.
      const at::Tensor ids = rows.ids.narrow(0, next, 1).contiguous();
      models::BatchContext context = plain_context(ids);
      at::Tensor mask;
      if (rows.mask.defined()) {
        mask = rows.mask.narrow(0, next, 1).contiguous();
        context.positions = positions_of(mask);
        context.mask = additive_mask(mask, length, setup.compute());
      }
      batches.push_back({.context = std::move(context), .caches = {}, .hidden = {}});
      targets.push_back(next_tokens(ids, mask));
    }
    FATHOM_CHECK(setup.executor().sweep(
        batches, next < count,
        [&](std::size_t i, const models::Head& head, std::span<const at::Tensor> parameters,
            const at::Tensor& hidden) -> Result<void> {
          FATHOM_CHECK(add_loss(setup, head, parameters, hidden, targets[i], totals));
          if (!writer) return {};
          const at::Tensor logits = head.logits(parameters, hidden.view({-1, hidden.size(-1)}))
                                        .to(c10::ScalarType::Float)
                                        .contiguous();
          return writer->append(
              {static_cast<const std::byte*>(logits.data_ptr()), logits.nbytes()});
        }));
  }
  if (writer) FATHOM_CHECK(writer->finish());
  return summary(totals, setup, now_seconds() - begin);
}

}  // namespace

Result<json> evaluate(const EvaluateOptions& options) {
  if (options.data.empty() == options.input_ids.empty())
    return fail(Error(Errc::bad_config, "evaluate")
                    .because("exactly one of --data and --input-ids is needed")
                    .remedy("give one of them"));
  FATHOM_ASSIGN(const std::unique_ptr<InferenceSetup> setup, InferenceSetup::read(options));
  FATHOM_ASSIGN(json result, options.data.empty() ? evaluate_tokens(options, *setup)
                                                  : evaluate_text(options, *setup));
  FATHOM_CHECK(setup->finish());
  return result;
}

}  // namespace fathom::engine
