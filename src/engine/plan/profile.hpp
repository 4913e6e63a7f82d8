// SPDX-License-Identifier: Apache-2.0
//
// Profile: a device's rates as aio_bench measured them, read from its report. Pure but for reading.
//
// Format       A JSON object with "profile" in it (report.json of aio_bench), or that object alone:
//              {"profile": {"read_bytes_per_second": 6.9e9, "write_bytes_per_second": 5.3e9,
//                           "duplex": 0.3}}
//              Rates are of all paths together, one direction at a time; duplex is phi of
//              bytes.md §8, 0 … 1. Every key may be absent; others are ignored, because the report
//              grows. docs/plan.md describes it for people.
// Ownership    A value.
// Units        Bytes per second.
//
//   FATHOM_ASSIGN(const DeviceProfile profile, read_profile("results/report.json"));
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace fathom::engine {

struct DeviceProfile {
  std::optional<double> read, write, duplex;
};

// Errors: bad_config (it is no JSON, has no profile, or a rate that can't be), not_found, io.
Result<DeviceProfile> parse_profile(std::string_view text, const std::string& name);
Result<DeviceProfile> read_profile(const std::string& path);

}  // namespace fathom::engine
