// SPDX-License-Identifier: Apache-2.0
//
// The AdamW update beside torch's fused one and beside the memory bus, interleaved.
//
// Each round runs a stream, Fathom's update on split masters (26 bytes a parameter) and on fp32
// (28), and torch's fused AdamW in fp32 (28), all on the same number of threads and on arrays far
// larger than the caches. Ratios are taken within a round, so that a machine that changes its speed
// changes both sides; the median over the rounds is printed, with the smallest and the largest. The
// stream is the faster of a copy (counted as a read and a write) and an in-place sum (two reads,
// one write).
//
//   update_bench [rounds]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>

#include "base/clock.hpp"
#include "base/thread_pool.hpp"
#include "kernels/adamw.hpp"
#include "kernels/convert.hpp"
#include "kernels/targets.hpp"

namespace fathom::kernels {
namespace {

constexpr std::size_t count = std::size_t{16} << 20;  // the default chunk

double seconds_of(const std::function<void()>& body) {
  const double begin = now_seconds();
  body();
  return now_seconds() - begin;
}

struct Spread {
  std::vector<double> values;

  void print(const char* what) {
    std::ranges::sort(values);
    std::printf("%-44s %8.3f  (%.3f … %.3f)\n", what, values[values.size() / 2], values.front(),
                values.back());
  }
};

// A page-aligned array with every page touched by the threads that will use it.
template <typename T>
class Pages {
 public:
  Pages(ThreadPool& pool, T value)
      : data_(static_cast<T*>(std::aligned_alloc(std::size_t{2} << 20, count * sizeof(T)))) {
    pool.parallel_for(count, 65536, [this, value](std::size_t begin, std::size_t end) {
      std::fill(data_ + begin, data_ + end, value);
    });
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { std::free(data_); }
  T* data() const { return data_; }

 private:
  T* data_;
};

void run(int rounds) {
  const unsigned threads = std::max(1U, std::thread::hardware_concurrency());
  ThreadPool pool(threads);
  at::set_num_threads(static_cast<int>(threads));
  const at::NoGradGuard no_grad;
  Pages<std::uint16_t> weight(pool, 0x3f80), low(pool, 0x1234), grad16(pool, 0x3a83);
  Pages<float> x(pool, 1), m(pool, 1e-3F), v(pool, 1e-5F), grad(pool, 1e-3F);
  const auto filled = [](double value) {
    return at::full({static_cast<std::int64_t>(count)}, value, at::kFloat);
  };
  const std::vector<at::Tensor> tx = {filled(1)}, tg = {filled(1e-3)}, tm = {filled(1e-3)},
                                tv = {filled(1e-5)}, steps = {at::full({}, 10.0, at::kFloat)};
  const AdamStep step = adam_step({.lr = 1e-4, .weight_decay = 0.1}, 10, 1, true);
  constexpr auto parameters = static_cast<double>(count);

  Spread stream_rate, split_rate, split_share, split_against_torch, fp32_against_torch, torch_rate;
  for (int round = -1; round < rounds; ++round) {
    const double copied = seconds_of([&] {
      pool.parallel_for(count, 65536 * 4, [&](std::size_t begin, std::size_t end) {
        std::memcpy(m.data() + begin, grad.data() + begin, (end - begin) * sizeof(float));
      });
    });
    const double summed = seconds_of([&] { accumulate_fp32(&pool, v.data(), grad.data(), count); });
    const double split = seconds_of([&] {
      adamw_split(&pool, step, weight.data(), low.data(), m.data(), v.data(), grad16.data(), count);
    });
    const double torch = seconds_of([&] {
      at::_fused_adamw_(tx, tg, tm, tv, {}, steps, 1e-4, 0.9, 0.999, 0.1, 1e-8, false, false);
    });
    const double whole = seconds_of(
        [&] { adamw_fp32(&pool, step, x.data(), m.data(), v.data(), grad.data(), count); });
    if (round < 0) continue;  // warms up
    const double stream = std::max(8 * parameters / copied, 12 * parameters / summed);
    stream_rate.values.push_back(stream / 1e9);
    split_rate.values.push_back(parameters / split / 1e9);
    torch_rate.values.push_back(parameters / torch / 1e9);
    split_share.values.push_back(26 * parameters / split / stream);
    split_against_torch.values.push_back(torch / split);
    fp32_against_torch.values.push_back(torch / whole);
  }
  std::printf("%u threads, SIMD %s, %zu Mi parameters, %d rounds: median (smallest … largest)\n",
              threads, active_simd_target().c_str(), count >> 20, rounds);
  stream_rate.print("stream, GB/s");
  split_rate.print("update on split masters, G parameters/s");
  torch_rate.print("torch fused AdamW fp32, G parameters/s");
  split_against_torch.print("split masters against torch");
  fp32_against_torch.print("fp32 against torch");
  split_share.print("split masters at 26 bytes, share of stream");
}

}  // namespace
}  // namespace fathom::kernels

int main(int argc, char** argv) {
  fathom::kernels::run(argc > 1 ? std::max(1, std::atoi(argv[1])) : 15);
  return 0;
}
