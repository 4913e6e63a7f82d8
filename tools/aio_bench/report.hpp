// SPDX-License-Identifier: Apache-2.0
//
// Report: what aio_bench found, for people and as files.
//
// Units        Rates are bytes per second; `*_gbps` keys are 10^9 bytes per second.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "tuner.hpp"

namespace fathom::aio_bench {

// The block that Fathom and DeepSpeed read as printed: {"aio": {...}} and nothing else.
nlohmann::ordered_json aio_block(const Arm& arm);

// At most 20 lines, the answer first.
std::string summary_text(const Preflight& preflight, const Outcome& outcome);
nlohmann::ordered_json report_json(const Options& options, const Preflight& preflight,
                                   const Outcome& outcome);
std::string trials_csv(const Outcome& outcome);

// Writes aio.json, report.json, trials.csv and report.svg into `directory`, which is made if it is
// missing.
Result<void> write_files(const std::string& directory, const nlohmann::ordered_json& report,
                         const Preflight& preflight, const Outcome& outcome);

}  // namespace fathom::aio_bench
