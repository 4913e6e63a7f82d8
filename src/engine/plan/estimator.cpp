// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/estimator.hpp"

#include <algorithm>
#include <iterator>
#include <map>

#include <fmt/format.h>

#include "base/units.hpp"
#include "swap/section.hpp"

namespace fathom::engine {
namespace {

using nlohmann::json;

// Allowance of the classic estimate for buffers and fragments.
constexpr double buffer_factor = 1.5;

std::uint64_t truncated(double bytes) { return static_cast<std::uint64_t>(bytes); }
double gib(std::uint64_t bytes) { return static_cast<double>(bytes) / static_cast<double>(GiB); }

std::uint64_t per_setup(std::uint64_t bytes_per_parameter, std::uint64_t parameters,
                        std::uint32_t parts) {
  return ceil_div(bytes_per_parameter * parameters, parts);
}

// fp32 master, gradient, m and v; with the 16-bit parameter when that is offloaded too.
constexpr double offloaded_states = 16, offloaded_all = 18;

ClassicRow zero3_row(const EstimateInput& input, bool param, bool optimizer, bool zero_init) {
  const double total = static_cast<double>(input.parameters);
  const double gpus = input.setup.gpus, all = input.setup.total();
  const double share = 1.0 / input.setup.nodes;
  // The largest layer is gathered whole: a 16-bit weight and a 16-bit gradient.
  ClassicRow row{.stage = 3,
                 .offload_param = param,
                 .offload_optimizer = optimizer,
                 .zero_init = zero_init,
                 .per_gpu = 4 * input.largest_layer};
  if (!optimizer) {
    row.per_gpu += truncated(18 * total / all);
    const std::uint64_t built = zero_init ? input.largest_layer : input.parameters;
    row.per_cpu = truncated(static_cast<double>(built) * 4 * gpus * buffer_factor);
    return row;
  }
  if (!param) row.per_gpu += truncated(2 * total / all);
  const double kept = (param ? offloaded_all : offloaded_states) * share;
  // Without zero_init every process first builds an fp32 copy of its own.
  row.per_cpu = truncated(total * (zero_init ? kept : std::max(4.0 * gpus, kept)) * buffer_factor);
  return row;
}

ClassicRow zero2_row(const EstimateInput& input, bool optimizer) {
  const double total = static_cast<double>(input.parameters);
  ClassicRow row{.stage = 2, .offload_optimizer = optimizer, .per_gpu = 2 * input.parameters};
  if (optimizer) {
    row.per_cpu = truncated(total * std::max(4.0 * input.setup.total(), 16.0) * buffer_factor);
    return row;
  }
  row.per_gpu += truncated(18 * total / input.setup.total());
  row.per_cpu = truncated(total * 4 * input.setup.gpus * buffer_factor);
  return row;
}

std::string plural(std::uint32_t count, const char* noun) {
  return fmt::format("{} {}{}", count, noun, count > 1 ? "s" : "");
}

std::string hardware(Setup setup) {
  return fmt::format("HW: Setup with {}, {} per node.", plural(setup.nodes, "node"),
                     plural(setup.gpus, "GPU"));
}

void classic_table(std::string& text, const std::vector<ClassicRow>& rows) {
  text += "  per CPU  |  per GPU |   Options\n";
  for (const ClassicRow& row : rows)
    fmt::format_to(std::back_inserter(text), " {:7.2f}GB | {:6.2f}GB | {}\n", gib(row.per_cpu),
                   gib(row.per_gpu), row.options());
}

// Landing slots for two units, fp32 gradient sums of two more while one of them is reduced.
constexpr std::uint64_t landing_slots = 2, unit_gradients = 2;
// Three ring slots: read, use, write.
constexpr std::uint64_t ring_slots = 3, ring_elements = 16 * MiB;
constexpr std::uint64_t gradient_bytes = 2;

PlacementRow placement(const EstimateInput& input, const char* weights, const char* states) {
  const swap::SectionBytes sections = swap::split_bf16_sections;
  const std::uint64_t w = sections.of(swap::Section::W);
  const std::uint64_t s = sections.of(swap::Section::lo) + sections.of(swap::Section::m) +
                          sections.of(swap::Section::v);
  const std::uint64_t n = input.parameters, unit = input.largest_unit;
  const Setup& setup = input.setup;
  const std::string_view where_w = weights, where_s = states;
  PlacementRow row{.weights = weights,
                   .states = states,
                   .per_gpu = landing_slots * w * unit + unit_gradients * 4 * unit};
  if (where_w == "device") row.per_gpu += per_setup(w, n, setup.total());
  if (where_w == "cpu") row.pinned += per_setup(w, n, setup.nodes);
  if (where_s == "device")
    row.per_gpu += per_setup(s + gradient_bytes, n, setup.total());
  else
    row.pinned += per_setup(gradient_bytes, n, setup.nodes);
  if (where_s == "cpu") row.pinned += per_setup(s, n, setup.nodes);
  const std::uint64_t partition = ceil_div(unit, setup.total());
  if (where_w == "nvme") {
    row.nvme += per_setup(w, n, setup.nodes);
    row.pinned += setup.gpus * landing_slots * w * partition;
    row.read += per_setup(2 * w, n, setup.nodes);  // forward, backward
    row.written += per_setup(w, n, setup.nodes);
  }
  if (where_s == "nvme") {
    row.nvme += per_setup(s, n, setup.nodes);
    row.pinned += setup.gpus * ring_slots * s * std::min(ring_elements, partition);
    row.read += per_setup(s, n, setup.nodes);
    row.written += per_setup(s, n, setup.nodes);
  }
  return row;
}

EstimateInput with_gpus(EstimateInput input, std::uint32_t gpus) {
  input.setup.gpus = gpus;
  return input;
}

// 1, 2, 4, … and the number asked for.
std::vector<std::uint32_t> doublings(std::uint32_t gpus) {
  std::vector<std::uint32_t> counts;
  for (std::uint32_t count = 1; count < gpus; count *= 2) counts.push_back(count);
  counts.push_back(gpus);
  return counts;
}

void fathom_table(std::string& text, const EstimateInput& input) {
  text += "   per GPU |   pinned |      NVMe | read/step | written/step | Fathom, stage 3\n";
  for (const PlacementRow& row : placements(input))
    fmt::format_to(std::back_inserter(text),
                   " {:7.2f}GB | {:6.2f}GB | {:7.2f}GB | {:7.2f}GB | {:10.2f}GB | "
                   "weights={:<6}, states={}\n",
                   gib(row.per_gpu), gib(row.pinned), gib(row.nvme), gib(row.read),
                   gib(row.written), row.weights, row.states);
}

void doublings_table(std::string& text, const EstimateInput& input) {
  auto out = std::back_inserter(text);
  fmt::format_to(out, "\nper GPU in GB by GPUs per node ({})\n  GPUs |",
                 plural(input.setup.nodes, "node"));
  text +=
      " ZeRO-3 cpu,cpu | none,cpu | none,none | ZeRO-2 cpu |   none |"
      " Fathom nvme,nvme | device,device\n";
  for (const std::uint32_t gpus : doublings(input.setup.gpus)) {
    const EstimateInput one = with_gpus(input, gpus);
    const auto three = classic_zero3(one), two = classic_zero2(one);
    const auto own = placements(one);
    fmt::format_to(out,
                   "  {:4} | {:14.2f} | {:8.2f} | {:9.2f} | {:10.2f} | {:6.2f} | {:16.2f} | "
                   "{:13.2f}\n",
                   gpus, gib(three[0].per_gpu), gib(three[2].per_gpu), gib(three[4].per_gpu),
                   gib(two[0].per_gpu), gib(two[1].per_gpu), gib(own.back().per_gpu),
                   gib(own.front().per_gpu));
  }
}

json classic_json(const std::vector<ClassicRow>& rows) {
  json list = json::array();
  for (const ClassicRow& row : rows) {
    json one = {{"offload_optimizer", row.offload_optimizer ? "cpu" : "none"},
                {"per_cpu_bytes", row.per_cpu},
                {"per_gpu_bytes", row.per_gpu}};
    if (row.stage == 3) {
      one["offload_param"] = row.offload_param ? "cpu" : "none";
      one["zero_init"] = row.zero_init;
    }
    list.push_back(std::move(one));
  }
  return list;
}

json placements_json(const EstimateInput& input) {
  json list = json::array();
  for (const PlacementRow& row : placements(input))
    list.push_back({{"weights", row.weights},
                    {"states", row.states},
                    {"per_gpu_bytes", row.per_gpu},
                    {"pinned_bytes", row.pinned},
                    {"nvme_bytes", row.nvme},
                    {"nvme_bytes_durable", 2 * row.nvme},
                    {"read_bytes_per_step", row.read},
                    {"written_bytes_per_step", row.written}});
  return list;
}

}  // namespace

std::uint64_t largest_module_parameters(const models::ModelSpec& spec) {
  std::map<std::string, std::uint64_t> modules;
  for (const models::UnitSpec& unit : spec.units)
    for (const models::ParameterSpec& parameter : unit.parameters)
      modules[parameter.name.substr(0, parameter.name.rfind('.'))] += parameter.elements();
  std::uint64_t largest = 0;
  for (const auto& [name, elements] : modules) largest = std::max(largest, elements);
  return largest;
}

EstimateInput estimate_input(const models::ModelSpec& spec, Setup setup) {
  EstimateInput input{.parameters = spec.parameters(),
                      .largest_layer = largest_module_parameters(spec),
                      .largest_unit = 0,
                      .setup = setup};
  for (const models::UnitSpec& unit : spec.units)
    input.largest_unit = std::max(input.largest_unit, unit.elements());
  return input;
}

std::string ClassicRow::options() const {
  const auto device = [](bool offload) { return offload ? "cpu" : "none"; };
  if (stage == 2) return fmt::format("offload_optimizer={:<4}", device(offload_optimizer));
  return fmt::format("offload_param={:<4}, offload_optimizer={:<4}, zero_init={}",
                     device(offload_param), device(offload_optimizer), zero_init ? 1 : 0);
}

std::vector<ClassicRow> classic_zero3(const EstimateInput& input) {
  std::vector<ClassicRow> rows;
  struct Offload {
    bool param, optimizer;
  };
  for (const Offload offload : {Offload{true, true}, {false, true}, {false, false}})
    for (const bool zero_init : {true, false})
      rows.push_back(zero3_row(input, offload.param, offload.optimizer, zero_init));
  return rows;
}

std::vector<ClassicRow> classic_zero2(const EstimateInput& input) {
  return {zero2_row(input, true), zero2_row(input, false)};
}

std::vector<PlacementRow> placements(const EstimateInput& input) {
  return {placement(input, "device", "device"), placement(input, "device", "cpu"),
          placement(input, "cpu", "cpu"),       placement(input, "device", "nvme"),
          placement(input, "cpu", "nvme"),      placement(input, "nvme", "nvme")};
}

std::string estimate_text(const EstimateInput& input) {
  std::string text;
  auto out = std::back_inserter(text);
  const std::uint64_t total = input.parameters / 1'000'000, layer = input.largest_layer / 1'000'000;
  fmt::format_to(out,
                 "Estimated memory needed for params, optim states and gradients, ZeRO-3:\n{}\n"
                 "SW: Model with {}M total params, {}M largest layer params.\n",
                 hardware(input.setup), total, layer);
  classic_table(text, classic_zero3(input));
  fmt::format_to(out,
                 "\nEstimated memory needed for params, optim states and gradients, ZeRO-2:\n{}\n"
                 "SW: Model with {}M total params.\n",
                 hardware(input.setup), total);
  classic_table(text, classic_zero2(input));
  fmt::format_to(out,
                 "\nFathom's own for the same setup; pinned, NVMe and traffic are per node:\n");
  fathom_table(text, input);
  if (input.setup.gpus > 1) doublings_table(text, input);
  return text;
}

json estimate_json(const EstimateInput& input) {
  json setups = json::array();
  for (std::uint32_t gpus = 1; gpus <= input.setup.gpus; ++gpus) {
    const EstimateInput one = with_gpus(input, gpus);
    setups.push_back({{"gpus_per_node", gpus},
                      {"nodes", input.setup.nodes},
                      {"zero2", classic_json(classic_zero2(one))},
                      {"zero3", classic_json(classic_zero3(one))},
                      {"fathom", placements_json(one)}});
  }
  return {{"total_params", input.parameters},
          {"largest_layer_params", input.largest_layer},
          {"largest_unit_params", input.largest_unit},
          {"setups", std::move(setups)}};
}

}  // namespace fathom::engine
