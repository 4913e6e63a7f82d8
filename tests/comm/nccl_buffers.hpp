// SPDX-License-Identifier: Apache-2.0
//
// Device memory and streams for the NCCL tests; without CUDA in the build there are no devices.
//
// Ownership    Stream and Buffer free what they hold. A Buffer lies on its thread's current device,
//              which the thread's Stream chooses.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include <gtest/gtest.h>

#ifdef FATHOM_WITH_NCCL
#include <cuda_runtime_api.h>
#endif

namespace fathom::comm::cuda {

#ifdef FATHOM_WITH_NCCL

inline int devices() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

inline void must(cudaError_t status) {
  ASSERT_EQ(status, cudaSuccess) << cudaGetErrorString(status);
}

class Buffer {
 public:
  explicit Buffer(std::size_t count) : count_(count) {
    must(cudaMalloc(&data_, std::max<std::size_t>(count, 1) * sizeof(float)));
  }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  float* at(std::size_t i) { return static_cast<float*>(data_) + i; }
  std::size_t count() const { return count_; }

 private:
  void* data_ = nullptr;
  std::size_t count_;
};

class Stream {
 public:
  explicit Stream(int device) {
    must(cudaSetDevice(device));
    must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void* native() { return stream_; }
  void upload(Buffer& to, std::size_t begin, const std::vector<float>& from) {
    must(cudaMemcpyAsync(to.at(begin), from.data(), from.size() * sizeof(float),
                         cudaMemcpyHostToDevice, stream_));
    must(cudaStreamSynchronize(stream_));
  }
  std::vector<float> download(Buffer& from) {
    std::vector<float> to(from.count());
    must(cudaMemcpyAsync(to.data(), from.at(0), to.size() * sizeof(float), cudaMemcpyDeviceToHost,
                         stream_));
    must(cudaStreamSynchronize(stream_));
    return to;
  }

 private:
  cudaStream_t stream_ = nullptr;
};

#else

inline int devices() { return 0; }

struct Buffer {
  explicit Buffer(std::size_t) {}
  float* at(std::size_t) { return nullptr; }
};
struct Stream {
  explicit Stream(int) {}
  void* native() { return nullptr; }
  void upload(Buffer&, std::size_t, const std::vector<float>&) {}
  std::vector<float> download(Buffer&) { return {}; }
};

#endif

}  // namespace fathom::comm::cuda
