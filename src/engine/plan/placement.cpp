// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/placement.hpp"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "base/units.hpp"

namespace fathom::engine {
namespace {

using swap::ChunkId;

// What the engine may be late by, beyond the disk's latency, without the disk going idle.
constexpr double jitter_seconds = 5e-3;
constexpr std::uint32_t most_slots = 8;

class Placement {
 public:
  Placement(Plan& plan, Memory& memory, const Policy& policy)
      : plan_(plan), memory_(memory), input_(plan.input), policy_(policy) {}

  Placed run() {
    Placed placed;
    memory_.slots = {.landing = std::max(2U, input_.landing_slots),
                     .ring = std::max(2U, input_.ring_slots),
                     .staging = std::max(2U, input_.ring_slots)};
    pin_small_units();
    place_block_inputs();
    placed.smallest_device = smallest_device_;
    if (!memory_.fits_device()) {
      placed.smallest_host = memory_.host();
      return placed;
    }
    // What must not go below host memory may have to go above it.
    const std::uint64_t device = memory_.device();
    if (input_.on_cuda() && !memory_.fits_host()) fill_device(device, 1);
    placed.smallest_host = memory_.host();
    if (!memory_.fits_host()) return placed;
    if (policy_.more_slots) choose_slots();
    if (input_.on_cuda()) fill_device(memory_.device(), policy_.share);
    fill_host();
    placed.fits = true;
    return placed;
  }

 private:
  bool train() const { return input_.mode == Mode::train; }
  std::uint32_t units() const { return static_cast<std::uint32_t>(plan_.units.size()); }
  Tier pinned() const { return input_.on_cuda() ? Tier::device : Tier::host; }

  // A norm alone is not worth a landing slot.
  void pin_small_units() {
    std::vector<std::uint64_t> bytes;
    for (std::uint32_t u = 0; u < units(); ++u) bytes.push_back(memory_.weight_bytes(u));
    const std::uint64_t largest = *std::max_element(bytes.begin(), bytes.end());
    for (std::uint32_t u = 0; u < units(); ++u) {
      if (bytes[u] * 64 > largest || plan_.units[u].weights() == pinned()) continue;
      // On the CPU a plan that keeps all weights in host memory has none to compare with.
      if (!input_.on_cuda() && input_.lowest_weights() != Tier::nvme) continue;
      memory_.place_weights(u, pinned());
      if (!input_.on_cuda() || !train()) continue;
      try_states(u, Tier::device, [] { return true; });
    }
  }

  // Block inputs stay on the device as far as it goes; the first ones, which are needed last, make
  // room: to host memory, then to nvme. The head's are used at once.
  void place_block_inputs() {
    smallest_device_ = memory_.device();
    if (!input_.on_cuda() || !train()) return;
    const Tier lowest = input_.activation_tier.value_or(spill_tier());
    if (input_.activation_tier)
      for (std::uint32_t u = 1; u + 1 < units(); ++u) memory_.place_inputs(u, lowest);
    if (lowest == Tier::device || input_.activation_tier) {
      smallest_device_ = memory_.device();
      return;
    }
    std::vector<Tier> chosen(units(), Tier::device);
    for (std::uint32_t u = 1; u + 1 < units() && !memory_.fits_device(); ++u)
      memory_.place_inputs(u, chosen[u] = Tier::host);
    for (std::uint32_t u = 1; lowest == Tier::nvme && u + 1 < units() && !memory_.fits_host(); ++u)
      if (chosen[u] == Tier::host) memory_.place_inputs(u, chosen[u] = Tier::nvme);
    for (std::uint32_t u = 1; u + 1 < units(); ++u) memory_.place_inputs(u, Tier::host);
    smallest_device_ = std::min(smallest_device_, memory_.device());
    for (std::uint32_t u = 1; u + 1 < units(); ++u) memory_.place_inputs(u, chosen[u]);
  }

  // Without a store block inputs go to host memory at most.
  Tier spill_tier() const {
    const bool nvme = input_.lowest_weights() == Tier::nvme || input_.lowest_states() == Tier::nvme;
    return nvme ? Tier::nvme : Tier::host;
  }

  // More slots than two only buy tolerance to latency and jitter: as many as keep the disk busy
  // meanwhile, within an eighth of the budget.
  void choose_slots() {
    const auto choose = [&](std::uint32_t& slots, std::uint32_t given, std::uint64_t bytes,
                            double rate, const std::optional<std::uint64_t>& budget) {
      if (given != 0 || bytes == 0) return;
      const auto ahead = static_cast<std::uint64_t>(rate * (input_.rates.latency + jitter_seconds));
      const auto wanted = std::clamp<std::uint64_t>(2 + ceil_div(ahead, bytes), 3, most_slots);
      for (std::uint64_t n = 3; n <= wanted; ++n) {
        const std::uint32_t before = std::exchange(slots, static_cast<std::uint32_t>(n));
        const bool modest = !budget || n * bytes <= *budget / 8 || n == 3;
        if (!memory_.fits_host() || !memory_.fits_device() || !modest) {
          slots = before;
          break;
        }
      }
    };
    const Rates& rates = input_.rates;
    const double nvme = std::max(rates.read, rates.write);
    const bool cuda = input_.on_cuda();
    choose(memory_.slots.landing, input_.landing_slots, memory_.largest(Memory::Slot::landing),
           cuda ? rates.h2d : nvme, cuda ? input_.device_memory : input_.host_memory);
    choose(memory_.slots.ring, input_.ring_slots, memory_.largest(Memory::Slot::ring), nvme,
           input_.host_memory);
    choose(memory_.slots.staging, input_.ring_slots, memory_.largest(Memory::Slot::staging), nvme,
           input_.host_memory);
  }

