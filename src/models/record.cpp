// SPDX-License-Identifier: Apache-2.0
#include "models/record.hpp"

#include <limits>

#include <fmt/format.h>

#include "models/text_file.hpp"

namespace fathom::models {
namespace {

using nlohmann::json;

constexpr std::int64_t ignored_label = -100;

Error unusable(const std::string& origin) {
  return Error(Errc::bad_input, "read data")
      .on(origin)
      .remedy(
          "give {\"text\": \"…\"}, {\"prompt\": \"…\", \"completion\": \"…\"} or {\"input_ids\": "
          "[…], "
          "\"labels\": […]} on each line");
}

Result<std::string> text_of(const json& record, const char* key, const std::string& origin) {
  const auto at = record.find(key);
  if (at == record.end())
    return fail(unusable(origin).because(fmt::format("the line has no \"{}\"", key)));
  if (!at->is_string())
    return fail(unusable(origin).because(fmt::format("\"{}\" is no text", key)));
  return at->get<std::string>();
}

Result<std::vector<std::int64_t>> numbers_of(const json& record, const char* key,
                                             const std::string& origin) {
  const json& list = record.at(key);
  const auto bad = [&](const std::string& why) { return fail(unusable(origin).because(why)); };
  if (!list.is_array()) return bad(fmt::format("\"{}\" is no list", key));
  std::vector<std::int64_t> numbers;
  for (const json& value : list) {
    if (!value.is_number_integer()) return bad(fmt::format("\"{}\" holds what is no number", key));
    numbers.push_back(value.get<std::int64_t>());
  }
  return numbers;
}

Result<Record> from_ids(const json& value, const std::string& origin) {
  FATHOM_ASSIGN(const std::vector<std::int64_t> ids, numbers_of(value, "input_ids", origin));
  Record record;
  for (const std::int64_t id : ids) {
    if (id < 0 || id > std::numeric_limits<TokenId>::max())
      return fail(unusable(origin).because(fmt::format("{} is no token id", id)));
    record.ids.push_back(static_cast<TokenId>(id));
  }
  if (!value.contains("labels")) return record;
  FATHOM_ASSIGN(const std::vector<std::int64_t> labels, numbers_of(value, "labels", origin));
  if (labels.size() != ids.size())
    return fail(unusable(origin).because(
        fmt::format("it has {} input_ids and {} labels", ids.size(), labels.size())));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (labels[i] != ignored_label && labels[i] != ids[i])
      return fail(unusable(origin).because(
          fmt::format("label {} at position {} is neither the token {} there nor {}", labels[i], i,
                      ids[i], ignored_label)));
    record.ignored.push_back(labels[i] == ignored_label);
  }
  return record;
}

Result<Record> from_prompt(const json& value, const std::string& origin,
                           const Tokenizer& tokenizer) {
  FATHOM_ASSIGN(const std::string prompt, text_of(value, "prompt", origin));
  FATHOM_ASSIGN(const std::string completion, text_of(value, "completion", origin));
  Record record{.ids = tokenizer.encode(prompt, /*add_special=*/true), .needs_end = true};
  record.ignored.assign(record.ids.size(), true);
  const std::vector<TokenId> learned = tokenizer.encode(completion, /*add_special=*/false);
  if (learned.empty()) return fail(unusable(origin).because("the completion has no tokens"));
  record.ids.insert(record.ids.end(), learned.begin(), learned.end());
  record.ignored.resize(record.ids.size(), false);
  return record;
}

}  // namespace

Result<Record> read_record(std::string_view line, const std::string& origin,
                           const Tokenizer& tokenizer) {
  FATHOM_ASSIGN(const json value, parse_json(line, origin));
  if (!value.is_object()) return fail(unusable(origin).because("the line is no object"));
  const int forms = int{value.contains("text")} + int{value.contains("prompt")} +
                    int{value.contains("input_ids")};
  if (forms > 1)
    return fail(unusable(origin).because("text, prompt and input_ids exclude each other"));
  if (value.contains("prompt") || value.contains("completion"))
    return from_prompt(value, origin, tokenizer);
  if (value.contains("input_ids")) return from_ids(value, origin);
  if (value.contains("input") && value.contains("target"))
    return fail(unusable(origin).because(
        "the line is a pair for an encoder-decoder model, and this model is decoder-only"));
  FATHOM_ASSIGN(const std::string text, text_of(value, "text", origin));
  return Record{.ids = tokenizer.encode(text, /*add_special=*/false)};
}

}  // namespace fathom::models
