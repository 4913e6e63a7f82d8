// SPDX-License-Identifier: Apache-2.0
//
// Gds: whether GPUDirect Storage would move bytes past host memory here, or only pretend to.
//
// Purpose      cuFile falls back to pread and pwrite in silence ("compat mode"), and that is no
//              GPUDirect Storage. The probe loads the library and looks at what the kernel offers;
//              it never opens cuFile's driver, which may close descriptor 0 where its device is
//              missing. This version moves every byte through host memory whatever the probe says;
//              it tells people what they have.
// Threads      Stateless.
//
//   const GdsProbe gds = probe_gds(device_under("/mnt/nvme0"));
//   fmt::print("GDS: {} ({})", to_string(gds), gds.reason);
#pragma once

#include <cstdint>
#include <string>

#include "aio/device.hpp"

namespace fathom::aio {

enum class GdsState : std::uint8_t { absent, compat, active };
enum class GdsRoute : std::uint8_t { none, nvfs, p2pdma };

struct GdsProbe {
  GdsState state = GdsState::absent;
  GdsRoute route = GdsRoute::none;  // what makes it active
  std::string reason;
};

// "absent", "compat", "active (nvfs)", "active (p2pdma)".
std::string to_string(const GdsProbe& probe);

// For files on `chain`. `root` is prepended to /proc, /sys and /dev, and `library` is the name that
// is loaded, so that tests can feed their own.
GdsProbe probe_gds(const DeviceChain& chain, const std::string& root = "",
                   const char* library = "libcufile.so.0");

}  // namespace fathom::aio
