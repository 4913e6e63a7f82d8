// SPDX-License-Identifier: Apache-2.0
//
// What a configuration's optimizer and precision mean for the engine: scalars, sections, formats.
//
// Purpose      The one place where configuration, kernels and store agree on how a weight is kept:
//              the sections of each element follow from precision and optimizer, and the kernel's
//              formats follow from the sections. Pure.
//
//   input.sections = training_sections(config.precision.compute, config.optimizer);
//   const kernels::Hyper hyper = hyper_of(config.optimizer);
#pragma once

#include <cstdint>

#include "config/config.hpp"
#include "kernels/update.hpp"
#include "swap/section.hpp"

namespace fathom::engine {

kernels::Hyper hyper_of(const config::OptimizerConfig& optimizer);

swap::SectionBytes training_sections(config::Precision precision,
                                     const config::OptimizerConfig& optimizer);

// How the master of these training sections is kept.
kernels::MasterFormat master_format(const swap::SectionBytes& sections);

// How a gradient of `bytes` an element lies beside such a master.
kernels::GradientFormat gradient_format(kernels::MasterFormat master, std::uint64_t bytes);

}  // namespace fathom::engine
