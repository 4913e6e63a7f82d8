// SPDX-License-Identifier: Apache-2.0
//
// Arm: one setting of the `aio` block and an engine; the grid of those worth trying. Pure.
//
// Purpose      What is compared is the predicted I/O time of a training step, so the read and the
//              write rate of an arm become one number here.
// Units        Bytes, bytes per second, seconds.
//
//   const Grid grid = make_grid(limits);
//   const double seconds = step_seconds({.read = 2.7e9, .write = 4e9}, mix, 0.2);
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "aio/queue.hpp"
#include "base/result.hpp"

namespace fathom::aio_bench {

struct Arm {
  aio::Engine engine = aio::Engine::posix;
  std::uint64_t block = 1048576;
  unsigned depth = 8, threads = 1;
  bool single_submit = false, overlap_events = true;

  unsigned operations() const { return depth * threads; }
  std::uint64_t in_flight() const { return block * operations(); }
  // What is cheaper to run when the rates are alike: memory, then threads. CPU time comes after.
  std::tuple<std::uint64_t, unsigned> cost() const { return {in_flight(), threads}; }
  friend bool operator==(const Arm&, const Arm&) = default;
};

std::string to_string(const Arm& arm);  // "io_uring 1.00 MiB x 8", with what is not the default

// Bytes read and written per step, in any unit: only the ratio counts. By default those of a
// training step with everything on NVMe, per parameter.
struct Mix {
  double read = 14, write = 12;
  double read_share() const { return read / (read + write); }
};

// "14:12". Errors: bad_config unless both are numbers that are not negative and one is more than 0.
Result<Mix> parse_mix(std::string_view text);

struct Rates {
  double read = 0, write = 0;
};

// The time for the mix's bytes, when reads and writes overlap by the duplex factor:
// max(r/R, w/W, (r/R + w/W) / (1 + duplex)). A rate of 0 leaves its direction out.
double step_seconds(const Rates& rates, const Mix& mix, double duplex);

// The duplex factor of a mixed trial: r/R + w/W - 1, where r and w are the rates side by side.
double duplex_factor(const Rates& alone, const Rates& together);

struct GridLimits {
  aio::Engine engine = aio::Engine::posix;
  std::uint64_t most_in_flight = std::uint64_t{64} << 20;  // bytes
  std::uint64_t file_bytes = ~std::uint64_t{0};            // blocks must divide what is used of it
  // The operations of a block size that the device takes.
  std::function<unsigned(std::uint64_t block, unsigned wanted)> operations = {};
};

// Blocks of 128 KiB to 16 MiB, depths of 1 to 256, 1 to 8 threads, without what the limits forbid.
// Arms that mean the same to the queue (threads x depth operations in flight) appear once, with the
// fewest threads.
std::vector<Arm> make_grid(const GridLimits& limits);

// DeepSpeed's default: 1 MiB x 8, one thread; as deep as the device allows.
Arm default_arm(const GridLimits& limits);

// The arm's neighbours in what hardly depends on its shape: each other engine, single_submit,
// overlap_events.
std::vector<Arm> variants(const Arm& arm, const std::vector<aio::Engine>& engines);

}  // namespace fathom::aio_bench
