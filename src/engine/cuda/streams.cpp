// SPDX-License-Identifier: Apache-2.0
#include "engine/cuda/streams.hpp"

#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

namespace fathom::engine {

Result<void> cuda_check(int error, const char* tried) {
  if (error == 0) return {};
  (void)cudaGetLastError();
  const auto code = static_cast<cudaError_t>(error);
  const bool memory = code == cudaErrorMemoryAllocation;
  return fail(Error(memory ? Errc::no_space : Errc::internal, tried)
                  .on("cuda")
                  .because(cudaGetErrorString(code))
                  .remedy(memory ? "lower fathom.device_memory, or end what else uses the GPU"
                                 : "check nvidia-smi and the kernel log for errors of the GPU"));
}

Result<Event> Event::create(bool timed) {
  Event event;
  FATHOM_CHECK(cuda_check(
      cudaEventCreateWithFlags(&event.event_, timed ? cudaEventDefault : cudaEventDisableTiming),
      "create an event"));
  return event;
}

Event::~Event() {
  if (event_ != nullptr) (void)cudaEventDestroy(event_);
}

Result<void> Event::record(CUstream_st* stream) const {
  return cuda_check(cudaEventRecord(event_, stream), "record an event");
}

Result<void> Event::hold(CUstream_st* stream) const {
  return cuda_check(cudaStreamWaitEvent(stream, event_, 0), "order two streams");
}

Result<void> Event::wait() const {
  return cuda_check(cudaEventSynchronize(event_), "wait for the GPU");
}

double Event::seconds_since(const Event& earlier) const {
  float milliseconds = 0;
  if (cudaEventElapsedTime(&milliseconds, earlier.event_, event_) != cudaSuccess) {
    (void)cudaGetLastError();
    return 0;
  }
  return static_cast<double>(milliseconds) * 1e-3;
}

Result<std::unique_ptr<Streams>> Streams::open(int device) {
  auto streams = std::unique_ptr<Streams>(new Streams);
  for (auto* set : {&streams->work_, &streams->tell_})
    for (CUstream_st*& stream : *set)
      FATHOM_CHECK(
          cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "create a stream"));
  const auto index = static_cast<c10::DeviceIndex>(device);
  c10::cuda::setCurrentCUDAStream(
      c10::cuda::getStreamFromExternal(streams->of(Resource::device), index));
  return streams;
}

Streams::~Streams() {
  (void)synchronize();
  c10::cuda::setCurrentCUDAStream(c10::cuda::getDefaultCUDAStream());
  for (const auto& set : {work_, tell_})
    for (CUstream_st* stream : set)
      if (stream != nullptr) (void)cudaStreamDestroy(stream);
}

Result<void> Streams::tell(Resource resource, const Event& event, void (*function)(void*),
                           void* argument) const {
  CUstream_st* stream = tell_[lane(resource)];
  FATHOM_CHECK(event.hold(stream));
  return cuda_check(cudaLaunchHostFunc(stream, function, argument), "watch the GPU's progress");
}

Result<void> Streams::synchronize() const {
  for (const auto& set : {work_, tell_})
    for (CUstream_st* stream : set)
      if (stream != nullptr)
        FATHOM_CHECK(cuda_check(cudaStreamSynchronize(stream), "wait for the GPU"));
  return {};
}

}  // namespace fathom::engine
