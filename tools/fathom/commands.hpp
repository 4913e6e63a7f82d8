// SPDX-License-Identifier: Apache-2.0
//
// The subcommands of `fathom`: each declares its flags and says what to run.
//
// Purpose      Parse, call the engine, render. A command returns its exit code; Errors are printed
// by
//              main, once, on stderr.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

#include "base/result.hpp"

namespace fathom::tools {

// Exit codes of the contract: 0 success, 1 failure, 2 bad usage or configuration, 3 interrupted
// after a clean commit.
inline constexpr int exit_ok = 0, exit_failed = 1, exit_usage = 2, exit_interrupted = 3;

using Command = std::function<Result<int>()>;

Command add_train(CLI::App& app);
Command add_plan(CLI::App& app);
Command add_generate(CLI::App& app);
Command add_eval(CLI::App& app);
Command add_export(CLI::App& app);
Command add_inspect(CLI::App& app);
Command add_tokenize(CLI::App& app);
Command add_env(CLI::App& app);
Command add_launch(CLI::App& app);

}  // namespace fathom::tools
