// SPDX-License-Identifier: Apache-2.0
//
// The CPU kernels against the memory bus. First a stream bound is measured: a copy of 128 MiB on
// the same threads, counted as reads plus writes (the read for ownership not counted, as for the
// kernels). Then each kernel says elements a second, bytes a second by the same count, and its
// share of that bound ("of_copy": 1 is the bound; updates in place can pass it, since they need no
// read for ownership). The update reads 14 and writes 12 bytes a parameter: 26.
//
//   kernels_bench --benchmark_filter=adamw
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/clock.hpp"
#include "base/thread_pool.hpp"
#include "kernels/adamw.hpp"
#include "kernels/convert.hpp"
#include "kernels/norm.hpp"
#include "kernels/targets.hpp"

namespace fathom::kernels {
namespace {

// 16 Mi elements, the default chunk: far larger than caches, 208 MB of state.
constexpr std::size_t count = std::size_t{16} << 20;

// Arrays at page boundaries, as the engine's are.
template <typename T>
class Pages {
 public:
  explicit Pages(T value) : data_(static_cast<T*>(std::aligned_alloc(4096, count * sizeof(T)))) {
    std::fill_n(data_, count, value);
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { std::free(data_); }
  T* data() const { return data_; }

 private:
  T* data_;
};

// The caller takes part too, but a pool of one thread leaves all to the caller (thread_pool.cpp): a
// pool of as many threads as CPUs keeps all of them busy.
ThreadPool* pool_of(std::int64_t threads) {
  static std::unique_ptr<ThreadPool> pool;
  if (threads <= 1) return nullptr;
  const auto size = static_cast<unsigned>(threads);
  if (!pool || pool->size() != size) pool = std::make_unique<ThreadPool>(size);
  return pool.get();
}

void for_copy(ThreadPool* pool, char* to, const char* from, std::size_t bytes) {
  constexpr std::size_t grain = 1 << 20;
  const auto copy = [&](std::size_t begin, std::size_t end) {
    std::memcpy(to + begin, from + begin, end - begin);
  };
  if (pool == nullptr) {
    copy(0, bytes);
  } else {
    pool->parallel_for(bytes, grain, copy);
  }
}

// Bytes a second of the best of five copies, once a thread count.
double copy_rate(std::int64_t threads) {
  static std::vector<double> known(1024, 0);
  double& rate = known.at(static_cast<std::size_t>(threads));
  if (rate == 0) {
    const Pages<double> from(1), to(2);
    constexpr std::size_t bytes = count * sizeof(double);
    ThreadPool* pool = pool_of(threads);
    for (int i = 0; i < 5; ++i) {
      const double start = now_seconds();
      for_copy(pool, reinterpret_cast<char*>(to.data()), reinterpret_cast<const char*>(from.data()),
               bytes);
      rate = std::max(rate, 2 * static_cast<double>(bytes) / (now_seconds() - start));
    }
  }
  return rate;
}

void report(benchmark::State& state, double bytes_per_element) {
  const double bytes =
      bytes_per_element * static_cast<double>(count) * static_cast<double>(state.iterations());
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
  state.counters["GB/s"] = benchmark::Counter(bytes / 1e9, benchmark::Counter::kIsRate);
  state.counters["of_copy"] =
      benchmark::Counter(bytes / copy_rate(state.range(0)), benchmark::Counter::kIsRate);
  state.SetLabel(active_simd_target());
}

// 0.001 in fp32 and bf16 (as fp16 it is 0.8): never subnormal, which costs some CPUs ten times as
// much.
template <typename T>
constexpr T small = static_cast<T>(0.001);
template <>
constexpr std::uint16_t small<std::uint16_t> = 0x3a83;

const AdamStep step = adam_step({.lr = 1e-4, .weight_decay = 0.1}, 10, 1, true);

template <typename Grad>
void adamw_split(benchmark::State& state) {
  ThreadPool* pool = pool_of(state.range(0));
  Pages<std::uint16_t> weight(0x3f80), low(0x1234);
  Pages<float> m(1e-3F), v(1e-5F);
  const Pages<Grad> grad(small<Grad>);
  for (auto _ : state)
    kernels::adamw_split(pool, step, weight.data(), low.data(), m.data(), v.data(), grad.data(),
                         count);
  report(state, 24 + sizeof(Grad));
}

void adamw_fp32(benchmark::State& state) {
  ThreadPool* pool = pool_of(state.range(0));
  Pages<float> x(1), m(1e-3F), v(1e-5F);
  const Pages<float> grad(1e-3F);
  for (auto _ : state)
    kernels::adamw_fp32(pool, step, x.data(), m.data(), v.data(), grad.data(), count);
  report(state, 28);
}

void gradient_stats(benchmark::State& state) {
  ThreadPool* pool = pool_of(state.range(0));
  const Pages<float> grad(1e-3F);
  for (auto _ : state) benchmark::DoNotOptimize(kernels::gradient_stats(pool, grad.data(), count));
  report(state, 4);
}

template <typename Out, typename In, void (*convert)(ThreadPool*, Out*, const In*, std::size_t)>
void conversion(benchmark::State& state) {
  ThreadPool* pool = pool_of(state.range(0));
  Pages<Out> out(small<Out>);
  const Pages<In> in(small<In>);
  for (auto _ : state) convert(pool, out.data(), in.data(), count);
  report(state, sizeof(Out) + sizeof(In));
}

template <typename In, void (*accumulate)(ThreadPool*, float*, const In*, std::size_t)>
void accumulation(benchmark::State& state) {
  ThreadPool* pool = pool_of(state.range(0));
  Pages<float> sum(1);
  const Pages<In> in(small<In>);
  for (auto _ : state) accumulate(pool, sum.data(), in.data(), count);
  report(state, 8 + sizeof(In));
}

void split_master(benchmark::State& state) {
  ThreadPool* pool = pool_of(state.range(0));
  Pages<std::uint16_t> weight(1), low(1);
  const Pages<float> x(1);
  for (auto _ : state) kernels::split_master(pool, weight.data(), low.data(), x.data(), count);
  report(state, 8);
}

void threads(benchmark::internal::Benchmark* bench) {
  bench->ArgName("threads")->Unit(benchmark::kMillisecond)->UseRealTime()->Arg(1);
  const unsigned all = std::min(std::thread::hardware_concurrency(), 1000U);
  if (all > 1) bench->Arg(all);
}

BENCHMARK(adamw_split<std::uint16_t>)->Name("adamw_split_bf16")->Apply(threads);
BENCHMARK(adamw_split<float>)->Name("adamw_split_fp32")->Apply(threads);
BENCHMARK(adamw_fp32)->Apply(threads);
BENCHMARK(gradient_stats)->Apply(threads);
BENCHMARK(split_master)->Apply(threads);
BENCHMARK(conversion<float, std::uint16_t, bf16_to_fp32>)->Name("bf16_to_fp32")->Apply(threads);
BENCHMARK(conversion<std::uint16_t, float, fp32_to_bf16>)->Name("fp32_to_bf16")->Apply(threads);
BENCHMARK(conversion<float, std::uint16_t, fp16_to_fp32>)->Name("fp16_to_fp32")->Apply(threads);
BENCHMARK(conversion<std::uint16_t, float, fp32_to_fp16>)->Name("fp32_to_fp16")->Apply(threads);
BENCHMARK(accumulation<std::uint16_t, accumulate_bf16>)->Name("accumulate_bf16")->Apply(threads);
BENCHMARK(accumulation<float, accumulate_fp32>)->Name("accumulate_fp32")->Apply(threads);

}  // namespace
}  // namespace fathom::kernels

BENCHMARK_MAIN();
