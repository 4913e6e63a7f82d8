// SPDX-License-Identifier: Apache-2.0
#include "models/pair_dataset.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/units.hpp"
#include "models/dataset.hpp"
#include "models/text_file.hpp"

namespace fathom::models {
namespace {

constexpr std::uint64_t text_limit = 64 * GiB;
constexpr std::int64_t ignored = -100;

Error unusable(Errc code, const std::string& origin) {
  return Error(code, "read pairs of texts")
      .on(origin)
      .remedy("give .jsonl with {\"input\": \"…\", \"target\": \"…\"} on each line");
}

}  // namespace

Result<PairDataset> PairDataset::open(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                      const ModelSpec& spec, const PairOptions& options) {
  FATHOM_ASSERT(options.source_length > 0 && options.target_length > 0, "lengths are not set");
  FATHOM_ASSERT(spec.decoder_start_token.has_value(), "a decoder starts with a token");
  PairDataset data;
  data.options_ = options;
  data.start_ = *spec.decoder_start_token;
  data.padding_ = spec.pad_token.value_or(0);
  FATHOM_ASSIGN(const std::vector<std::filesystem::path> files, data_files(path));
  for (const std::filesystem::path& file : files) {
    if (file.extension() != ".jsonl") {
      return fail(unusable(Errc::bad_input, file.string())
                      .because("an encoder-decoder model learns from pairs, and it is not .jsonl"));
    }
    FATHOM_CHECK(data.add(file, tokenizer, spec.vocabulary));
  }
  if (data.ends_.empty()) {
    return fail(unusable(Errc::bad_input, path.string()).because("it holds no record"));
  }
  data.order_ = {.rows = data.ends_.size(),
                 .batch = options.batch,
                 .shuffle = options.shuffle,
                 .seed = options.seed};
  if (data.order_.per_pass() == 0) {
    return fail(unusable(Errc::bad_input, path.string())
                    .because(fmt::format("its {} records fill no batch of {}, and "
                                         "dataloader_drop_last leaves out what fills none",
                                         data.ends_.size(), options.batch)));
  }
  data.ids_.shrink_to_fit();
  data.ends_.shrink_to_fit();
  return data;
}

Result<void> PairDataset::append(const std::string& text, std::uint64_t limit,
                                 const Tokenizer& tokenizer, std::uint64_t vocabulary,
                                 const std::string& origin) {
  const std::vector<TokenId> ids = tokenizer.encode(text, /*add_special=*/true);
  const std::size_t kept = std::min<std::size_t>(ids.size(), limit);
  dropped_ += ids.size() - kept;
  for (std::size_t i = 0; i < kept; ++i) {
    if (ids[i] < vocabulary) continue;
    return fail(Error(Errc::bad_input, "read pairs of texts")
                    .on(origin)
                    .because(fmt::format("token {} is not below the model's vocabulary of {}",
                                         ids[i], vocabulary))
                    .remedy("use the tokenizer that belongs to the model"));
  }
  ids_.insert(ids_.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(kept));
  return {};
}

Result<void> PairDataset::add(const std::filesystem::path& file, const Tokenizer& tokenizer,
                              std::uint64_t vocabulary) {
  FATHOM_ASSIGN(const std::string text, read_text_file(file, text_limit));
  return for_each_line(text, [&](std::string_view line, std::uint64_t number) -> Result<void> {
    const std::string origin = fmt::format("{}, line {}", file.string(), number);
    FATHOM_ASSIGN(const nlohmann::json record, parse_json(line, origin));
    const auto text_of = [&](const char* key) -> const std::string* {
      const auto at = record.is_object() ? record.find(key) : record.end();
      return record.is_object() && at != record.end() && at->is_string()
                 ? &at->get_ref<const std::string&>()
                 : nullptr;
    };
    const std::string *input = text_of("input"), *target = text_of("target");
    if (input == nullptr || target == nullptr) {
      return fail(unusable(Errc::bad_input, origin)
                      .because("the line is not an object with texts \"input\" and \"target\""));
    }
    End record_end;
    FATHOM_CHECK(append(*input, options_.source_length, tokenizer, vocabulary, origin));
    record_end.input = ids_.size();
    FATHOM_CHECK(append(*target, options_.target_length, tokenizer, vocabulary, origin));
    record_end.target = ids_.size();
    const std::uint64_t first = ends_.empty() ? 0 : ends_.back().target;
    if (record_end.input == first || record_end.target == record_end.input) {
      return fail(unusable(Errc::bad_input, origin).because("a text of it has no tokens"));
    }
    ends_.push_back(record_end);
    return {};
  });
}

std::uint64_t PairDataset::memory_bytes() const {
  return ids_.capacity() * sizeof ids_[0] + ends_.capacity() * sizeof ends_[0];
}

void PairDataset::record(std::uint64_t index, const PairRow& row) const {
  FATHOM_ASSERT(row.input_ids.size() == options_.source_length &&
                    row.attention_mask.size() == options_.source_length &&
                    row.decoder_input_ids.size() == options_.target_length &&
                    row.labels.size() == options_.target_length,
                "a row as long as the options say");
  const std::uint64_t place = order_.row(index);
  const std::uint64_t first = place == 0 ? 0 : ends_[place - 1].target;
  const End end = ends_[place];
  std::ranges::fill(row.input_ids, padding_);
  std::ranges::fill(row.attention_mask, 0);
  std::ranges::fill(row.decoder_input_ids, padding_);
  std::ranges::fill(row.labels, ignored);
  for (std::uint64_t i = first; i < end.input; ++i) {
    row.input_ids[i - first] = ids_[i];
    row.attention_mask[i - first] = 1;
  }
  row.decoder_input_ids[0] = start_;
  for (std::uint64_t i = end.input; i < end.target; ++i) {
    row.labels[i - end.input] = ids_[i];
    if (i + 1 < end.target) row.decoder_input_ids[i - end.input + 1] = ids_[i];
  }
}

}  // namespace fathom::models
