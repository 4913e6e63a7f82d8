// SPDX-License-Identifier: Apache-2.0
//
// Child: runs a program by its absolute path and collects what it prints.
//
//   FATHOM_ASSIGN(const std::string text, run_program({"/usr/bin/fio", "--version"}, {}, 10,
//   stop));
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace fathom::aio_bench {

// The first executable of that name in the PATH's absolute directories.
std::optional<std::string> find_program(const std::string& name);

// Its standard output. The environment is exactly `environment`; the child is killed after
// `seconds` or when `stop` is set. Errors: io with its last words when it fails, timeout,
// interrupted.
Result<std::string> run_program(const std::vector<std::string>& arguments,
                                const std::vector<std::string>& environment, double seconds,
                                const std::atomic<bool>* stop = nullptr);

}  // namespace fathom::aio_bench
