// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/outlook.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "engine/plan/simulator.hpp"

namespace fathom::engine {
namespace {

constexpr double day = 86400;

}  // namespace

double nvme_seconds(double read_bytes, double write_bytes, const Rates& rates) {
  const double reading = read_bytes / rates.read, writing = write_bytes / rates.write;
  return std::max({reading, writing, (reading + writing) / (1 + rates.duplex)});
}

double tokens_to_hide(double io, double fixed, double seconds_per_token) {
  if (seconds_per_token <= 0) return 0;
  return std::max(0.0, io - fixed) / seconds_per_token;
}

double tokens_per_step(const PlanInput& input) {
  return static_cast<double>(input.micro_batch * input.accumulation * input.length * input.world);
}

Outlook look_ahead(const Plan& plan) {
  const Rates& rates = plan.input.rates;
  std::array<ResourceUse, resource_count> uses{};
  for (std::size_t i = 0; i < uses.size(); ++i) uses[i].resource = static_cast<Resource>(i);
  for (const Op& op : plan.steady.ops) {
    ResourceUse& use = uses[static_cast<std::size_t>(op.resource)];
    ++use.operations;
    use.bytes += op.bytes;
    const double seconds = op_seconds(op, rates);
    use.seconds += seconds;
    if (op.flops > 0) use.compute += seconds;
    if (op.kind == OpKind::update) use.update += seconds;
  }
  Outlook outlook;
  double compute = 0, beside = 0;
  for (const ResourceUse& use : uses) {
    if (use.operations != 0) outlook.resources.push_back(use);
    compute += use.compute;
    if (use.compute > 0) beside += use.seconds - use.compute;
  }
  const double tokens = tokens_per_step(plan.input);
  outlook.io_seconds =
      nvme_seconds(static_cast<double>(plan.steady.bytes(Resource::nvme_read)),
                   static_cast<double>(plan.steady.bytes(Resource::nvme_write)), rates);
  outlook.tokens_to_hide_io = tokens_to_hide(outlook.io_seconds, beside, compute / tokens);
  outlook.written_per_step = plan.steady.bytes(Resource::nvme_write);
  if (const double seconds = plan.prediction.seconds; seconds > 0) {
    outlook.tokens_per_second = tokens / seconds;
    outlook.written_per_day = static_cast<double>(outlook.written_per_step) * day / seconds;
  }
  return outlook;
}

Wear wear(const Plan& plan, const Outlook& outlook, double tbw, std::uint64_t steps) {
  const std::vector<double>& weights = plan.input.path_weights;
  Wear wear{.tbw = tbw, .busiest_share = 1, .days = {}, .of_run = 0};
  if (!weights.empty())
    wear.busiest_share = *std::max_element(weights.begin(), weights.end()) /
                         std::accumulate(weights.begin(), weights.end(), 0.0);
  if (outlook.written_per_day > 0) wear.days = tbw / (outlook.written_per_day * wear.busiest_share);
  wear.of_run = static_cast<double>(outlook.written_per_step) * static_cast<double>(steps) *
                wear.busiest_share / tbw;
  return wear;
}

}  // namespace fathom::engine
