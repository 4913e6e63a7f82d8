// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the CUDA kernels share: device arrays, and a fixture that skips without a
// device.
#pragma once

#include <cstddef>
#include <vector>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "data.hpp"
#include "kernels/cuda/launch.hpp"

namespace fathom::kernels {

inline void must(cudaError_t error) { ASSERT_EQ(error, cudaSuccess) << cudaGetErrorString(error); }
inline void must_launch(cuda::Status status) { ASSERT_EQ(status, 0) << cuda::status_text(status); }

// A device array at `shift` elements after its allocation, filled from the host.
template <typename T>
class OnDevice {
 public:
  OnDevice(const T* from, std::size_t count, std::size_t shift = 0) : count_(count), shift_(shift) {
    must(cudaMalloc(reinterpret_cast<void**>(&base_), (count + shift + 1) * sizeof(T)));
    if (count != 0) must(cudaMemcpy(data(), from, count * sizeof(T), cudaMemcpyHostToDevice));
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() { EXPECT_EQ(cudaFree(base_), cudaSuccess); }

  T* data() { return base_ + shift_; }
  std::vector<T> host() {
    std::vector<T> values(count_);
    must(cudaDeviceSynchronize());
    if (count_ != 0)
      must(cudaMemcpy(values.data(), data(), count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  std::size_t count_, shift_;
  T* base_ = nullptr;
};

template <typename T>
void expect_same_bits(const std::vector<T>& got, const std::vector<T>& want, const char* what) {
  ASSERT_EQ(got.size(), want.size());
  const std::size_t i = first_difference(got.data(), want.data(), want.size());
  EXPECT_EQ(i, want.size()) << what << ": the first difference, of " << want.size() << " elements";
}

class Cuda : public testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess)
      GTEST_SKIP() << "no CUDA device can be used: " << cudaGetErrorString(error);
    if (devices == 0) GTEST_SKIP() << "this machine has no CUDA device";
  }
};

}  // namespace fathom::kernels
