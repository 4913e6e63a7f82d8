// SPDX-License-Identifier: Apache-2.0
//
// Report: what aio_bench found, for people and as files.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "tuner.hpp"

namespace fathom::aio_bench {

std::string preflight_text(const Preflight& preflight);
nlohmann::ordered_json preflight_json(const Preflight& preflight);

// The block that Fathom and DeepSpeed read as printed: {"aio": {...}} and nothing else.
nlohmann::ordered_json aio_block(const Arm& arm);

std::string summary_text(const Outcome& outcome, std::size_t chosen, std::size_t best);
nlohmann::ordered_json report_json(const Options& options, const Preflight& preflight,
                                   const Outcome& outcome, std::size_t chosen, std::size_t best);
std::string trials_csv(const Outcome& outcome);

// Writes aio.json, report.json and trials.csv into `directory`, which is made if it is missing.
Result<void> write_files(const std::string& directory, const nlohmann::ordered_json& report,
                         const Outcome& outcome, std::size_t chosen);

}  // namespace fathom::aio_bench
