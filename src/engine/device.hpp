// SPDX-License-Identifier: Apache-2.0
//
// Device: which device a run computes on, and what that means for its plan.
//
// Purpose      --device auto takes the GPU when there is one and the run can use it. A plan for a
//              GPU that is not here is made with assumed rates, which it says.
// Threads      One thread; opening a GPU loads LibTorch's CUDA half (cuda/library.hpp).
// Units        Bytes.
//
//   FATHOM_ASSIGN(const Device device, choose_device(options.device, Needs::a_run, ""));
//   use_device(device, config, overrides, input);
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/config.hpp"
#include "engine/machine.hpp"
#include "engine/plan/plan.hpp"

namespace fathom::engine {

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  std::string name = "cpu";
  std::uint64_t total_bytes = 0, free_bytes = 0;  // cuda; 0: not here
  std::string missing;  // what `fathom plan` lacks of the GPU it plans for; empty: nothing

  bool on_gpu() const { return kind == DeviceKind::cuda; }
};

enum class Needs : std::uint8_t { a_run, a_plan };

// `name`: auto, cpu or cuda. `unusable`: why this run cannot use a GPU (then auto takes the CPU and
// says so, cuda is refused); empty: it can. Errors: bad_config, unsupported.
Result<Device> choose_device(const std::string& name, Needs needs, const std::string& unusable);

// What of a run the GPU can't do; empty: nothing.
std::string unusable_on_gpu(const models::ModelSpec& spec, const config::Config& config);

// Fills in the GPU's budget, tiers and rates of a plan for one.
Result<void> use_device(const Device& device, const config::Config& config,
                        const RateOverrides& overrides, PlanInput& input);

}  // namespace fathom::engine
