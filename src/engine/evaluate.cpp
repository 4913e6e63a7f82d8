// SPDX-License-Identifier: Apache-2.0
#include "engine/evaluate.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <fmt/format.h>

#include "base/clock.hpp"
#include "engine/inference_setup.hpp"
#include "engine/plan/render.hpp"
#include "engine/row_data.hpp"
#include "engine/step_executor.hpp"
#include "engine/tensors.hpp"
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
  json log_probabilities = json::array();
};

// Whatever was given: rows in, and what each row of logits should predict.
struct Row {
  models::BatchContext context;
  at::Tensor targets;
};

json summary(const Totals& totals, InferenceSetup& setup, double seconds) {
  const bool any = totals.tokens != 0;
  const double loss = any ? totals.loss / static_cast<double>(totals.tokens) : 0;
  // Without a single prediction there is no loss.
  json result = {{"loss", any ? json(loss) : json(nullptr)},
                 {"perplexity", any ? json(std::exp(loss)) : json(nullptr)},
                 {"tokens", totals.tokens},
                 {"seconds", seconds},
                 {"sweeps", setup.executor().sweeps()},
                 {"bytes", bytes_json(setup.executor().bytes())},
                 {"dtype", to_string(setup.compute())}};
  if (!totals.log_probabilities.empty()) result["logprobs"] = totals.log_probabilities;
  return result;
}

// One list a row of `targets` [rows, length].
void add_log_probabilities(const at::Tensor& values, const at::Tensor& targets, json& lists) {
  const auto* value = static_cast<const float*>(values.data_ptr());
  const auto* target = static_cast<const std::int64_t*>(targets.data_ptr());
  for (std::int64_t row = 0; row < targets.size(0); ++row) {
    json list = json::array();
    for (std::int64_t i = 0; i < targets.size(1); ++i, ++value, ++target)
      list.push_back(*target != models::ignored_target ? json(*value) : json(nullptr));
    lists.push_back(std::move(list));
  }
}

Result<void> add_loss(const EvaluateOptions& options, const InferenceSetup& setup,
                      const models::Head& head, std::span<const at::Tensor> parameters,
                      const at::Tensor& hidden, const at::Tensor& targets, Totals& totals) {
  const at::Tensor flat = hidden.contiguous().view({-1, hidden.size(-1)});
  const at::Tensor flat_targets = targets.contiguous().view({-1});
  const auto chunk = static_cast<std::int64_t>(
      models::loss_chunk_rows(setup.spec(), static_cast<std::uint64_t>(flat.size(0))));
  FATHOM_ASSIGN(const double loss, models::head_loss(head, parameters, flat, flat_targets, chunk));
  totals.loss += loss;
  if (options.log_probabilities) {
    FATHOM_ASSIGN(const at::Tensor values,
                  models::head_log_probabilities(head, parameters, flat, flat_targets, chunk));
    add_log_probabilities(values, targets, totals.log_probabilities);
  }
  const auto* target = static_cast<const std::int64_t*>(targets.data_ptr());
  for (std::int64_t i = 0; i < targets.numel(); ++i)
    totals.tokens += target[i] != models::ignored_target;
  return {};
}

// Rows [next, next + count) of a data set, as one batch.
using BatchSource = std::function<Row(std::uint64_t next, std::uint64_t count)>;

