// SPDX-License-Identifier: Apache-2.0
#include "models/loss.hpp"

#include <ATen/ops/log_softmax.h>
#include <gtest/gtest.h>

#include "torch_fixtures.hpp"

namespace fathom::models {
namespace {

class HeadLossTest : public testing::Test {
 protected:
  explicit HeadLossTest(at::ScalarType dtype = at::kFloat)
      : whole_(WholeModel::random(small_spec(R"({"vocab_size":97})"), dtype)) {
    hidden_ = at::empty({11, 32}, at::TensorOptions().dtype(at::kFloat));
    fill({"hidden", {11, 32}, Init::normal, 1.0}, 3, 0,
         std::span(hidden_.mutable_data_ptr<float>(), 352));
    hidden_ = hidden_.to(dtype);
    targets_ = some_ids(1, 11, 97).select(0, 0).clone();
    targets_.select(0, 2).fill_(ignored_target);
    targets_.select(0, 10).fill_(ignored_target);
  }
  TensorList zeros() const {
    TensorList list;
    for (const at::Tensor& parameter : whole_.units.back()) {
      list.push_back(at::zeros(parameter.sizes(), at::TensorOptions().dtype(at::kFloat)));
    }
    return list;
  }
  const TensorList& parameters() const { return whole_.units.back(); }
  const Head& head() const { return *whole_.model.head; }

  // The definition, with autograd through log_softmax.
  struct Plain {
    double sum;
    TensorList grads;  // hidden, parameters
  };
  Plain plain(double scale) const {
    const WithGrad recording;
    const at::Tensor x = leaf(hidden_);
    const at::Tensor logp = at::log_softmax(head().logits(parameters(), x).to(at::kDouble), 1);
    at::Tensor sum = at::zeros({}, at::TensorOptions().dtype(at::kDouble));
    for (std::int64_t row = 0; row < 11; ++row) {
      const auto target = targets_[row].item<std::int64_t>();
      if (target != ignored_target) sum = sum.sub(logp.select(0, row).select(0, target));
    }
    TensorList inputs{x};
    inputs.insert(inputs.end(), parameters().begin(), parameters().end());
    auto grads = gradients({sum.mul(scale)}, inputs, {at::zeros({}, sum.options()).add_(1)});
    if (!grads) throw std::runtime_error(grads.error().message());
    return {sum.item<double>(), *grads};
  }

