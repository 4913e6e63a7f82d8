// SPDX-License-Identifier: Apache-2.0
#include "engine/evaluations.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/text_file.hpp"

namespace fathom::engine {
namespace {

using nlohmann::json;

constexpr const char* file_name = "evaluations.jsonl";

// A line that is not whole, or not one of these, is nothing.
std::optional<EvalMetrics> parse(std::string_view line) {
  const json value = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return std::nullopt;
  const auto number = [&](const char* key) { return value.value(key, json()); };
  const json step = number("step"), loss = number("eval_loss"), tokens = number("tokens"),
             seconds = number("seconds");
  if (!step.is_number_integer() || !tokens.is_number_unsigned() || !seconds.is_number() ||
      !(loss.is_number() || loss.is_null()))
    return std::nullopt;
  return EvalMetrics{.step = step.get<std::int64_t>(),
                     .loss = loss.is_null() ? NAN : loss.get<double>(),
                     .tokens = tokens.get<std::uint64_t>(),
                     .seconds = seconds.get<double>()};
}

}  // namespace

EvaluationState judge(const std::vector<double>& losses, const EvaluationRule& rule) {
  EvaluationState state;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const bool better = std::isfinite(losses[i]) &&
                        (!state.best || losses[i] < losses[*state.best] - rule.threshold);
    if (better) state.best = i;
    state.without = better ? 0 : state.without + 1;
  }
  return state;
}

Result<Evaluations> Evaluations::open(const std::string& directory, const EvaluationRule& rule,
                                      std::optional<std::int64_t> resumed, bool writes) {
  Evaluations evaluations;
  evaluations.writes_ = writes;
  evaluations.path_ = (std::filesystem::path(directory) / file_name).string();
  evaluations.rule_ = rule;
  std::error_code ignored;
  if (!resumed || !std::filesystem::exists(evaluations.path_, ignored)) return evaluations;
  FATHOM_ASSIGN(const std::string text, read_text_file(evaluations.path_));
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const auto line = parse(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
    if (line && line->step <= *resumed) evaluations.all_.push_back(*line);
  }
  return evaluations;
}

Result<bool> Evaluations::add(const EvalMetrics& metrics) {
  all_.push_back(metrics);
  FATHOM_CHECK(write());
  return state().best == all_.size() - 1;
}

// Whole and renamed: a few hundred lines at most, and never half of one.
Result<void> Evaluations::write() const {
  if (!writes_) return {};
  std::string text;
  for (const EvalMetrics& metrics : all_) text += evaluation_line(metrics) + "\n";
  return write_text_file(path_, text);
}

EvaluationState Evaluations::state() const {
  std::vector<double> losses;
  for (const EvalMetrics& metrics : all_) losses.push_back(metrics.loss);
  return judge(losses, rule_);
}

bool Evaluations::has(std::int64_t step) const {
  return std::ranges::any_of(all_,
                             [&](const EvalMetrics& metrics) { return metrics.step == step; });
}

bool Evaluations::exhausted() const {
  return rule_.patience != 0 && state().without >= rule_.patience;
}

std::optional<EvalMetrics> Evaluations::best() const {
  const EvaluationState now = state();
  return now.best ? std::optional(all_[*now.best]) : std::nullopt;
}

}  // namespace fathom::engine
