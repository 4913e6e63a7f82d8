// SPDX-License-Identifier: Apache-2.0
#include "models/attention.hpp"

#include <cmath>

#include <gtest/gtest.h>

#include "torch_fixtures.hpp"

namespace fathom::models {
namespace {

at::Tensor numbers(std::vector<std::int64_t> shape, std::uint64_t seed) {
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
  fill({"x", shape, Init::normal, 1.0}, seed, 0,
       std::span(tensor.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())));
  return tensor;
}

// One score at a time, in double. `visible(row, query, key)` says what a query sees.
template <class F>
at::Tensor attend_naively(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          F&& visible) {
  const std::int64_t b = q.size(0), heads = q.size(1), s = q.size(2), d = q.size(3);
  const std::int64_t group = heads / k.size(1), t = k.size(2);
  at::Tensor out = at::zeros({b, s, heads * d}, at::TensorOptions().dtype(at::kFloat));
  const auto qa = q.accessor<float, 4>(), ka = k.accessor<float, 4>(), va = v.accessor<float, 4>();
  auto oa = out.accessor<float, 3>();
  for (std::int64_t r = 0; r < b; ++r) {
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t i = 0; i < s; ++i) {
        std::vector<double> weight(static_cast<std::size_t>(t), 0.0);
        double total = 0;
        for (std::int64_t j = 0; j < t; ++j) {
          if (!visible(r, i, j)) continue;
          double score = 0;
          for (std::int64_t c = 0; c < d; ++c) {
            score +=
                static_cast<double>(qa[r][h][i][c]) * static_cast<double>(ka[r][h / group][j][c]);
          }
          weight[static_cast<std::size_t>(j)] = std::exp(score / std::sqrt(static_cast<double>(d)));
          total += weight[static_cast<std::size_t>(j)];
        }
        for (std::int64_t c = 0; c < d; ++c) {
          double sum = 0;
          for (std::int64_t j = 0; j < t; ++j) {
            sum +=
                weight[static_cast<std::size_t>(j)] * static_cast<double>(va[r][h / group][j][c]);
          }
          oa[r][i][h * d + c] = static_cast<float>(sum / total);
        }
      }
    }
  }
  return out;
}

struct Case {
  std::int64_t rows, heads, kv_heads, fresh, past;
  std::uint64_t window;
};

TEST(Attention, EqualsTheDefinitionForEveryGroupingWindowAndCacheLength) {
  const NoGrad quiet;
  for (const Case c : {Case{1, 4, 4, 7, 0, 0}, Case{2, 4, 2, 7, 0, 0}, Case{3, 6, 1, 5, 0, 0},
                       Case{2, 4, 2, 1, 6, 0}, Case{2, 4, 2, 4, 5, 0}, Case{2, 4, 4, 4, 5, 0},
                       Case{2, 4, 2, 9, 0, 3}, Case{2, 4, 2, 1, 8, 3}, Case{2, 4, 1, 4, 5, 3},
                       Case{2, 4, 2, 3, 0, 3}, Case{1, 2, 2, 9, 0, 1}}) {
    const std::int64_t total = c.fresh + c.past;
    const at::Tensor q = numbers({c.rows, c.heads, c.fresh, 8}, 1);
    // As from a cache: a part of a longer tensor; as from a projection: heads innermost but one.
    const at::Tensor k = numbers({c.rows, c.kv_heads, total + 3, 8}, 2).narrow(2, 0, total);
    const at::Tensor v = numbers({c.rows, total, c.kv_heads, 8}, 3).transpose(1, 2);
    const auto width = static_cast<std::int64_t>(c.window);
    const at::Tensor expected = attend_naively(q, k, v, [&](auto, std::int64_t i, std::int64_t j) {
      const std::int64_t at = c.past + i;
      return j <= at && (width == 0 || j > at - width);
    });
    const at::Tensor got = attend(q, k, v, visibility({}, c.fresh, c.past, c.window, q.options()));
    EXPECT_LE(relative_error(got, expected), 1e-5)
        << c.rows << " " << c.heads << "/" << c.kv_heads << " " << c.fresh << "+" << c.past << " w"
        << c.window;
  }
}

TEST(Attention, AMaskPerRowAndAWindowCombineWithoutInfinities) {
  const NoGrad quiet;
  const at::Tensor q = numbers({2, 4, 6, 8}, 1), k = numbers({2, 2, 6, 8}, 2),
                   v = numbers({2, 2, 6, 8}, 3);
  at::Tensor real = at::zeros({2, 6}, at::TensorOptions().dtype(at::kLong));
  real.select(0, 0).fill_(1);
  real.select(0, 1).narrow(0, 2, 4).fill_(1);  // row 1: two padded in front
  const at::Tensor mask = padding_mask(real, at::kFloat);
  for (const std::uint64_t window : {0U, 3U}) {
    const at::Tensor got = attend(q, k, v, visibility(mask, 6, 0, window, q.options()));
    EXPECT_TRUE(got.isfinite().all().item<bool>());
    const at::Tensor expected =
        attend_naively(q, k, v, [&](std::int64_t r, std::int64_t i, std::int64_t j) {
          const bool padded_query = r == 1 && i < 2;
          const bool near = window == 0 || j > i - static_cast<std::int64_t>(window);
          return padded_query || (j <= i && near && (r == 0 || j >= 2));
        });
    // What a padded query gives means nothing.
    EXPECT_LE(relative_error(got.select(0, 0), expected.select(0, 0)), 1e-5);
    EXPECT_LE(
        relative_error(got.select(0, 1).narrow(0, 2, 4), expected.select(0, 1).narrow(0, 2, 4)),
        1e-5);
  }
}

TEST(Attention, VisibilityIsNoBiasWhereTheFusedKernelKnowsBetter) {
  const at::TensorOptions options = at::TensorOptions().dtype(at::kFloat);
  EXPECT_FALSE(visibility({}, 1, 9, 0, options).bias.defined());
  EXPECT_TRUE(visibility({}, 9, 0, 0, options).causal);
  EXPECT_TRUE(visibility({}, 9, 0, 9, options).causal) << "a window as long as the text";
  EXPECT_TRUE(visibility({}, 9, 0, 8, options).bias.defined());
  EXPECT_TRUE(visibility({}, 2, 1, 0, options).bias.defined());
}

TEST(Rotation, TurnsEachPairByItsAngle) {
  const at::Tensor x = numbers({1, 2, 5, 6}, 4);
  const std::vector<float> frequencies = {1.0F, 0.25F, 0.01F};
  const Rotation turn = rotation(positions_from(3, 5), frequencies, at::kFloat);
  const at::Tensor got = rotate(x, turn);
  EXPECT_TRUE(got.is_contiguous());
  const auto in = x.accessor<float, 4>(), out = got.accessor<float, 4>();
  for (std::int64_t h = 0; h < 2; ++h) {
    for (std::int64_t s = 0; s < 5; ++s) {
      for (std::int64_t i = 0; i < 3; ++i) {
        const double angle = static_cast<double>(3 + s) *
                             static_cast<double>(frequencies[static_cast<std::size_t>(i)]);
        const double a = static_cast<double>(in[0][h][s][i]),
                     b = static_cast<double>(in[0][h][s][i + 3]);
        EXPECT_NEAR(out[0][h][s][i], a * std::cos(angle) - b * std::sin(angle), 1e-5);
        EXPECT_NEAR(out[0][h][s][i + 3], b * std::cos(angle) + a * std::sin(angle), 1e-5);
      }
    }
  }
}

}  // namespace
}  // namespace fathom::models