// Sweeps over `total` rows, `rows` a batch.
Result<json> evaluate_rows(const EvaluateOptions& options, InferenceSetup& setup,
                           std::uint64_t total, std::uint64_t rows, const BatchSource& source) {
  const double begin = now_seconds();
  Totals totals;
  for (std::uint64_t next = 0; next < total;) {
    std::vector<SweepBatch> batches;
    std::vector<at::Tensor> targets;
    while (batches.size() < batches_per_sweep && next < total) {
      const std::uint64_t count = std::min(rows, total - next);
      Row row = source(next, count);
      next += count;
      batches.push_back({.context = std::move(row.context), .caches = {}});
      targets.push_back(std::move(row.targets));
    }
    FATHOM_CHECK(setup.executor().sweep(
        batches, next < total,
        [&](std::size_t i, const models::Head& head, std::span<const at::Tensor> parameters,
            const at::Tensor& hidden) {
          return add_loss(options, setup, head, parameters, hidden, targets[i], totals);
        }));
  }
  return summary(totals, setup, now_seconds() - begin);
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
  const std::uint64_t target = spec.encoder_decoder ? options.target_len.value_or(length) : 0;
  FATHOM_ASSIGN(const RowData data, RowData::open(options.data, tokenizer, spec,
                                                  {.length = length,
                                                   .target_length = target,
                                                   .wide = options.wide_data,
                                                   .packing = options.packing}));
  const std::uint64_t rows =
      std::min(std::max<std::uint64_t>(1, setup.config().batch.micro), data.rows());
  FATHOM_CHECK(
      setup.open({.rows = rows, .batches = batches_per_sweep, .length = length, .target = target}));
  return evaluate_rows(options, setup, data.rows(), rows,
                       [&](std::uint64_t next, std::uint64_t count) {
                         const MicroBatch batch = data.batch(next, count);
                         Row row{plain_context(batch.input_ids), batch.targets};
                         row.context.decoder_input_ids = batch.decoder_input_ids;
                         if (batch.attention_mask.defined())
                           row.context.mask = source_mask(batch.attention_mask, setup.compute());
                         return row;
                       });
}

