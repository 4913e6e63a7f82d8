// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/lower_bound.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/plan/simulator.hpp"

namespace fathom::engine {
namespace {

// Seconds of each resource, reads and writes one direction at a time.
struct Sums {
  std::array<double, resource_count> seconds{};
  std::array<std::uint64_t, resource_count> bytes{};
  double updated_by_cpu = 0;

  void add(const Op& op, const Rates& rates) {
    const auto i = static_cast<std::size_t>(op.resource);
    seconds[i] += op_seconds(op, rates);
    bytes[i] += op.bytes;
    if (op.kind == OpKind::update && op.resource == Resource::cpu) updated_by_cpu += op.elements;
  }
  double of(Resource resource) const { return seconds[static_cast<std::size_t>(resource)]; }
  double bytes_of(Resource resource) const {
    return static_cast<double>(bytes[static_cast<std::size_t>(resource)]);
  }
};

double together(double reading, double writing, double duplex) {
  return std::max({reading, writing, (reading + writing) / (1 + duplex)});
}

// bytes.md §7: the update passes over its states twice and the gradient once; every transfer passes
// once.
double dram_seconds(const Plan& plan, const Sums& sums) {
  const PlanInput& input = plan.input;
  if (input.rates.dram <= 0) return 0;
  const auto element =
      static_cast<double>(2 * input.sections.of(input.sections.present()) + input.gradient_bytes);
  double bytes = element * sums.updated_by_cpu;
  for (const Resource resource :
       {Resource::nvme_read, Resource::nvme_write, Resource::h2d, Resource::d2h})
    bytes += sums.bytes_of(resource);
  return bytes / input.rates.dram;
}

// With clipping updates go with the forward pass, without it with the backward pass, and neither
// pass begins before the other ends: what each moves and computes adds up. What the rings hold can
// be read before and written after.
double schedule_seconds(const Plan& plan) {
  if (plan.input.mode == Mode::inference) return 0;
  const Rates& rates = plan.input.rates;
  double held = 0;
  for (const Buffer& buffer : plan.buffers)
    if (buffer.tier == Tier::host &&
        (buffer.kind == BufferKind::landing || buffer.kind == BufferKind::ring ||
         buffer.kind == BufferKind::staging || buffer.kind == BufferKind::carry))
      held += static_cast<double>(buffer.bytes);
  std::array<Sums, 2> phases;
  std::size_t phase = 0;
  for (const Op& op : plan.steady.ops) {
    if (op.kind == OpKind::backward) phase = 1;
    phases[phase].add(op, rates);
  }
  double seconds = 0;
  for (const Sums& sums : phases) {
    const double reading = std::max(0.0, sums.bytes_of(Resource::nvme_read) - held) / rates.read;
    const double writing = std::max(0.0, sums.bytes_of(Resource::nvme_write) - held) / rates.write;
    seconds += std::max({sums.of(Resource::cpu), sums.of(Resource::device),
                         together(reading, writing, rates.duplex)});
  }
  return seconds;
}

}  // namespace

LowerBound lower_bound(const Plan& plan) {
  const Rates& rates = plan.input.rates;
  Sums sums;
  for (const Op& op : plan.steady.ops) sums.add(op, rates);
  LowerBound bound;
  ResourceSeconds& t = bound.terms;
  t.device = sums.of(Resource::device);
  t.cpu = sums.of(Resource::cpu);
  t.nvme_read = sums.of(Resource::nvme_read);
  t.nvme_write = sums.of(Resource::nvme_write);
  t.nvme = together(t.nvme_read, t.nvme_write, rates.duplex);
  t.h2d = sums.of(Resource::h2d);
  t.d2h = sums.of(Resource::d2h);
  t.network = sums.of(Resource::network);
  t.dram = dram_seconds(plan, sums);
  t.schedule = schedule_seconds(plan);
  t.fill = (t.nvme_read + t.nvme_write) / static_cast<double>(plan.units.size());
  const std::array<std::pair<double, const char*>, 8> all = {{{t.cpu, "cpu"},
                                                              {t.device, "device"},
                                                              {t.nvme, "nvme"},
                                                              {t.h2d, "h2d"},
                                                              {t.d2h, "d2h"},
                                                              {t.dram, "dram"},
                                                              {t.network, "network"},
                                                              {t.schedule, "schedule"}}};
  for (const auto& [seconds, name] : all) {
    // What one resource explains is not the schedule's doing.
    if (seconds <= bound.seconds * (1 + 1e-9)) continue;
    bound.seconds = seconds;
    bound.bound_by = name;
  }
  return bound;
}

}  // namespace fathom::engine
