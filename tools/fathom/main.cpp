// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

#include "commands.hpp"

using fathom::Errc;
using fathom::tools::Command;

namespace {

int exit_code(const fathom::Error& error) {
  switch (error.code()) {
    case Errc::bad_config: return fathom::tools::exit_usage;
    case Errc::interrupted: return fathom::tools::exit_interrupted;
    default: return fathom::tools::exit_failed;
  }
}

struct Entry {
  const char* name;
  const char* help;
  Command (*add)(CLI::App&);
};

constexpr Entry entries[] = {
    {"train", "train a model whose states live on disk", fathom::tools::add_train},
    {"plan", "print what train would do; allocates nothing", fathom::tools::add_plan},
    {"generate", "continue prompts", fathom::tools::add_generate},
    {"eval", "loss of a text, or logits of tokens", fathom::tools::add_eval},
    {"export", "checkpoint to Hugging Face directory", fathom::tools::add_export},
    {"inspect", "what a checkpoint holds; --verify checks every block", fathom::tools::add_inspect},
    {"tokenize", "text from stdin to token ids", fathom::tools::add_tokenize},
    {"launch", "start ranks with mpirun, srun or torchrun", fathom::tools::add_launch},
    {"env", "versions, machine, usable I/O engines", fathom::tools::add_env},
};

// LibTorch's OpenMP threads spin while they wait for each other. The disk's and the checksums'
// threads share the cores with them, and a spinning thread then costs its neighbour whole scheduler
// slices: steps became two to five times slower. libgomp reads the policy when it is loaded, before
// main, so the commands that compute start once more with it set; a policy of the user's is left
// alone.
void wait_passively(int argc, char** argv) {
  static constexpr std::string_view computing[] = {"train", "plan", "generate", "eval"};
  if (argc < 2 ||
      std::find(std::begin(computing), std::end(computing), argv[1]) == std::end(computing))
    return;
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  ::setenv("OMP_WAIT_POLICY", "passive", 1);
  ::execv("/proc/self/exe", argv);  // returns only when it fails; then things are slow, not wrong
}

int run(int argc, char** argv) {
  CLI::App app{"Fathom trains and runs models larger than device and host memory together.",
               "fathom"};
  app.set_version_flag("--version", FATHOM_VERSION);
  app.require_subcommand(1);
  std::vector<std::pair<CLI::App*, Command>> commands;
  for (const Entry& entry : entries) {
    CLI::App* command = app.add_subcommand(entry.name, entry.help);
    commands.emplace_back(command, entry.add(*command));
  }
  // CLI11 would only say that a command is required.
  const auto named = [&](const Entry& entry) { return std::string_view(argv[1]) == entry.name; };
  if (argc > 1 && argv[1][0] != '-' && std::ranges::none_of(entries, named)) {
    std::fprintf(stderr, "fathom: there is no command %s; run fathom --help for the list\n",
                 argv[1]);
    return fathom::tools::exit_usage;
  }
  // A limit on file sizes (ulimit -f) is an Error of the write that meets it, not the end.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Help and version are successes; CLI11 numbers its errors, the contract has one code for them.
    return app.exit(error) == 0 ? fathom::tools::exit_ok : fathom::tools::exit_usage;
  }
  for (const auto& [command, action] : commands) {
    if (!command->parsed()) continue;
    const fathom::Result<int> result = action();
    if (result) return *result;
    std::fprintf(stderr, "fathom %s: %s\n", command->get_name().c_str(),
                 result.error().message().c_str());
    return exit_code(result.error());
  }
  return fathom::tools::exit_usage;
}

}  // namespace

int main(int argc, char** argv) {
  wait_passively(argc, argv);
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fathom: %s; this is a bug, please report it\n", error.what());
    return fathom::tools::exit_failed;
  }
}
