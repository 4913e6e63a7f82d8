// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <unordered_set>
#include <vector>

#include <fmt/format.h>

#include "base/random.hpp"

namespace fathom::engine {
namespace {

struct Candidate {
  double score;
  std::int64_t id;
};

// Repeated tokens become less likely, whatever the sign of their logits.
std::vector<double> penalised(std::span<const float> logits, double penalty,
                              std::span<const std::int64_t> seen) {
  std::vector<double> scores(logits.begin(), logits.end());
  if (penalty == 1) return scores;
  const std::unordered_set<std::int64_t> once(seen.begin(), seen.end());
  for (const std::int64_t id : once) {
    if (id < 0 || static_cast<std::size_t>(id) >= scores.size()) continue;
    double& score = scores[static_cast<std::size_t>(id)];
    score = score < 0 ? score * penalty : score / penalty;
  }
  return scores;
}

// Scores become weights relative to the first, the largest.
double to_weights(const std::vector<Candidate>& candidates, std::vector<double>& weights) {
  weights.clear();
  double total = 0;
  for (const Candidate& candidate : candidates) {
    weights.push_back(std::exp(candidate.score - candidates.front().score));
    total += weights.back();
  }
  return total;
}

}  // namespace

std::int64_t sample(std::span<const float> logits, const Sampling& sampling,
                    std::span<const std::int64_t> seen, std::uint64_t seed, std::uint64_t key,
                    std::uint64_t position) {
  const std::vector<double> scores = penalised(logits, sampling.repetition_penalty, seen);
  if (sampling.temperature <= 0)
    return std::max_element(scores.begin(), scores.end()) - scores.begin();

  std::vector<Candidate> candidates;
  candidates.reserve(scores.size());
  for (std::size_t id = 0; id < scores.size(); ++id)
    candidates.push_back({scores[id] / sampling.temperature, static_cast<std::int64_t>(id)});
  const auto keep = [&](std::size_t count) { candidates.resize(std::max<std::size_t>(count, 1)); };
  std::ranges::stable_sort(candidates, std::ranges::greater(), &Candidate::score);

  if (sampling.top_k != 0 && sampling.top_k < candidates.size()) {
    std::size_t count = sampling.top_k;
    const double least = candidates[count - 1].score;
    while (count < candidates.size() && candidates[count].score == least) ++count;
    keep(count);
  }
  std::vector<double> weights;
  double total = to_weights(candidates, weights);
  if (sampling.top_p < 1) {
    std::size_t count = 0;
    for (double kept = 0; count < weights.size() && kept < sampling.top_p * total; ++count)
      kept += weights[count];
    keep(count);
    total = to_weights(candidates, weights);
  }
  if (sampling.min_p > 0) {
    // The first weight is 1.
    const auto below = std::ranges::find_if(weights, [&](double w) { return w < sampling.min_p; });
    keep(static_cast<std::size_t>(below - weights.begin()));
    total = to_weights(candidates, weights);
  }
  double target = CounterRandom(seed, fmt::format("sample {:016x}", key)).uniform(position) * total;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    target -= weights[i];
    if (target < 0) return candidates[i].id;
  }
  return candidates.back().id;
}

std::uint64_t prompt_key(std::span<const std::int64_t> ids, std::uint64_t occurrence) {
  std::uint64_t hash = name_hash("prompt");
  const auto mix = [&](std::uint64_t value) {
    for (int byte = 0; byte < 8; ++byte)
      hash = (hash ^ (value >> (8 * byte) & 0xFFU)) * 1099511628211ULL;
  };
  for (const std::int64_t id : ids) mix(static_cast<std::uint64_t>(id));
  mix(occurrence);
  return hash;
}

}  // namespace fathom::engine
