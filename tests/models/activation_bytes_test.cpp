// SPDX-License-Identifier: Apache-2.0
//
// The planned working memory against what LibTorch really allocates.
#include <atomic>
#include <cstdlib>
#include <new>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones_like.h>
#include <c10/core/Allocator.h>
#include <gtest/gtest.h>

#include "models/loss.hpp"
#include "torch_fixtures.hpp"

namespace fathom::models {
namespace {

// Idle OpenMP threads of a small model spin longer than they work.
class OneThread : public testing::Environment {
 public:
  void SetUp() override { at::set_num_threads(1); }
};
const auto* const one_thread = testing::AddGlobalTestEnvironment(new OneThread);

// Takes the place of LibTorch's CPU allocator and keeps count of live and peak bytes.
class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* block = std::aligned_alloc(front, (front + bytes + front - 1) / front * front);
    if (block == nullptr) throw std::bad_alloc();
    *static_cast<std::size_t*>(block) = bytes;
    live += static_cast<std::int64_t>(bytes);
    if (live > peak) peak = live.load();
    void* data = static_cast<std::byte*>(block) + front;
    return {data, data, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* out, const void* in, std::size_t bytes) const override {
    std::memcpy(out, in, bytes);
  }

  static inline std::atomic<std::int64_t> live = 0, peak = 0;

 private:
  static constexpr std::size_t front = 64;  // in front of the data: its size, and alignment
  static void release(void* data) {
    void* block = static_cast<std::byte*>(data) - front;
    live -= static_cast<std::int64_t>(*static_cast<std::size_t*>(block));
    std::free(block);
  }
};

class ActivationBytesOfUnits : public testing::Test {
 protected:
  void SetUp() override {
    original_ = c10::GetAllocator(c10::kCPU);
    c10::SetAllocator(c10::kCPU, &counting_, 1);
  }
  void TearDown() override { c10::SetAllocator(c10::kCPU, original_, 1); }

  template <class F>
  static std::uint64_t peak_of(F&& body) {
    const std::int64_t before = CountingAllocator::live;
    CountingAllocator::peak = before;
    body();
    return static_cast<std::uint64_t>(CountingAllocator::peak - before);
  }

  static void expect_bound(std::uint64_t planned, std::uint64_t measured, const std::string& what) {
    EXPECT_GE(planned, measured) << what;
    EXPECT_LE(static_cast<double>(planned), 1.25 * static_cast<double>(measured) + 131072) << what;
    if (std::getenv("FATHOM_PRINT") != nullptr) {
      std::printf("%-60s planned %9lu measured %9lu ratio %.3f\n", what.c_str(), planned, measured,
                  static_cast<double>(planned) / static_cast<double>(measured));
    }
  }

  static void check(const ModelSpec& spec, at::ScalarType dtype, std::int64_t rows,
                    std::int64_t length, const std::string& name) {
    const WholeModel whole = WholeModel::random(spec, dtype);
    const std::uint64_t element = c10::elementSize(dtype);
    const BatchContext batch =
        batch_of(some_ids(rows, length, static_cast<std::int64_t>(spec.vocabulary)));
    const std::string what = name + " " + c10::toString(dtype) + " " + std::to_string(rows) + "x" +
                             std::to_string(length);
    TensorList carry;
    for (std::uint32_t unit : {0U, 1U}) {
      const ActivationBytes planned = activation_bytes(spec, unit, static_cast<std::uint64_t>(rows),
                                                       static_cast<std::uint64_t>(length), element);
      const std::string where = what + ", " + spec.units[unit].name;
      const Block& block = *whole.model.blocks[unit];
      TensorList out;
      expect_bound(planned.forward, peak_of([&] {
                     const NoGrad quiet;
                     out = block.forward(whole.units[unit], carry, batch, nullptr);
                   }),
                   where + " forward");
      const at::Tensor seed = at::ones_like(out.front());
      TensorList leaves;
      for (const at::Tensor& tensor : carry) leaves.push_back(leaf(tensor));
      TensorList inputs = leaves;
      inputs.insert(inputs.end(), whole.units[unit].begin(), whole.units[unit].end());
      expect_bound(planned.backward, peak_of([&] {
                     const auto grads = gradients(
                         block.forward(whole.units[unit], leaves, batch, nullptr), inputs, {seed});
                     ASSERT_TRUE(grads) << grads.error().message();
                   }),
                   where + " backward");
      carry = std::move(out);
    }
    const auto head = static_cast<std::uint32_t>(spec.units.size() - 1);
    const ActivationBytes planned = activation_bytes(spec, head, static_cast<std::uint64_t>(rows),
                                                     static_cast<std::uint64_t>(length), element);
    const at::Tensor hidden = carry.front().reshape({rows * length, -1});
    const at::Tensor targets = batch.input_ids.reshape({-1});
    TensorList accumulators;
    for (const at::Tensor& parameter : whole.units.back()) {
      accumulators.push_back(at::zeros(parameter.sizes(), at::TensorOptions().dtype(at::kFloat)));
    }
    const auto chunk =
        static_cast<std::int64_t>(loss_chunk_rows(spec, static_cast<std::uint64_t>(rows * length)));
    expect_bound(
        planned.forward, peak_of([&] {
          ASSERT_TRUE(head_loss(*whole.model.head, whole.units.back(), hidden, targets, chunk));
        }),
        what + ", head forward");
    expect_bound(planned.backward, peak_of([&] {
                   ASSERT_TRUE(head_loss_backward(*whole.model.head, whole.units.back(), hidden,
                                                  targets, chunk, 1.0, accumulators));
                 }),
                 what + ", head backward");
  }

  c10::Allocator* original_ = nullptr;
  CountingAllocator counting_;
};

TEST_F(ActivationBytesOfUnits, BoundTheMeasuredPeakWithinAQuarter) {
  const std::vector<std::pair<std::string, std::string>> models = {
      {"grouped", R"({"hidden_size":256,"intermediate_size":704,"num_attention_heads":8,
                      "num_key_value_heads":2,"vocab_size":1000})"},
      {"full heads", R"({"hidden_size":256,"intermediate_size":512,"num_attention_heads":4,
                         "num_key_value_heads":4,"vocab_size":300})"},
      {"narrow mlp", R"({"hidden_size":256,"intermediate_size":128,"num_attention_heads":8,
                         "num_key_value_heads":4,"vocab_size":300})"},
      {"tied", R"({"hidden_size":128,"intermediate_size":352,"num_attention_heads":8,
                   "num_key_value_heads":4,"vocab_size":4000,"tie_word_embeddings":true})"},
      {"head norms",
       R"({"model_type":"qwen3","hidden_size":256,"intermediate_size":768,"head_dim":64,
                         "num_attention_heads":8,"num_key_value_heads":4,"vocab_size":1000})"}};
  for (const auto& [name, changes] : models) {
    const ModelSpec spec = small_spec(changes);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      check(spec, dtype, 1, 192, name);
      check(spec, dtype, 4, 96, name);
    }
  }
}

}  // namespace
}  // namespace fathom::models
