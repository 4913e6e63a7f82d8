// SPDX-License-Identifier: Apache-2.0
//
// Report: what aio_bench found, for people and as files.
//
// Units        Rates are bytes per second; `*_gbps` keys are 10^9 bytes per second.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "aio/device_profile.hpp"
#include "tuner.hpp"

namespace fathom::aio_bench {

// The block that Fathom and DeepSpeed read as printed: {"aio": {...}} and nothing else.
nlohmann::ordered_json aio_block(const Arm& arm);

// At most 20 lines, the answer first; then where the files are.
std::string summary_text(const Preflight& preflight, const Outcome& outcome,
                         const std::vector<std::string>& files);
nlohmann::ordered_json report_json(const Options& options, const Preflight& preflight,
                                   const Outcome& outcome);
std::string trials_csv(const Outcome& outcome);

// What `fathom plan --profile` reads.
aio::DeviceProfile profile_of(const Outcome& outcome);

// Writes aio.json, profile.json, report.json, trials.csv and report.svg into `directory`, which is
// made if it is missing, and gives their names. Without a decision only report.json and trials.csv.
Result<std::vector<std::string>> write_files(const std::string& directory,
                                             const nlohmann::ordered_json& report,
                                             const Preflight& preflight, const Outcome& outcome);

}  // namespace fathom::aio_bench
