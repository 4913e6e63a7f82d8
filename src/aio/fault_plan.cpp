// SPDX-License-Identifier: Apache-2.0
#include "aio/fault_plan.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/random.hpp"

namespace fathom::aio {
namespace {

struct Kind {
  Fault fault;
  const char* name;
  std::optional<int> result = {};
  std::optional<Direction> only = {};
};

constexpr std::array<Kind, fault_count> kinds = {{
    {Fault::device_error, "device_error", -EIO},
    {Fault::no_space, "no_space", -ENOSPC},
    {Fault::size_limit, "size_limit", -EFBIG},
    {Fault::busy, "busy", -EAGAIN},
    {Fault::interrupted, "interrupted", -EINTR},
    {Fault::cancelled, "cancelled", -ECANCELED},
    {Fault::unsupported, "unsupported", -EOPNOTSUPP},
    {Fault::misaligned, "misaligned", -EINVAL},
    {Fault::bad_buffer, "bad_buffer", -EFAULT},
    {Fault::gone, "gone", -ENXIO},
    {Fault::zero, "zero", 0},
    {Fault::short_aligned, "short_aligned"},
    {Fault::short_ragged, "short_ragged"},
    {Fault::torn, "torn", {}, Direction::write},
    {Fault::flip_on_read, "flip_on_read", {}, Direction::read},
    {Fault::flip_before_write, "flip_before_write", {}, Direction::write},
    {Fault::misdirected, "misdirected"},
    {Fault::stale, "stale", {}, Direction::read},
    {Fault::lost_write, "lost_write", {}, Direction::write},
    {Fault::delay, "delay"},
    {Fault::reorder, "reorder"},
    {Fault::hang, "hang"},
    {Fault::no_room, "no_room"},
    {Fault::submit_busy, "submit_busy"},
    {Fault::submit_interrupted, "submit_interrupted"},
    {Fault::reap_interrupted, "reap_interrupted"},
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < kinds.size(); ++i)
    if (static_cast<std::size_t>(kinds[i].fault) != i) return false;
  return true;
}
static_assert(in_order(), "the table is indexed by Fault");

const Kind& kind(Fault fault) { return kinds.at(static_cast<std::size_t>(fault)); }

bool matches(const FaultRule& rule, const Operation& operation) {
  if (rule.only && *rule.only != operation.direction) return false;
  const auto direction = only_direction(rule.fault);
  if (direction && *direction != operation.direction) return false;
  return !rule.where || ((rule.where->fd < 0 || rule.where->fd == operation.fd) &&
                         operation.offset < rule.where->end &&
                         operation.offset + operation.bytes > rule.where->begin);
}

}  // namespace

const char* to_string(Fault fault) { return kind(fault).name; }
std::optional<int> reported_result(Fault fault) { return kind(fault).result; }
std::optional<Direction> only_direction(Fault fault) { return kind(fault).only; }

FaultPlan::FaultPlan(std::vector<FaultRule> rules) {
  for (FaultRule& rule : rules) rules_.push_back({rule});
}

const FaultRule* FaultPlan::due(const Operation& operation) const {
  for (const Counted& counted : rules_) {
    const FaultRule& rule = counted.rule;
    if (!matches(rule, operation)) continue;
    const std::uint64_t n = counted.seen + 1;
    const bool hit = rule.at != 0 && n >= rule.at && (rule.for_ever || n - rule.at < rule.burst);
    const bool drawn =
        rule.probability > 0 &&
        CounterRandom(rule.seed, to_string(rule.fault)).uniform(n) < rule.probability;
    if (hit || drawn) return &rule;
  }
  return nullptr;
}

void FaultPlan::count(const Operation& operation) {
  for (Counted& counted : rules_)
    if (matches(counted.rule, operation)) ++counted.seen;
}

bool FaultPlan::has(Fault fault) const {
  return std::ranges::any_of(rules_,
                             [&](const Counted& counted) { return counted.rule.fault == fault; });
}

}  // namespace fathom::aio
