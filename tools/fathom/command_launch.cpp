// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <system_error>

#include <fmt/format.h>
#include <unistd.h>

#include "base/text_file.hpp"
#include "commands.hpp"
#include "engine/launch/command.hpp"
#include "options.hpp"

namespace fathom::tools {
namespace {

constexpr const char* usual_hostfile = "/job/hostfile";

struct Flags {
  std::string hostfile = usual_hostfile;
  bool hostfile_given = false;
  engine::Selection selection;
  engine::LaunchRequest request;
  bool no_ssh = false, dry_run = false;
};

// GPUs that the driver shows; asking CUDA would create contexts.
int count_gpus() {
  int count = 0;
  while (::access(fmt::format("/dev/nvidia{}", count).c_str(), F_OK) == 0) ++count;
  return count;
}

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string rest = path == nullptr ? "" : path;
  for (;;) {
    const std::size_t end = rest.find(':');
    if (::access((rest.substr(0, end) + "/" + program).c_str(), X_OK) == 0) return true;
    if (end == std::string::npos) return false;
    rest = rest.substr(end + 1);
  }
}

// This machine: the GPUs that are visible; without any, as many ranks as are asked for.
engine::Host this_machine(Flags& flags) {
  engine::Host host{.name = "localhost", .slots = {}};
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible != nullptr) {
    if (const auto slots = engine::parse_slots(visible)) {
      host.slots = *slots;
      flags.request.slots_chosen = true;
      return host;
    }
  }
  const int gpus = count_gpus();
  host.slots.resize(
      static_cast<std::size_t>(gpus > 0 ? gpus : std::max(1, flags.selection.slots.value_or(1))));
  std::iota(host.slots.begin(), host.slots.end(), 0);
  return host;
}

Result<engine::Hosts> all_hosts(Flags& flags) {
  if (flags.hostfile_given || std::filesystem::exists(flags.hostfile)) {
    flags.request.local = false;
    FATHOM_ASSIGN(const std::string text, read_text_file(flags.hostfile));
    return engine::parse_hostfile(text, flags.hostfile);
  }
  return engine::Hosts{this_machine(flags)};
}

// Variables of other programs that ranks on other hosts need as well.
std::vector<std::string> variables_to_forward() {
  std::vector<std::string> names;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    for (const char* prefix : {"NCCL_", "FATHOM_", "OMP_"})
      if (name.starts_with(prefix)) names.emplace_back(name);
    if (name == "LD_LIBRARY_PATH") names.emplace_back(name);
  }
  std::ranges::sort(names);
  return names;
}

Result<int> run(Flags& flags, const std::vector<std::string>& arguments) {
  const auto bad = [](std::string_view target, std::string_view why, std::string_view remedy) {
    return fail(Error(Errc::bad_config, "launch").on(target).because(why).remedy(remedy));
  };
  if (arguments.empty())
    return bad("the command line", "it names no command to start",
               "write fathom launch FLAGS train --model …");
  if (arguments[0].starts_with('-'))
    return bad(arguments[0], "launch has no such flag", "run fathom launch --help for the list");
  if (flags.no_ssh != flags.request.node_rank.has_value())
    return bad("--no_ssh and --node_rank", "one is given without the other", "give both or none");
  FATHOM_ASSIGN(const engine::Hosts hosts, all_hosts(flags));
  FATHOM_ASSIGN(flags.request.hosts, engine::select_hosts(hosts, flags.selection));
  flags.request.slots_chosen = flags.request.slots_chosen || !flags.selection.include.empty() ||
                               !flags.selection.exclude.empty();
  if (!flags.request.local) flags.request.forward = variables_to_forward();

  std::error_code ignored;
  std::vector<std::string> program{std::filesystem::read_symlink("/proc/self/exe", ignored)};
  program.insert(program.end(), arguments.begin(), arguments.end());
  const engine::LaunchTools tools{.mpirun = in_path("mpirun"),
                                  .srun = in_path("srun"),
                                  .torchrun = in_path("torchrun"),
                                  .slurm_job = std::getenv("SLURM_JOB_ID") != nullptr,
                                  .root = ::geteuid() == 0};
  FATHOM_ASSIGN(std::vector<std::string> argv,
                engine::launch_command(flags.request, tools, program));
  if (flags.dry_run) {
    FATHOM_CHECK(print_text(engine::shell_line(argv) + "\n"));
    return exit_ok;
  }
  std::vector<char*> pointers;
  for (std::string& word : argv) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  ::execvp(pointers[0], pointers.data());
  return fail(Error(Errc::not_found, "launch")
                  .on(argv[0])
                  .because_errno(errno)
                  .remedy("install it, or choose another with --launcher"));
}

}  // namespace

Command add_launch(CLI::App& app) {
  const auto flags = std::make_shared<Flags>();
  engine::LaunchRequest& request = flags->request;
  app.prefix_command();  // what follows the flags is the command of the ranks
  app.footer("After the flags: the command of the ranks (train, eval, … with its own flags).");
  app.add_option_function<std::string>(
         "--hostfile",
         [flags](const std::string& path) {
           flags->hostfile = path;
           flags->hostfile_given = true;
         },
         "NAME slots=N a line (default /job/hostfile; without one, this machine)")
      ->type_name("FILE");
  app.add_option("--include", flags->selection.include, "only these: NAME[:SLOT,…][@NAME…]");
  app.add_option("--exclude", flags->selection.exclude, "all but these: NAME[:SLOT,…][@NAME…]");
  app.add_option("--num_nodes,--num-nodes", flags->selection.nodes, "the first hosts only")
      ->check(whole_number(1, 1'000'000));
  app.add_option("--num_gpus,--num-gpus", flags->selection.slots,
                 "ranks on each host (default: all slots or visible GPUs)")
      ->check(whole_number(1, 1024));
  app.add_option("--master_addr,--master-addr", request.master_addr,
                 "host of rank 0 (default: the first)");
  app.add_option("--master_port,--master-port", request.master_port, "port there")
      ->capture_default_str()
      ->check(whole_number(1, 65535));
  app.add_flag("--no_ssh,--no-ssh", flags->no_ssh,
               "every node is started by hand, this one by this");
  app.add_option("--node_rank,--node-rank", request.node_rank, "number of this node, with --no_ssh")
      ->check(whole_number(0, 1'000'000));
  app.add_option("--launcher", request.launcher, "who starts the ranks")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "mpirun", "srun", "torchrun"}));
  app.add_flag("--dry-run,--dry_run", flags->dry_run, "print the command instead of running it");
  return [flags, &app] { return run(*flags, app.remaining()); };
}

}  // namespace fathom::tools
