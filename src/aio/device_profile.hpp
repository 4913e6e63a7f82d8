// SPDX-License-Identifier: Apache-2.0
//
// DeviceProfile: what a set of drives can do, as a file that one machine measures and another plans
// with.
//
// Purpose      aio_bench writes it (profile.json, and as "profile" in report.json); `fathom plan
//              --profile` reads either. docs/aio-bench.md has the format.
// Threads      A value.
// Units        Bytes per second, seconds.
//
//   FATHOM_ASSIGN(const DeviceProfile profile, read_device_profile("bench/profile.json"));
//   rates.read = profile.read;
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace fathom::aio {

struct DeviceProfile {
  double read = 0, write = 0;  // of all paths together, one direction at a time
  double duplex = 0;           // phi: r/read + w/write <= 1 + duplex when both run at once; 0 to 1
  double latency = 0;          // of one transfer, beyond its bytes
  struct Path {
    std::string path;
    double read = 0, write = 0;  // alone: the weights of a stripe
  };
  std::vector<Path> paths;
};

std::string to_json(const DeviceProfile& profile);

// `where` names the text in an Error. Keys that are not of the format are ignored, so that a report
// can be given in place of the profile in it. Errors: bad_input with the key.
Result<DeviceProfile> parse_device_profile(std::string_view text, const std::string& where);
Result<DeviceProfile> read_device_profile(const std::string& path);

}  // namespace fathom::aio