struct TokenRows {
  at::Tensor ids, mask;            // int64 [batch, length]
  at::Tensor decoder_ids, labels;  // encoder-decoder: int64 [batch, target length]
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

// int64 [batch, length] of ids below the vocabulary; `ignored`: -100 is allowed too.
Result<at::Tensor> read_ids(const models::SafetensorsReader& reader, const char* name,
                            const std::string& path, std::uint64_t vocabulary, bool ignored) {
  FATHOM_ASSIGN(const models::TensorInfo* tensor, reader.require(name));
  FATHOM_ASSIGN(at::Tensor rows, read_rows(reader, *tensor));
  const auto* id = static_cast<const std::int64_t*>(rows.data_ptr());
  for (std::int64_t i = 0; i < rows.numel(); ++i) {
    if (ignored && id[i] == models::ignored_target) continue;
    if (id[i] < 0 || static_cast<std::uint64_t>(id[i]) >= vocabulary)
      return fail(
          Error(Errc::bad_input, "read token ids")
              .on(fmt::format("{}, element {}, in {}", name, i, path))
              .because(fmt::format("{} is not below the vocabulary's {}", id[i], vocabulary))
              .remedy("tokenise with this model's tokenizer"));
  }
  return rows;
}

Error wrong_shape(const char* name, const std::string& path, const char* other) {
  return Error(Errc::bad_input, "read token ids")
      .on(fmt::format("{} in {}", name, path))
      .because(fmt::format("its shape is not that of {}", other))
      .remedy("give both the same shape");
}

// The decoder reads the labels moved right by one, padding where one is ignored.
at::Tensor shifted(const at::Tensor& labels, const models::ModelSpec& spec) {
  at::Tensor ids = at::empty(labels.sizes(), labels.options());
  const auto* label = static_cast<const std::int64_t*>(labels.data_ptr());
  auto* id = static_cast<std::int64_t*>(ids.data_ptr());
  for (std::int64_t i = 0; i < labels.numel(); ++i) {
    const bool first = i % labels.size(1) == 0;
    const std::int64_t before = first ? *spec.decoder_start_token : label[i - 1];
    id[i] = before == models::ignored_target ? spec.pad_token.value_or(0) : before;
  }
  return ids;
}

Result<void> read_decoder(const models::SafetensorsReader& reader, const std::string& path,
                          const models::ModelSpec& spec, TokenRows& rows) {
  if (reader.find("labels") != nullptr) {
    FATHOM_ASSIGN(rows.labels, read_ids(reader, "labels", path, spec.vocabulary, true));
  }
  if (reader.find("decoder_input_ids") != nullptr || !rows.labels.defined()) {
    FATHOM_ASSIGN(rows.decoder_ids,
                  read_ids(reader, "decoder_input_ids", path, spec.vocabulary, false));
  } else {
    rows.decoder_ids = shifted(rows.labels, spec);
  }
  if (rows.labels.defined() && rows.labels.sizes() != rows.decoder_ids.sizes())
    return fail(wrong_shape("labels", path, "decoder_input_ids"));
  if (rows.decoder_ids.size(0) != rows.ids.size(0))
    return fail(wrong_shape("decoder_input_ids", path, "input_ids (rows)"));
  return {};
}

Result<TokenRows> read_tokens(const std::string& path, const models::ModelSpec& spec) {
  FATHOM_ASSIGN(const models::SafetensorsReader reader, models::SafetensorsReader::open(path));
  TokenRows rows;
  FATHOM_ASSIGN(rows.ids, read_ids(reader, "input_ids", path, spec.vocabulary, false));
  if (const models::TensorInfo* mask = reader.find("attention_mask")) {
    FATHOM_ASSIGN(rows.mask, read_rows(reader, *mask));
    if (rows.mask.sizes() != rows.ids.sizes())
      return fail(wrong_shape("attention_mask", path, "input_ids"));
  }
  if (spec.encoder_decoder) FATHOM_CHECK(read_decoder(reader, path, spec, rows));
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

// Row `index` by itself. A copy of its own: rows of the file need no alignment to each other.
Row row_of(const TokenRows& rows, std::int64_t index, const InferenceSetup& setup) {
  const auto take = [&](const at::Tensor& all) {
    return all.defined() ? all.narrow(0, index, 1).contiguous() : at::Tensor();
  };
  const at::Tensor ids = take(rows.ids), mask = take(rows.mask);
  Row row{plain_context(ids), {}};
  if (setup.spec().encoder_decoder) {
    row.context.decoder_input_ids = take(rows.decoder_ids);
    if (mask.defined()) row.context.mask = source_mask(mask, setup.compute());
    row.targets = rows.labels.defined() ? take(rows.labels)
                                        : at::full(row.context.decoder_input_ids.sizes(),
                                                   models::ignored_target, ids.options());
    return row;
  }
  if (mask.defined()) {
    row.context.positions = positions_of(mask);
    row.context.mask = additive_mask(mask, ids.size(1), setup.compute());
  }
  row.targets = next_tokens(ids, mask);
  return row;
}

Result<json> evaluate_tokens(const EvaluateOptions& options, InferenceSetup& setup) {
  const models::ModelSpec& spec = setup.spec();
  FATHOM_ASSIGN(const TokenRows rows, read_tokens(options.input_ids, spec));
  const std::int64_t count = rows.ids.size(0), length = rows.ids.size(1);
  if (static_cast<std::uint64_t>(length) > spec.max_positions)
    return fail(Error(Errc::bad_input, "evaluate tokens")
                    .on(options.input_ids)
                    .because(fmt::format("{} tokens a row, the model has {} positions", length,
                                         spec.max_positions))
                    .remedy("shorten the rows"));
  const std::int64_t target = rows.decoder_ids.defined() ? rows.decoder_ids.size(1) : 0;
  FATHOM_CHECK(setup.open({.rows = 1,
                           .batches = batches_per_sweep,
                           .length = static_cast<std::uint64_t>(length),
                           .target = static_cast<std::uint64_t>(target)}));
  std::optional<models::SafetensorsWriter> writer;
  if (!options.logits_out.empty()) {
    FATHOM_ASSIGN(models::SafetensorsWriter created,
                  models::SafetensorsWriter::create_file(
                      options.logits_out, {{"logits",
                                            models::Dtype::f32,
                                            {count, spec.encoder_decoder ? target : length,
                                             static_cast<std::int64_t>(spec.vocabulary)}}}));
    writer.emplace(std::move(created));
  }
  const double begin = now_seconds();
  Totals totals;
  for (std::int64_t next = 0; next < count;) {
    std::vector<SweepBatch> batches;
    std::vector<at::Tensor> targets;
    for (; batches.size() < batches_per_sweep && next < count; ++next) {
      Row row = row_of(rows, next, setup);
      batches.push_back({.context = std::move(row.context), .caches = {}});
      targets.push_back(std::move(row.targets));
    }
    FATHOM_CHECK(setup.executor().sweep(
        batches, next < count,
        [&](std::size_t i, const models::Head& head, std::span<const at::Tensor> parameters,
            const at::Tensor& hidden) -> Result<void> {
          FATHOM_CHECK(add_loss(options, setup, head, parameters, hidden, targets[i], totals));
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
