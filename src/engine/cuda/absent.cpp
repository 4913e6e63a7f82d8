// SPDX-License-Identifier: Apache-2.0
//
// What a build without the CUDA toolkit says to who asks for a GPU.
#include "engine/cuda/device_memory.hpp"
#include "engine/cuda/executor.hpp"
#include "engine/cuda/library.hpp"
#include "engine/cuda/rates.hpp"

namespace fathom::engine {
namespace {

std::unexpected<Error> absent() {
  return fail(Error(Errc::unsupported, "use the GPU")
                  .on("cuda")
                  .because("this build has no CUDA code: nvcc was not found when it was made")
                  .remedy("build where the CUDA toolkit is installed, or use --device cpu"));
}

}  // namespace

Result<CudaDevice> open_cuda_device(int) { return absent(); }
Result<CudaDevice> look_at_cuda_device(int) { return absent(); }
Result<CudaRates> measure_cuda(const PlanInput&) { return absent(); }

Result<DeviceMemory> DeviceMemory::allocate(std::uint64_t) { return absent(); }
DeviceMemory::~DeviceMemory() = default;
Result<PinnedArena> PinnedArena::pin(const aio::Arena&) { return absent(); }
PinnedArena::~PinnedArena() = default;
Result<void> copy_to_device(std::byte*, const std::byte*, std::uint64_t) { return absent(); }
Result<void> copy_from_device(std::byte*, const std::byte*, std::uint64_t) { return absent(); }

Result<std::unique_ptr<StepExecutor>> make_cuda_executor(const Plan&, Residence&,
                                                         const models::Model&, ThreadPool&,
                                                         const UpdateRule&, Trace*) {
  return absent();
}

}  // namespace fathom::engine
