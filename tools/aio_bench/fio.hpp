// SPDX-License-Identifier: Apache-2.0
//
// Fio: the same transfers by fio, the field's yardstick, beside our own.
//
// Purpose      Pairs of trials, ours and fio's in alternating order, on the same file with the same
//              block size, depth and engine. fio is started by its absolute path with a clean
//              environment and a time limit, and reads the file through /proc/PID/fd, because it
//              has no name. It fills its buffers once (--refill_buffers and --scramble_buffers
//              would measure its random numbers).
// Pages        fio's buffers lie on huge pages as ours do: glibc is told to back malloc with
//              transparent ones. Which was used is part of the result.
// Units        Bytes per second; processor seconds per GiB.
//
//   FATHOM_ASSIGN(const auto comparison, compare_with_fio(bed, arm, plan, progress));
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bed.hpp"
#include "statistics.hpp"

namespace fathom::aio_bench {

struct Versus {
  std::string mode;                       // read, write, mixed
  std::vector<double> ours, fio;          // bytes per second
  std::vector<double> ours_cpu, fio_cpu;  // seconds per GiB
  Interval ratio;                         // ours / fio, of the pairs
};

struct Comparison {
  std::string version, pages;  // of fio and its buffers
  std::string skipped;         // why there is none; empty when there is
  std::string cut_short;       // why there are fewer pairs than asked for
  std::vector<Versus> modes;
};

struct FioResult {
  double read_bytes = 0, write_bytes = 0, seconds = 0, cpu_seconds = 0;
  double bytes() const { return read_bytes + write_bytes; }
};

// What `fio --output-format=json` printed, all jobs together. Errors: bad_input.
Result<FioResult> parse_fio(std::string_view text);

struct FioPlan {
  Mix mix;
  std::size_t pairs = 10;
  double seconds = 0.35;  // of a trial, about
  double end = 0;         // on now_seconds(): after it no pair begins but the first of a mode
};

Result<Comparison> compare_with_fio(Bed& bed, const Arm& arm, const FioPlan& plan,
                                    const std::function<void(const std::string&)>& progress);

}  // namespace fathom::aio_bench
