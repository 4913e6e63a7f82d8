// SPDX-License-Identifier: Apache-2.0
#include "engine/ranks.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "base/assert.hpp"
#include "kernels/convert.hpp"

namespace fathom::engine {
namespace {

comm::Element element_of(ComputeType type) {
  switch (type) {
    case ComputeType::fp32: return comm::Element::fp32;
    case ComputeType::bf16: return comm::Element::bf16;
    case ComputeType::fp16: return comm::Element::fp16;
  }
  return comm::Element::fp32;
}

// One message of each rank, in rank order.
template <class T>
Result<std::vector<T>> from_all(comm::Communicator& communicator, const T& own) {
  std::vector<T> all(static_cast<std::size_t>(communicator.size()));
  FATHOM_CHECK(communicator.all_gather(comm::Element::bytes, &own, all.data(), sizeof(T)));
  FATHOM_CHECK(communicator.finish());
  return all;
}

// What ranks say of a gradient that is not finite, cut where it does not fit.
using Text = std::array<char, 240>;

Text text_of(const std::string& value) {
  Text text{};
  std::copy_n(value.data(), std::min(value.size(), text.size() - 1), text.data());
  return text;
}

}  // namespace

Ranks::Ranks(const Plan& plan, Residence& residence, ThreadPool& pool,
             comm::Communicator* communicator)
    : plan_(plan), residence_(residence), pool_(pool), communicator_(communicator) {
  FATHOM_ASSERT(
      plan.input.world == 1 ||
          (communicator != nullptr && communicator->size() == static_cast<int>(plan.input.world) &&
           communicator->rank() == static_cast<int>(plan.input.rank)),
      "the plan is this rank's");
  if (plan.input.world == 1) communicator_ = nullptr;
  for (BufferId id = 0; id < plan.buffers.size(); ++id)
    if (plan.buffers[id].kind == BufferKind::network) narrowed_ = id;
}

comm::Element Ranks::weight_element() const {
  return plan_.input.sections.of(swap::Section::W) == 4
             ? comm::Element::fp32
             : comm::Element::bf16;  // or fp16: moved only
}

Result<void> Ranks::gather(const Op& op) {
  const UnitPlan& up = plan_.units[op.unit];
  std::byte* const whole = residence_.buffer(op.weights);
  const std::uint64_t element = plan_.input.sections.of(swap::Section::W);
  const std::byte* part = residence_.buffer(op.from);
  // A buffer that holds the whole unit has the partition where it belongs.
  const bool at_rest =
      plan_.buffers[op.from].kind == BufferKind::pinned_weights && plan_.input.partitions_weights();
  if (!at_rest) part += up.partition_first * element;
  FATHOM_CHECK(communicator_->all_gather(weight_element(), part, whole, up.partition_elements));
  FATHOM_CHECK(communicator_->finish());
  moved_ += op.bytes;
  return {};
}

Result<void> Ranks::reduce(const Op& op) {
  const UnitPlan& up = plan_.units[op.unit];
  auto* const sum = reinterpret_cast<float*>(residence_.buffer(up.accumulator));
  moved_ += op.bytes;
  if (plan_.input.reduce != ComputeType::fp32) return reduce_narrowed(sum, up);
  if (plan_.input.partitions() == 1)
    FATHOM_CHECK(communicator_->all_reduce(comm::Element::fp32, comm::Reduction::sum, sum,
                                           up.flat.elements));
  else
    FATHOM_CHECK(communicator_->reduce_scatter(comm::Element::fp32, comm::Reduction::sum, sum,
                                               sum + up.partition_first, up.partition_elements));
  return communicator_->finish();
}

Result<void> Ranks::reduce_narrowed(float* sum, const UnitPlan& up) {
  auto* const narrowed = reinterpret_cast<std::uint16_t*>(residence_.buffer(narrowed_));
  const comm::Element element = element_of(plan_.input.reduce);
  const bool fp16 = element == comm::Element::fp16;
  (fp16 ? kernels::fp32_to_fp16 : kernels::fp32_to_bf16)(&pool_, narrowed, sum, up.flat.elements);
  const bool whole = plan_.input.partitions() == 1;
  if (whole)
    FATHOM_CHECK(
        communicator_->all_reduce(element, comm::Reduction::sum, narrowed, up.flat.elements));
  else
    FATHOM_CHECK(communicator_->reduce_scatter(element, comm::Reduction::sum, narrowed,
                                               narrowed + up.partition_first,
                                               up.partition_elements));
  FATHOM_CHECK(communicator_->finish());
  const auto widen = fp16 ? kernels::fp16_to_fp32 : kernels::bf16_to_fp32;
  widen(&pool_, sum + up.partition_first, narrowed + up.partition_first, up.partition_elements);
  return {};
}

Result<void> Ranks::sum(double& value) {
  if (communicator_ == nullptr) return {};
  FATHOM_ASSIGN(const std::vector<double> all, from_all(*communicator_, value));
  value = 0;
  for (const double one : all) value += one;
  return {};
}

Result<void> Ranks::combine(StepTotals& totals) {
  if (communicator_ == nullptr) return {};
  struct Message {
    double loss_sum, sum_squares;
    Text non_finite;
  };
  FATHOM_ASSIGN(const std::vector<Message> all,
                from_all(*communicator_,
                         Message{totals.loss_sum, totals.sum_squares, text_of(totals.non_finite)}));
  const bool partitioned = plan_.input.partitions() > 1;
  totals.loss_sum = 0;
  if (partitioned) totals.sum_squares = 0;
  totals.non_finite.clear();
  for (const Message& one : all) {
    totals.loss_sum += one.loss_sum;
    // Without partitions every rank has the norm of the whole gradient.
    if (partitioned) totals.sum_squares += one.sum_squares;
    if (totals.non_finite.empty()) totals.non_finite = one.non_finite.data();
  }
  return {};
}

Result<void> Ranks::share(std::string& text) {
  if (communicator_ == nullptr) return {};
  FATHOM_ASSIGN(const std::vector<Text> all, from_all(*communicator_, text_of(text)));
  text.clear();
  for (const Text& one : all)
    if (text.empty()) text = one.data();
  return {};
}

std::uint64_t Ranks::take_moved() { return std::exchange(moved_, 0); }

Result<bool> any_rank(comm::Communicator* communicator, bool mine) {
  if (communicator == nullptr) return mine;
  FATHOM_ASSIGN(const std::vector<std::uint8_t> all,
                from_all(*communicator, static_cast<std::uint8_t>(mine)));
  return std::ranges::any_of(all, [](std::uint8_t one) { return one != 0; });
}

Result<void> make_weights_whole(Residence& residence, comm::Communicator& communicator) {
  const Plan& plan = residence.plan();
  if (plan.input.partitions() == 1 || plan.input.partitions_weights()) return {};
  const std::uint64_t element = plan.input.sections.of(swap::Section::W);
  for (const UnitPlan& up : plan.units) {
    std::byte* const whole = residence.buffer(up.pinned_weights);
    FATHOM_CHECK(communicator.all_gather(comm::Element::bytes, whole + up.partition_first * element,
                                         whole, up.partition_elements * element));
  }
  return communicator.finish();
}

}  // namespace fathom::engine
