// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/program.hpp"

#include <algorithm>
#include <numeric>

namespace fathom::engine {

const char* to_string(OpKind kind) {
  switch (kind) {
    case OpKind::fetch: return "fetch";
    case OpKind::land: return "land";
    case OpKind::gather: return "gather";
    case OpKind::forward: return "forward";
    case OpKind::backward: return "backward";
    case OpKind::reduce: return "reduce";
    case OpKind::update: return "update";
    case OpKind::write: return "write";
  }
  return "?";
}

const char* to_string(Resource resource) {
  switch (resource) {
    case Resource::nvme_read: return "nvme-read";
    case Resource::nvme_write: return "nvme-write";
    case Resource::h2d: return "h2d";
    case Resource::d2h: return "d2h";
    case Resource::cpu: return "cpu";
    case Resource::device: return "device";
    case Resource::network: return "network";
  }
  return "?";
}

bool StepProgram::has_transfers() const {
  return std::any_of(ops.begin(), ops.end(), [](const Op& op) { return op.is_transfer(); });
}

std::uint64_t StepProgram::bytes(Resource resource) const {
  std::uint64_t sum = 0;
  for (const Op& op : ops)
    if (op.resource == resource) sum += op.bytes;
  return sum;
}

double StepProgram::flops() const {
  return std::accumulate(ops.begin(), ops.end(), 0.0,
                         [](double sum, const Op& op) { return sum + op.flops; });
}

double StepProgram::updated_elements() const {
  double sum = 0;
  for (const Op& op : ops)
    if (op.kind == OpKind::update) sum += op.elements;
  return sum;
}

std::string label(const Op& op, const std::vector<std::string>& unit_names) {
  std::string text = to_string(op.kind);
  if (op.is_transfer() || op.is_copy()) {
    text += ' ';
    for (const swap::Section section : swap::all_sections)
      if (swap::has(op.sections, section) && !op.block_inputs) text += swap::to_string(section);
    if (op.sections == 0 || op.block_inputs) text += op.kind == OpKind::reduce ? "g" : "input";
  }
  return text + " " + unit_names.at(op.unit);
}

}  // namespace fathom::engine
