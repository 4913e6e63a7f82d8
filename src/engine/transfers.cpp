// SPDX-License-Identifier: Apache-2.0
#include "engine/transfers.hpp"

#include <fmt/format.h>

namespace fathom::engine {

std::vector<swap::Node> transfer_nodes(const Plan& plan, const Residence& residence,
                                       const StepProgram& program) {
  std::vector<swap::Node> nodes;
  nodes.reserve(program.ops.size());
  for (const Op& op : program.ops) {
    swap::Node node{.transfer = {}, .after = op.after, .asynchronous = op.on_stream()};
    if (op.is_transfer()) {
      const bool weights = op.sections == swap::weights_mask;
      std::byte* buffer = residence.buffer(weights ? op.weights : op.states);
      if (weights) buffer += plan.weights_offset(op.weights, op.chunk);
      node.transfer = swap::TransferRequest{
          .direction = op.kind == OpKind::fetch ? aio::Direction::read : aio::Direction::write,
          .chunk = op.chunk,
          .sections = op.sections,
          .buffer = buffer};
    }
    nodes.push_back(std::move(node));
  }
  return nodes;
}

StepBytes transferred(const StepProgram& program, const swap::Swapper* swapper) {
  StepBytes bytes;
  if (swapper == nullptr) return bytes;
  for (OpId id = 0; id < program.ops.size(); ++id) {
    const Op& op = program.ops[id];
    if (!op.is_transfer() || !swapper->due(id)) continue;
    (op.resource == Resource::nvme_read ? bytes.nvme_read : bytes.nvme_write) += op.bytes;
  }
  return bytes;
}

void TransferLog::attach(swap::Swapper& swapper) {
  swapper.observe([this](std::uint64_t pass, OpId op, swap::TransferTimes times) {
    const std::lock_guard lock(mutex_);
    entries_.push_back({pass, op, times});
  });
}

void TransferLog::move_to(Trace& trace, const StepProgram& program,
                          const std::vector<std::string>& names) {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](const Entry& entry) {
    if (entry.pass >= steps_.size()) return false;  // read ahead
    const Op& op = program.ops[entry.op];
    trace.add(to_string(op.resource), label(op, names), entry.times.submitted,
              entry.times.completed, op.bytes, steps_[entry.pass]);
    return true;
  });
}

std::vector<std::string> unit_names(const models::ModelSpec& spec) {
  std::vector<std::string> names;
  for (const models::UnitSpec& unit : spec.units) names.push_back(unit.name);
  return names;
}

std::string parameter_at(const Plan& plan, std::uint32_t unit, std::uint64_t element) {
  const models::UnitSpec& spec = plan.input.model.units[unit];
  const FlatUnit& flat = plan.units[unit].flat;
  std::size_t at = 0;
  while (at + 1 < flat.offsets.size() && flat.offsets[at + 1] <= element) ++at;
  return fmt::format("{}[{}]", spec.parameters[at].name, element - flat.offsets[at]);
}

}  // namespace fathom::engine
