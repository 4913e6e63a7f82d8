// SPDX-License-Identifier: Apache-2.0
#include "engine/device.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/log.hpp"
#include "base/units.hpp"
#include "engine/cuda/library.hpp"
#include "engine/cuda/rates.hpp"

namespace fathom::engine {
namespace {

// Kernels, library handles and the driver's own, beside the plan's budget.
constexpr std::uint64_t driver_bytes = 1 * GiB;

// What LibTorch's libraries take from its allocator for themselves: a workspace for each product
// library, in the thread that runs forward and in the one that runs backward; and the tokens.
constexpr std::uint64_t library_bytes = 256 * MiB;

// A GPU that is not here.
constexpr double assumed_flops = 400e12, assumed_pcie = 50e9;
constexpr std::uint64_t assumed_memory = 80 * GiB;

Result<Device> open_gpu() {
  FATHOM_ASSIGN(const CudaDevice gpu, open_cuda_device(0));
  return Device{.kind = DeviceKind::cuda,
                .name = gpu.name,
                .total_bytes = gpu.total_bytes,
                .free_bytes = gpu.free_bytes,
                .missing = {}};
}

Tier tier_of(const config::OffloadConfig& offload) {
  switch (offload.tier) {
    case config::Tier::none: return Tier::device;
    case config::Tier::cpu: return Tier::host;
    case config::Tier::nvme: return Tier::nvme;
  }
  return Tier::host;
}

std::optional<Tier> tier_of(config::ActivationTier tier) {
  switch (tier) {
    case config::ActivationTier::automatic: return std::nullopt;
    case config::ActivationTier::device: return Tier::device;
    case config::ActivationTier::host: return Tier::host;
    case config::ActivationTier::nvme: return Tier::nvme;
  }
  return std::nullopt;
}

}  // namespace

std::string unusable_on_gpu(const models::ModelSpec& spec, const config::Config& config) {
  if (spec.encoder_decoder)
    return fmt::format("models with an encoder and a decoder ({}) run on the CPU only",
                       spec.family);
  if (config.optimizer.type == config::OptimizerType::lamb)
    return "LAMB needs whole tensors in host memory and runs on the CPU only";
  if (config.fathom.store == config::StoreMode::durable)
    return "a durable store (fathom.store) needs --device cpu";
  return "";
}

Result<Device> choose_device(const std::string& name, Needs needs, const std::string& unusable) {
  if (name == "cpu") return Device{};
  if (name != "auto" && name != "cuda")
    return fail(Error(Errc::bad_config, "choose the device")
                    .on(name)
                    .because("it is none of auto, cpu, cuda")
                    .remedy("use --device auto"));
  if (name == "auto") {
    if (!look_at_cuda_device(0)) return Device{};
    if (!unusable.empty()) {
      log::note("there is a GPU, but the run takes the CPU: " + unusable);
      return Device{};
    }
    return open_gpu();
  }
  if (!unusable.empty())
    return fail(Error(Errc::unsupported, "choose the device")
                    .on("cuda")
                    .because(unusable)
                    .remedy("use --device cpu"));
  auto gpu = open_gpu();
  if (gpu || needs == Needs::a_run) return gpu;
  return Device{.kind = DeviceKind::cuda,
                .name = "cuda",
                .missing = fmt::format(
                    "{}; the plan assumes {} of device memory, {:.0f} TFLOP/s and {:.0f} GB/s each "
                    "way (--flops, --pcie)",
                    gpu.error().message(), format_bytes(assumed_memory), assumed_flops / 1e12,
                    assumed_pcie / 1e9)};
}

Result<void> use_device(const Device& device, const config::Config& config,
                        const RateOverrides& overrides, PlanInput& input) {
  if (device.kind == DeviceKind::cpu) return {};
  input.weights_lowest = tier_of(config.zero.offload_param);
  input.states_lowest = tier_of(config.zero.offload_optimizer);
  input.activation_tier = tier_of(config.fathom.activation_tier);
  if (config.activation.cpu_checkpointing && !input.activation_tier)
    input.activation_tier = Tier::host;
  const std::uint64_t most = device.missing.empty()
                                 ? device.free_bytes - std::min(device.free_bytes, driver_bytes)
                                 : assumed_memory - driver_bytes;
  input.device_memory = config.fathom.device_memory.value_or(most);
  input.device_fixed_bytes = library_bytes;
  if (device.missing.empty()) {
    FATHOM_ASSIGN(const CudaRates rates, measure_cuda(input));
    input.rates.flops = rates.flops;
    input.rates.h2d = rates.h2d;
    input.rates.d2h = rates.d2h;
    input.rates.device_update = rates.update;
    input.rates.device_convert = rates.convert;
  } else {
    input.rates.flops = assumed_flops;
    input.rates.h2d = input.rates.d2h = assumed_pcie;
  }
  if (overrides.flops) input.rates.flops = *overrides.flops;
  if (overrides.pcie) input.rates.h2d = input.rates.d2h = *overrides.pcie;
  return {};
}

}  // namespace fathom::engine
