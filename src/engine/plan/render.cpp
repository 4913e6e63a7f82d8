// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/render.hpp"

#include <iterator>

#include <fmt/format.h>

#include "base/units.hpp"
#include "engine/plan/simulator.hpp"

namespace fathom::engine {
namespace {

using nlohmann::json;

constexpr BufferKind all_kinds[] = {
    BufferKind::pinned_weights, BufferKind::pinned_states, BufferKind::landing,
    BufferKind::widened,        BufferKind::ring,          BufferKind::accumulator,
    BufferKind::gradient,       BufferKind::block_input,   BufferKind::staging,
    BufferKind::carry,          BufferKind::network};

struct Share {
  std::uint64_t device = 0, host = 0, nvme = 0;
};

Share share(const Plan& plan, swap::Section section) {
  Share sum;
  sum.device = plan.resident_bytes(swap::mask(section), Tier::device);
  sum.host = plan.resident_bytes(swap::mask(section), Tier::host);
  for (swap::ChunkId c = 0; c < plan.chunks.size(); ++c)
    sum.nvme += plan.layout.payload_bytes(c, section);
  sum.nvme -= sum.host + sum.device;
  return sum;
}

double tokens_per_pass(const PlanInput& input) {
  return static_cast<double>(input.micro_batch * input.accumulation * input.length * input.world);
}

const char* schedule(const Plan& plan) {
  if (plan.input.mode == Mode::inference) return "sweeps of the forward pass";
  return plan.input.lazy
             ? "lazy: gradient_clipping needs the global norm first, so updates run with the next "
               "forward"
             : "eager: no clipping, so a unit is updated as soon as its gradient is complete";
}

// Where each section lies: a column for each tier.
std::string placement_lines(const Plan& plan) {
  const bool cuda = plan.input.on_cuda();
  std::string text = fmt::format("placement {:>5}{} {:>14} {:>14}\n", "",
                                 cuda ? fmt::format(" {:>14}", "device") : "", "host", "nvme");
  auto out = std::back_inserter(text);
  const auto line = [&](const char* name, const Share& bytes) {
    fmt::format_to(out, "          {:>5}{} {:>14} {:>14}\n", name,
                   cuda ? fmt::format(" {:>14}", format_bytes(bytes.device)) : "",
                   format_bytes(bytes.host), format_bytes(bytes.nvme));
  };
  Share total;
  for (const swap::Section section : swap::all_sections) {
    if (plan.input.sections.of(section) == 0) continue;
    const Share bytes = share(plan, section);
    total.device += bytes.device;
    total.host += bytes.host;
    total.nvme += bytes.nvme;
    line(swap::to_string(section), bytes);
  }
  line("total", total);
  return text;
}

std::string buffer_lines(const Plan& plan, Tier tier) {
  std::string text;
  for (const BufferKind kind : all_kinds)
    if (const std::uint64_t bytes = plan.bytes_of(kind, tier); bytes != 0)
      text += fmt::format(
          "          {:>12}  {}{}\n", format_bytes(bytes), to_string(kind),
          kind == BufferKind::landing ? fmt::format(" ({})", plan.landing_slots)
          : kind == BufferKind::ring
              ? fmt::format(" ({} of {} elements)", plan.ring_slots, plan.input.chunk_elements)
              : "");
  return text;
}

std::string working_memory_line(const Plan& plan) {
  return fmt::format("          {:>12}  working memory of a block\n",
                     format_bytes(plan.activation_bytes));
}

// The nvme tier: the space that is taken, and how much of it on which path.
std::string store_lines(const Plan& plan) {
  const std::uint64_t store = plan.bytes_on_nvme();
  if (store == 0) return {};
  std::uint64_t payload = 0;
  for (const swap::Section section : swap::all_sections) payload += share(plan, section).nvme;
  const auto files = plan.layout.file_bytes();
  std::string text =
      fmt::format("store     {} on nvme, {} of it alignment; {} path{}\n", format_bytes(store),
                  format_bytes(store - payload), files.size(), files.size() == 1 ? "" : "s");
  for (std::size_t i = 0; files.size() > 1 && i < files.size(); ++i)
    text += fmt::format("          {:>12}  path {}\n", format_bytes(files[i]), i + 1);
  return text;
}

}  // namespace

json bytes_json(const StepBytes& bytes) {
  return {{"nvme_read", bytes.nvme_read},
          {"nvme_write", bytes.nvme_write},
          {"h2d", bytes.h2d},
          {"d2h", bytes.d2h},
          {"network", bytes.network}};
}

json plan_json(const Plan& plan, const std::vector<std::string>& shortfalls) {
  const PlanInput& input = plan.input;
  json placement = json::object();
  for (const swap::Section section : swap::all_sections) {
    if (input.sections.of(section) == 0) continue;
    const Share bytes = share(plan, section);
    placement[swap::to_string(section)] = {
        {"device_bytes", bytes.device}, {"host_bytes", bytes.host}, {"nvme_bytes", bytes.nvme}};
  }
  json memory = json::object();
  for (const BufferKind kind : all_kinds)
    if (plan.bytes_of(kind) != 0) memory[to_string(kind)] = plan.bytes_of(kind);
  memory["working memory of a block"] = plan.activation_bytes;
  if (input.fixed_bytes != 0) memory["tokens and caches"] = input.fixed_bytes;
  json units = json::array();
  for (std::size_t u = 0; u < plan.units.size(); ++u)
    units.push_back({{"name", input.model.units[u].name},
                     {"elements", plan.units[u].flat.elements},
                     {"weights", to_string(plan.units[u].weights())},
                     {"update", input.mode == Mode::inference ? "none"
                                : plan.units[u].lazy          ? "lazy"
                                                              : "eager"}});
  const Prediction& p = plan.prediction;
  const auto files = plan.layout.file_bytes();
  return {{"parameters", input.model.parameters()},
          {"mode", input.mode == Mode::train ? "train" : "inference"},
          {"device", to_string(input.device)},
          {"compute", to_string(input.compute)},
          {"schedule", schedule(plan)},
          {"tokens_per_step", tokens_per_pass(input)},
          {"seconds", p.seconds},
          {"lower_bound_seconds", p.lower_bound_seconds},
          {"bound_by", p.bound_by},
          {"bytes", bytes_json(p.bytes)},
          {"peak", {{"host", p.peak_host}, {"device", p.peak_device}}},
          {"host_memory", input.host_memory ? json(*input.host_memory) : json(nullptr)},
          {"smallest_host_memory", plan.smallest_host_memory},
          {"device_memory", input.device_memory ? json(*input.device_memory) : json(nullptr)},
          {"smallest_device_memory", plan.smallest_device_memory},
          {"store_bytes", plan.bytes_on_nvme()},
          {"chunk_elements", input.chunk_elements},
          {"landing_slots", plan.landing_slots},
          {"ring_slots", plan.ring_slots},
          {"placement", placement},
          {"store_path_bytes", std::vector<std::uint64_t>(files.begin(), files.end())},
          {"memory", memory},
          {"rates",
           {{"nvme_read", input.rates.read},
            {"nvme_write", input.rates.write},
            {"duplex", input.rates.duplex},
            {"flops", input.rates.flops},
            {"h2d", input.rates.h2d},
            {"d2h", input.rates.d2h},
            {"update_elements", input.rates.update}}},
          {"units", units},
          {"operations", plan.steady.ops.size()},
          {"shortfalls", shortfalls}};
}

std::string plan_text(const Plan& plan, const std::vector<std::string>& shortfalls) {
  const PlanInput& input = plan.input;
  const Prediction& p = plan.prediction;
  const std::uint64_t parameters = input.model.parameters();
  const bool train = input.mode == Mode::train;
  std::string text;
  auto out = std::back_inserter(text);
  fmt::format_to(out,
                 "plan      {} of {} parameters, {} on {}; a {} of {:.0f} tokens: {} predicted, "
                 "{} at best ({} binds)\n",
                 input.model.family, format_count(parameters), to_string(input.compute),
                 to_string(input.device), train ? "step" : "sweep", tokens_per_pass(input),
                 format_seconds(p.seconds), format_seconds(p.lower_bound_seconds), p.bound_by);
  fmt::format_to(out, "schedule  {}\n", schedule(plan));
  if (input.world > 1)
    fmt::format_to(
        out,
        "ranks     {}, stage {}: {}; a rank moves {} a step, sums in {}; what follows is "
        "one rank's\n",
        input.world, input.stage,
        input.partitions() == 1      ? "each holds all states"
        : input.partitions_weights() ? "each holds a part of W, lo, m, v and gradients"
                                     : "each holds W and a part of lo, m, v and gradients",
        format_bytes(p.bytes.network), to_string(input.reduce));
  text += placement_lines(plan);
  fmt::format_to(out, "memory    {} of {}; the smallest that works is {}\n",
                 format_bytes(p.peak_host),
                 input.host_memory ? format_bytes(*input.host_memory) : "no limit",
                 format_bytes(plan.smallest_host_memory));
  text += buffer_lines(plan, Tier::host);
  if (!input.on_cuda()) text += working_memory_line(plan);
  if (input.fixed_bytes != 0)
    fmt::format_to(out, "          {:>12}  tokens and caches\n", format_bytes(input.fixed_bytes));
  if (input.on_cuda()) {
    fmt::format_to(out, "device    {} of {}; the smallest that works is {}\n",
                   format_bytes(p.peak_device),
                   input.device_memory ? format_bytes(*input.device_memory) : "no limit",
                   format_bytes(plan.smallest_device_memory));
    text += buffer_lines(plan, Tier::device) + working_memory_line(plan);
  }
  text += store_lines(plan);
  const double n = static_cast<double>(parameters);
  fmt::format_to(
      out, "bytes     {} read, {} written per {} ({:.1f} + {:.1f} bytes per parameter)\n",
      format_bytes(p.bytes.nvme_read), format_bytes(p.bytes.nvme_write), train ? "step" : "sweep",
      static_cast<double>(p.bytes.nvme_read) / n, static_cast<double>(p.bytes.nvme_write) / n);
  if (input.on_cuda())
    fmt::format_to(out, "bus       {} to the device, {} from it per {}; {} and {}\n",
                   format_bytes(p.bytes.h2d), format_bytes(p.bytes.d2h), train ? "step" : "sweep",
                   format_rate(input.rates.h2d), format_rate(input.rates.d2h));
  fmt::format_to(out, "machine   nvme {} read, {} write; {:.0f} GFLOP/s {}; update {} elements/s\n",
                 format_rate(input.rates.read), format_rate(input.rates.write),
                 input.rates.flops / 1e9, to_string(input.compute),
                 format_count(static_cast<std::uint64_t>(input.rates.update)));
  for (const std::string& shortfall : shortfalls) fmt::format_to(out, "short     {}\n", shortfall);
  return text;
}

}  // namespace fathom::engine
