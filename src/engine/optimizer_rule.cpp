// SPDX-License-Identifier: Apache-2.0
#include "engine/optimizer_rule.hpp"

#include "base/assert.hpp"

namespace fathom::engine {

using swap::Section;

kernels::Hyper hyper_of(const config::OptimizerConfig& o) {
  switch (o.type) {
    case config::OptimizerType::adam:
    case config::OptimizerType::adamw:
      return kernels::AdamHyper{.lr = o.lr,
                                .beta1 = o.beta1,
                                .beta2 = o.beta2,
                                .eps = o.eps,
                                .weight_decay = o.weight_decay,
                                .decoupled = o.decoupled,
                                .bias_correction = o.bias_correction};
    case config::OptimizerType::lion:
      return kernels::LionHyper{
          .lr = o.lr, .beta1 = o.beta1, .beta2 = o.beta2, .weight_decay = o.weight_decay};
    case config::OptimizerType::adagrad:
      return kernels::AdagradHyper{.lr = o.lr, .eps = o.eps, .weight_decay = o.weight_decay};
    case config::OptimizerType::sgd:
      return kernels::SgdHyper{.lr = o.lr,
                               .momentum = o.momentum,
                               .dampening = o.dampening,
                               .weight_decay = o.weight_decay,
                               .nesterov = o.nesterov};
    case config::OptimizerType::lamb:
      return kernels::LambHyper{.lr = o.lr,
                                .beta1 = o.beta1,
                                .beta2 = o.beta2,
                                .eps = o.eps,
                                .weight_decay = o.weight_decay,
                                .max_coeff = o.max_coeff,
                                .min_coeff = o.min_coeff,
                                .bias_correction = o.bias_correction,
                                .eps_inside_sqrt = o.eps_inside_sqrt};
  }
  FATHOM_ASSERT(false, "an optimizer without a rule");
  return {};
}

swap::SectionBytes training_sections(config::Precision precision,
                                     const config::OptimizerConfig& optimizer) {
  swap::SectionBytes sections = precision == config::Precision::fp32   ? swap::fp32_sections
                                : precision == config::Precision::fp16 ? swap::fp16_sections
                                                                       : swap::split_bf16_sections;
  if (!optimizer.has_m()) sections.bytes[index(Section::m)] = 0;
  if (!optimizer.has_v()) sections.bytes[index(Section::v)] = 0;
  return sections;
}

kernels::MasterFormat master_format(const swap::SectionBytes& sections) {
  switch (sections.of(Section::lo)) {
    case 0: return kernels::MasterFormat::whole;
    case 2: return kernels::MasterFormat::split;
    default: return kernels::MasterFormat::half;
  }
}

kernels::GradientFormat gradient_format(kernels::MasterFormat master, std::uint64_t bytes) {
  if (bytes == 4) return kernels::GradientFormat::fp32;
  return master == kernels::MasterFormat::half ? kernels::GradientFormat::fp16
                                               : kernels::GradientFormat::bf16;
}

}  // namespace fathom::engine