  // Seconds saved per byte and step by holding a unit's W: reads that a pass makes, and the write.
  double weight_value(std::uint32_t unit) const {
    const double read = 1 / input_.rates.read, write = 1 / input_.rates.write;
    if (!train()) return read;
    const bool embedding = unit == 0, head = unit + 1 == units();
    const UnitPlan& up = plan_.units[unit];
    double reads = 2;
    if (head) reads = 1;
    if (embedding) reads = (up.lazy ? 1 : 2) + (input_.model.tied_head ? 1 : 0);
    return reads * read + write;
  }

  std::vector<std::uint32_t> by_value() const {
    std::vector<std::uint32_t> order(units());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
      return weight_value(a) > weight_value(b);
    });
    return order;
  }

  Tier states_tier(ChunkId chunk) const {
    const ChunkPlan& placed = plan_.chunks[chunk];
    return placed.states_on_device ? Tier::device : placed.streamed != 0 ? Tier::nvme : Tier::host;
  }

  // Moves up when it then still fits; both budgets, since moving states up may bring a gradient
  // with it.
  template <typename Fits>
  bool try_weights(std::uint32_t unit, Tier tier, const Fits& fits) {
    const Tier before = plan_.units[unit].weights();
    if (before <= tier) return true;
    memory_.place_weights(unit, tier);
    if (fits()) return true;
    memory_.place_weights(unit, before);
    return false;
  }
  // As many of the unit's chunks as fit, from the first on. True when that is all of them.
  template <typename Fits>
  bool try_states(std::uint32_t unit, Tier tier, const Fits& fits) {
    const ChunkId first = plan_.layout.first_chunk(unit);
    std::vector<ChunkId> below;
    std::vector<Tier> before;
    for (ChunkId c = first; c < plan_.layout.end_chunk(unit); ++c)
      if (states_tier(c) > tier) {
        below.push_back(c);
        before.push_back(states_tier(c));
      }
    const auto lift = [&](std::size_t count) {
      memory_.place_states(below, [&](std::size_t i) { return i < count ? tier : before[i]; });
      return fits();
    };
    if (below.empty() || lift(below.size())) return true;
    std::size_t most = 0, too_many = below.size();
    while (most + 1 < too_many) {
      const std::size_t middle = (most + too_many) / 2;
      (lift(middle) ? most : too_many) = middle;
    }
    lift(most);
    return false;
  }

  void fill_device(std::uint64_t mandatory, double share) {
    std::optional<std::uint64_t> limit = input_.device_memory;
    if (limit && *limit > mandatory)
      limit =
          mandatory + static_cast<std::uint64_t>(static_cast<double>(*limit - mandatory) * share);
    if (!limit && share < 1) return;
    // What leaves host memory for the device may need slots to pass through.
    const std::uint64_t host = memory_.host();
    const auto fits = [&] {
      return (!limit || memory_.device() <= *limit) &&
             (memory_.fits_host() || memory_.host() <= host);
    };
    const std::vector<std::uint32_t> order = by_value();
    if (policy_.fill == DeviceFill::weights_first || !train())
      for (const std::uint32_t u : order) try_weights(u, Tier::device, fits);
    if (!train()) return;
    for (const std::uint32_t u : order) {
      if (policy_.fill == DeviceFill::whole_units && !try_weights(u, Tier::device, fits)) break;
      if (!try_states(u, Tier::device, fits)) break;
    }
    for (const std::uint32_t u : order) try_weights(u, Tier::device, fits);
  }

  void fill_host() {
    const auto fits = [&] { return memory_.fits_host(); };
    if (!train()) {
      for (const std::uint32_t u : by_value()) try_weights(u, Tier::host, fits);
      return;
    }
    if (everything_in_host()) return;
    if (!all_weights_in_host())
      for (const std::uint32_t u : by_value()) try_weights(u, Tier::host, fits);
    for (std::uint32_t u = 0; u < units(); ++u) try_states(u, Tier::host, fits);
  }

  // Without slots there is more room than any single move shows.
  bool everything_in_host() {
    const std::vector<Tier> weights = weights_up();
    const std::vector<ChunkPlan> states = plan_.chunks;
    for (std::uint32_t u = 0; u < units(); ++u) try_states(u, Tier::host, [] { return true; });
    if (memory_.fits_host()) return true;
    plan_.chunks = states;
    memory_.refresh_all();
    weights_down(weights);
    return false;
  }

  bool all_weights_in_host() {
    const std::vector<Tier> before = weights_up();
    if (memory_.fits_host()) return true;
    weights_down(before);
    return false;
  }

  std::vector<Tier> weights_up() {
    std::vector<Tier> before;
    for (std::uint32_t u = 0; u < units(); ++u) {
      before.push_back(plan_.units[u].weights());
      if (before.back() == Tier::nvme) memory_.place_weights(u, Tier::host);
    }
    return before;
  }
  void weights_down(const std::vector<Tier>& before) {
    for (std::uint32_t u = 0; u < units(); ++u)
      if (before[u] == Tier::nvme) memory_.place_weights(u, Tier::nvme);
  }

  Plan& plan_;
  Memory& memory_;
  const PlanInput& input_;
  const Policy& policy_;
  std::uint64_t smallest_device_ = 0;
};

}  // namespace

Placed place(Plan& plan, Memory& memory, const Policy& policy) {
  return Placement(plan, memory, policy).run();
}

}  // namespace fathom::engine
