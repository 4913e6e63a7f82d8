// SPDX-License-Identifier: Apache-2.0
#include "aio/flight_budget.hpp"

#include <algorithm>
#include <limits>

#include "aio/backend.hpp"
#include "base/assert.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

constexpr std::uint64_t most_in_flight = 4096;
constexpr std::uint64_t most_small = 256, small_bytes = 64 * KiB;

std::uint64_t wanted_in_flight(const QueueOptions& options) {
  const std::uint64_t product =
      std::uint64_t{options.queue_depth} * std::uint64_t{options.intra_op_parallelism};
  return std::clamp<std::uint64_t>(product, 1, most_in_flight);
}

}  // namespace

std::vector<CommandLimit> command_limits(const DeviceChain& chain) {
  std::vector<CommandLimit> limits;
  for (const BlockDevice& device : chain.devices) {
    if (!device.limits.requests || *device.limits.requests == 0) continue;
    // A command holds whole blocks: O_DIRECT cuts nowhere else.
    const std::uint64_t bytes =
        round_down(command_bytes(device.limits, max_operation_bytes), io_alignment);
    const CommandLimit limit{std::max(bytes, io_alignment),
                             std::max<std::uint64_t>(1, *device.limits.requests / 2)};
    if (std::ranges::find(limits, limit) == limits.end()) limits.push_back(limit);
  }
  return limits;
}

FlightBudget::FlightBudget(std::uint64_t bytes, std::vector<CommandLimit> limits) : most_(bytes) {
  for (const CommandLimit& limit : limits) commands_.push_back({limit});
}

bool FlightBudget::fits(std::uint64_t bytes) const {
  if (bytes > most_ - used_) return false;
  return std::ranges::all_of(commands_, [bytes](const Commands& device) {
    return device.used + ceil_div(bytes, device.limit.bytes) <= device.limit.commands;
  });
}

void FlightBudget::take(std::uint64_t bytes) {
  FATHOM_ASSERT(fits(bytes), "operations start within their budget");
  used_ += bytes;
  for (Commands& device : commands_) device.used += ceil_div(bytes, device.limit.bytes);
}

void FlightBudget::give_back(std::uint64_t bytes) {
  FATHOM_ASSERT(bytes <= used_, "a budget gets back what it gave");
  used_ -= bytes;
  for (Commands& device : commands_) device.used -= ceil_div(bytes, device.limit.bytes);
}

std::uint64_t FlightBudget::largest() const {
  std::uint64_t bytes = most_;
  for (const Commands& device : commands_)
    bytes = std::min(bytes, device.limit.bytes * device.limit.commands);
  return bytes;
}

std::uint64_t FlightBudget::most_operations() const {
  std::uint64_t operations = std::numeric_limits<std::uint64_t>::max();
  for (const Commands& device : commands_) operations = std::min(operations, device.limit.commands);
  return operations;
}

std::uint64_t byte_budget(const QueueOptions& options) {
  return wanted_in_flight(options) * options.block_size;
}

unsigned operation_limit(const QueueOptions& options, const FlightBudget& budget) {
  const std::uint64_t small = std::min(most_small, byte_budget(options) / small_bytes);
  return static_cast<unsigned>(
      std::min(std::max(wanted_in_flight(options), small), budget.most_operations()));
}

}  // namespace fathom::aio
