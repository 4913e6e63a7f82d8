// SPDX-License-Identifier: Apache-2.0
#include "engine/machine.hpp"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "base/text_file.hpp"
#include "engine/block_rate.hpp"
#include "engine/disk_rate.hpp"
#include "kernels/adamw.hpp"
#include "kernels/convert.hpp"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double cache_seconds = 24 * 3600;
constexpr std::uint64_t least_working_set = 64 * MiB, most_working_set = 256 * MiB;

// The median of a few runs, so that one disturbance does not become the machine's rate.
double median_rate(double work, const std::function<void()>& run) {
  run();  // warm: pages, code, frequency
  std::vector<double> rates;
  for (int i = 0; i < 5; ++i) {
    const double begin = now_seconds();
    run();
    rates.push_back(work / (now_seconds() - begin));
  }
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

// Elements that do not stay in the caches: a step's states come from memory each time, and a kernel
// that finds them in a cache is several times as fast.
std::size_t beyond_caches(std::size_t bytes_per_element) {
  const long cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  const std::uint64_t bytes = std::clamp(2 * static_cast<std::uint64_t>(std::max(cache, 0L)),
                                         least_working_set, most_working_set);
  return bytes / bytes_per_element;
}

double measure_update(ThreadPool& pool) {
  const std::size_t count = beyond_caches(14);  // W, lo, gradient 2 bytes, m and v 4
  std::vector<std::uint16_t> weight(count), low(count), gradient(count);
  std::vector<float> m(count), v(count);
  const auto step = kernels::adam_step({}, 1, 1, true);
  return median_rate(static_cast<double>(count), [&] {
    kernels::adamw_split(&pool, step, weight.data(), low.data(), m.data(), v.data(),
                         gradient.data(), count);
  });
}

double measure_convert(ThreadPool& pool) {
  const std::size_t count = beyond_caches(6);
  std::vector<std::uint16_t> in(count);
  std::vector<float> out(count);
  return median_rate(static_cast<double>(count),
                     [&] { kernels::bf16_to_fp32(&pool, out.data(), in.data(), count); });
}

std::string cache_path() {
  const char* base = std::getenv("XDG_CACHE_HOME");
  if (base != nullptr && *base != 0) return std::string(base) + "/fathom/machine.json";
  const char* home = std::getenv("HOME");
  return home != nullptr && *home != 0 ? std::string(home) + "/.cache/fathom/machine.json" : "";
}

// A remembered figure, or a new one that is remembered. The cache is a convenience: a file that
// can't be read or written only costs time.
class Cache {
 public:
  Cache() : path_(cache_path()) {
    if (path_.empty()) return;
    if (auto text = read_text_file(path_)) values_ = json::parse(*text, nullptr, false);
    if (!values_.is_object()) values_ = json::object();
  }
  ~Cache() {
    if (!changed_ || path_.empty()) return;
    if (!make_directories(fs::path(path_).parent_path().string())) return;
    // A cache that can't be written is measured anew next time.
    [[maybe_unused]] const auto written = write_text_file(path_, values_.dump(1));
  }
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  double get(const std::string& key, const std::function<double()>& measure) {
    const double now = static_cast<double>(std::time(nullptr));
    if (values_.contains(key)) {
      const json& entry = values_[key];
      if (entry.is_object() && entry.value("time", 0.0) > now - cache_seconds &&
          entry.value("rate", 0.0) > 0)
        return entry["rate"];
    }
    const double rate = measure();
    values_[key] = {{"time", now}, {"rate", rate}};
    changed_ = true;
    return rate;
  }

 private:
  std::string path_;
  json values_ = json::object();
  bool changed_ = false;
};

}  // namespace

Rates measure_machine(const PlanInput& input, const std::vector<std::string>& paths,
                      const aio::QueueOptions& queue, const RateOverrides& overrides,
                      ThreadPool& pool) {
  Rates rates;
  Cache cache;
  const std::string cpu = fmt::format("{} threads", pool.size());
  const models::ModelSpec& m = input.model;
  const std::string block =
      fmt::format("block {} {} {} {} {} {} batch {}x{} {} {} {}", m.family, m.hidden,
                  m.intermediate, m.heads, m.kv_heads, m.head_dim, input.micro_batch, input.length,
                  to_string(input.compute), input.mode == Mode::train ? "train" : "inference", cpu);
  // The GPU's are measured with it (device.hpp).
  if (!input.on_cuda())
    rates.flops = overrides.flops ? *overrides.flops : cache.get(block, [&] {
      return measure_block_flops(m, input.compute, input.mode, input.micro_batch, input.length);
    });
  rates.update = cache.get("update from memory, " + cpu, [&] { return measure_update(pool); });
  rates.convert = cache.get("convert from memory, " + cpu, [&] { return measure_convert(pool); });
  double read = 0, write = 0, duplex = 1;
  for (const std::string& path : paths) {
    if (overrides.read && overrides.write && overrides.duplex) break;
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) continue;
    const std::string key =
        fmt::format("device {} block {} depth {} engine {}", info.st_dev, queue.block_size,
                    queue.queue_depth * queue.intra_op_parallelism, to_string(queue.engine));
    std::optional<DiskRate> measured;
    const auto measure = [&] {
      if (!measured) {
        auto got = measure_disk(path, queue);
        measured =
            got ? *got : DiskRate{.read = rates.read, .write = rates.write, .duplex = rates.duplex};
      }
      return *measured;
    };
    read += cache.get(key + " read", [&] { return measure().read; });
    write += cache.get(key + " write", [&] { return measure().write; });
    // The cache remembers positive figures only; a device may well have no duplex at all.
    const double factor = cache.get(key + " 1 + duplex", [&] { return 1 + measure().duplex; }) - 1;
    duplex = std::min(duplex, factor);
  }
  if (read > 0) rates.duplex = duplex;
  if (read > 0) rates.read = read;
  if (write > 0) rates.write = write;
  if (overrides.read) rates.read = *overrides.read;
  if (overrides.write) rates.write = *overrides.write;
  if (overrides.duplex) rates.duplex = *overrides.duplex;
  return rates;
}

bool has_fast_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

namespace {

std::uint64_t status_bytes(const char* key) {
  const auto text = read_text_file("/proc/self/status");
  if (!text) return 0;
  const auto at = text->find(key);
  return at == std::string::npos
             ? 0
             : std::strtoull(text->c_str() + at + std::char_traits<char>::length(key), nullptr,
                             10) *
                   KiB;
}

}  // namespace

std::uint64_t peak_resident_bytes() { return status_bytes("VmHWM:"); }
std::uint64_t resident_bytes() { return status_bytes("VmRSS:"); }

}  // namespace fathom::engine
