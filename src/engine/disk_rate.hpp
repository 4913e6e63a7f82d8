// SPDX-License-Identifier: Apache-2.0
//
// Disk rate: what a directory's device reads and writes, each alone and both at once.
//
// Purpose      A step reads and writes at the same time, and devices differ most in what that
//              costs: the duplex factor is measured, not assumed. Stretches of the three kinds take
//              turns, so that a disturbance meets all, and medians are taken.
// Threads      Blocking; one call per device at a time, or the calls measure each other.
// Units        Bytes per second; the factor is phi of bytes.md §8.
#pragma once

#include <string>

#include "aio/queue.hpp"
#include "base/result.hpp"

namespace fathom::engine {

struct DiskRate {
  double read = 0, write = 0, duplex = 0;
};

// About two seconds and 128 MiB of scratch space. Errors: those of File, Arena and Queue.
Result<DiskRate> measure_disk(const std::string& directory, const aio::QueueOptions& options);

}  // namespace fathom::engine