  WholeModel whole_;
  at::Tensor hidden_, targets_;
};

TEST_F(HeadLossTest, LossAndGradientsAreThoseOfTheDefinitionForAnyChunk) {
  const Plain expected = plain(0.125);
  for (const std::int64_t chunk : {1, 3, 11, 100}) {
    const auto forward = head_loss(head(), parameters(), hidden_, targets_, chunk);
    ASSERT_TRUE(forward) << forward.error().message();
    EXPECT_NEAR(*forward, expected.sum, 1e-5 * expected.sum);
    const TensorList sums = zeros();
    const auto loss =
        head_loss_backward(head(), parameters(), hidden_, targets_, chunk, 0.125, sums);
    ASSERT_TRUE(loss) << loss.error().message();
    EXPECT_EQ(loss->sum(), *forward);
    EXPECT_LE(relative_error(loss->gradient, expected.grads[0]), 1e-5);
    EXPECT_LE(relative_error(sums[0], expected.grads[1]), 1e-5);
    EXPECT_LE(relative_error(sums[1], expected.grads[2]), 1e-5);
    EXPECT_EQ(loss->gradient.select(0, 2).abs().max().item<float>(), 0) << "an ignored row";
  }
}

TEST_F(HeadLossTest, GradientsAddToWhatTheAccumulatorsHold) {
  const TensorList once = zeros(), twice = zeros();
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(head_loss_backward(head(), parameters(), hidden_, targets_, 11, 1, twice));
  }
  ASSERT_TRUE(head_loss_backward(head(), parameters(), hidden_, targets_, 11, 1, once));
  EXPECT_TRUE(same_bits(twice[1], once[1].mul(2)));
}

TEST_F(HeadLossTest, AnUndefinedAccumulatorLeavesItsGradientOut) {
  const TensorList all = zeros(), some{all[0].clone(), {}};
  const auto a = head_loss_backward(head(), parameters(), hidden_, targets_, 4, 1, all);
  const auto b = head_loss_backward(head(), parameters(), hidden_, targets_, 4, 1, some);
  ASSERT_TRUE(a && b);
  EXPECT_TRUE(same_bits(a->gradient, b->gradient));
  EXPECT_TRUE(same_bits(all[0], some[0]));
}

TEST_F(HeadLossTest, TheInputsAreLeftAsTheyWere) {
  const at::Tensor before = hidden_.clone(), weight = parameters()[1].detach().clone();
  ASSERT_TRUE(head_loss_backward(head(), parameters(), hidden_, targets_, 4, 1, zeros()));
  EXPECT_TRUE(same_bits(before, hidden_));
  EXPECT_TRUE(same_bits(weight, parameters()[1]));
}

TEST_F(HeadLossTest, ATargetBeyondTheVocabularyIsAnErrorNotACrash) {
  targets_.select(0, 5).fill_(97);
  const auto loss = head_loss(head(), parameters(), hidden_, targets_, 4);
  ASSERT_FALSE(loss);
  EXPECT_EQ(loss.error().code(), Errc::internal);
}

TEST_F(HeadLossTest, HugeLogitsStayFinite) {
  hidden_.mul_(1e6);
  const NoGrad quiet;
  whole_.units.back()[1].mul_(1e4);
  const auto loss = head_loss(head(), parameters(), hidden_, targets_, 4);
  ASSERT_TRUE(loss);
  EXPECT_TRUE(std::isfinite(*loss));
  EXPECT_GT(*loss, 1000);
}

class HeadLossInBf16 : public HeadLossTest {
 protected:
  HeadLossInBf16() : HeadLossTest(at::kBFloat16) {}
};

TEST_F(HeadLossInBf16, SixteenBitHeadsSumTheirLossAndGradientsInFp32) {
  const Plain expected = plain(0.5);
  const TensorList sums = zeros();
  const auto loss = head_loss_backward(head(), parameters(), hidden_, targets_, 4, 0.5, sums);
  ASSERT_TRUE(loss) << loss.error().message();
  EXPECT_NEAR(loss->sum(), expected.sum, 1e-5 * expected.sum) << "only the logits are rounded";
  EXPECT_EQ(loss->gradient.scalar_type(), at::kBFloat16);
  EXPECT_EQ(sums[1].scalar_type(), at::kFloat);
  EXPECT_LE(relative_error(loss->gradient, expected.grads[0]), 0.02);
  EXPECT_LE(relative_error(sums[1], expected.grads[2]), 0.02);
}

TEST(Gradients, AnInputWithoutAnyPartIsAnError) {
  const at::Tensor x = leaf(at::zeros({2}).add_(1)), y = leaf(at::zeros({2}));
  const auto bad = gradients({x.mul(2)}, {y}, {at::zeros({2})});
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code(), Errc::internal);
}

TEST(GradientMode, IsRestoredAtTheEndOfItsScope) {
  const at::Tensor x = leaf(at::zeros({2}));
  EXPECT_TRUE(x.mul(2).requires_grad());
  {
    const NoGrad quiet;
    EXPECT_FALSE(x.mul(2).requires_grad());
    {
      const WithGrad recording;
      EXPECT_TRUE(x.mul(2).requires_grad());
    }
    EXPECT_FALSE(x.mul(2).requires_grad());
  }
  EXPECT_TRUE(x.mul(2).requires_grad());
}

}  // namespace
}  // namespace fathom::models
