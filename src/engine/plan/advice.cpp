// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/advice.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"
#include "engine/plan/outlook.hpp"

namespace fathom::engine {
namespace {

class Adviser {
 public:
  explicit Adviser(const Plan& plan)
      : plan_(plan), now_(tokens_per_step(plan.input) / plan.prediction.seconds) {}

  std::vector<Advice> all() {
    if (plan_.steady.has_transfers()) {
      more_host_memory();
      one_more_path();
    }
    if (plan_.input.mode == Mode::train) {
      twice_the_batch();
      no_clipping();
    }
    std::stable_sort(found_.begin(), found_.end(),
                     [](const Advice& a, const Advice& b) { return a.gain > b.gain; });
    return std::move(found_);
  }

 private:
  // Twice the budget, or what holds everything when that is less.
  void more_host_memory() {
    if (!plan_.input.host_memory) return;
    PlanInput input = plan_.input;
    input.host_memory.reset();
    const auto everything = make_plan(input);
    if (!everything) return;
    const std::uint64_t whole = everything->prediction.peak_host;
    const std::uint64_t before = *plan_.input.host_memory;
    const std::uint64_t after = std::min(2 * before, whole);
    if (after <= before) return;
    input.host_memory = after;
    consider("host_memory", static_cast<double>(before), static_cast<double>(after), input,
             fmt::format("fathom.host_memory {} instead of {}{}", format_bytes(after),
                         format_bytes(before), after == whole ? " (holds everything)" : ""));
  }

  void one_more_path() {
    PlanInput input = plan_.input;
    const double paths = static_cast<double>(input.path_weights.size());
    double sum = 0;
    for (const double weight : input.path_weights) sum += weight;
    input.path_weights.push_back(sum / paths);
    input.rates.read *= (paths + 1) / paths;
    input.rates.write *= (paths + 1) / paths;
    consider("nvme_path", paths, paths + 1, input,
             fmt::format("{} nvme paths instead of {}, the new one as fast as the others",
                         paths + 1, paths));
  }

  void twice_the_batch() {
    PlanInput input = plan_.input;
    input.accumulation *= 2;
    consider("batch", static_cast<double>(plan_.input.accumulation),
             static_cast<double>(input.accumulation), input,
             fmt::format("gradient_accumulation_steps {} instead of {} ({} tokens a step)",
                         input.accumulation, plan_.input.accumulation,
                         format_count(static_cast<std::uint64_t>(tokens_per_step(input)))));
  }

  void no_clipping() {
    // fp16 knows of an overflow only at the end of a step, whatever clipping does.
    if (!plan_.input.lazy || plan_.input.compute == ComputeType::fp16) return;
    PlanInput input = plan_.input;
    input.lazy = false;
    consider("clipping", 1, 0, input,
             "gradient_clipping 0 (a unit is updated in the shadow of the backward pass)");
  }

  void consider(const char* change, double from, double to, const PlanInput& input,
                const std::string& what) {
    const auto changed = make_plan(input);
    if (!changed) return;
    const Prediction& p = changed->prediction;
    Advice advice{.change = change,
                  .from = from,
                  .to = to,
                  .step_seconds = p.seconds,
                  .tokens_per_second = tokens_per_step(input) / p.seconds,
                  .gain = 0,
                  .sentence = {}};
    advice.gain = advice.tokens_per_second / now_ - 1;
    advice.sentence = fmt::format("{}: {:.4g} tokens/s, {:+.1f} % (a step of {}; {} binds)", what,
                                  advice.tokens_per_second, 100 * advice.gain,
                                  format_seconds(p.seconds), p.bound_by);
    found_.push_back(std::move(advice));
  }

  const Plan& plan_;
  double now_;
  std::vector<Advice> found_;
};

}  // namespace

std::vector<Advice> advise(const Plan& plan) {
  if (plan.prediction.seconds <= 0) return {};
  return Adviser(plan).all();
}

}  // namespace fathom::engine
