// SPDX-License-Identifier: Apache-2.0
//
// Evaluations: what a run's evaluations have said so far, and what follows from it.
//
// Purpose      Which loss is the best, and when to stop, are functions of the list of losses alone
//              (pure). The list lies in --out as evaluations.jsonl, a line an evaluation, synced:
//              a run that is resumed reads the lines up to its step, and stops and keeps where an
//              uninterrupted one would have.
// Threads      The engine's thread.
//
//   FATHOM_ASSIGN(Evaluations past, Evaluations::open(out, rule, resumed_step));
//   FATHOM_ASSIGN(const bool best, past.add(metrics));
//   if (past.exhausted()) …                             // early stop
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "engine/metrics.hpp"

namespace fathom::engine {

struct EvaluationRule {
  std::uint64_t patience = 0;  // evaluations in a row without a better loss; 0: no early stop
  double threshold = 0;        // by which a loss must be lower than the best to be better
};

// What a list of losses, oldest first, amounts to. A loss that is not finite is never the best.
struct EvaluationState {
  std::optional<std::size_t> best;  // index
  std::uint64_t without = 0;        // evaluations since
  bool operator==(const EvaluationState&) const = default;
};
EvaluationState judge(const std::vector<double>& losses, const EvaluationRule& rule);

class Evaluations {
 public:
  // `resumed`: goes on with the lines up to this step; nothing: the file begins anew with the first
  // evaluation. Of several ranks one `writes`. A last line that is not whole does not count.
  static Result<Evaluations> open(const std::string& directory, const EvaluationRule& rule,
                                  std::optional<std::int64_t> resumed, bool writes = true);

  // Whether it is the best so far.
  Result<bool> add(const EvalMetrics& metrics);
  bool exhausted() const;
  std::optional<EvalMetrics> best() const;
  bool has(std::int64_t step) const;
  const std::vector<EvalMetrics>& all() const { return all_; }

 private:
  Result<void> write() const;
  EvaluationState state() const;

  std::string path_;
  bool writes_ = true;
  EvaluationRule rule_;
  std::vector<EvalMetrics> all_;
};

}  // namespace fathom::engine
