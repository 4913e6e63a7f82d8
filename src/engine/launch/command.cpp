// SPDX-License-Identifier: Apache-2.0
#include "engine/launch/command.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace fathom::engine {
namespace {

using Words = std::vector<std::string>;

Error cannot(std::string_view target, std::string_view why, std::string_view remedy) {
  return Error(Errc::bad_config, "start the ranks").on(target).because(why).remedy(remedy);
}

bool same_slots(const Hosts& hosts) {
  return std::ranges::all_of(hosts, [&](const Host& host) { return host.slots == hosts[0].slots; });
}
bool same_count(const Hosts& hosts) {
  return std::ranges::all_of(
      hosts, [&](const Host& host) { return host.slots.size() == hosts[0].slots.size(); });
}

std::size_t ranks_of(const Hosts& hosts) {
  std::size_t ranks = 0;
  for (const Host& host : hosts) ranks += host.slots.size();
  return ranks;
}

std::string visible(const Host& host) {
  return fmt::format("CUDA_VISIBLE_DEVICES={}", fmt::join(host.slots, ","));
}

void append(Words& words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
}

// The program, seeing the chosen GPUs of `host` only.
Words on_slots(const LaunchRequest& request, const Host& host, const Words& program) {
  Words words;
  if (request.slots_chosen) words = {"env", visible(host)};
  append(words, program);
  return words;
}

std::string master_of(const LaunchRequest& request) {
  if (!request.master_addr.empty()) return request.master_addr;
  return request.local ? "127.0.0.1" : request.hosts.front().name;
}

// One application context a host, so that hosts may differ in slots.
Words mpirun_words(const LaunchRequest& request, const LaunchTools& tools, const Words& program) {
  Words words{"mpirun"};
  if (tools.root) words.emplace_back("--allow-run-as-root");
  // Ranks have threads of their own: Open MPI would bind each rank to one core.
  append(words, {"--bind-to", "none"});
  for (std::size_t i = 0; i < request.hosts.size(); ++i) {
    const Host& host = request.hosts[i];
    if (i != 0) words.emplace_back(":");
    append(words, {"-n", std::to_string(host.slots.size())});
    append(words, {"--host", fmt::format("{}:{}", host.name, host.slots.size())});
    for (const std::string& name : request.forward) append(words, {"-x", name});
    append(words, on_slots(request, host, program));
  }
  return words;
}

Result<Words> srun_words(const LaunchRequest& request, const Words& program) {
  const Hosts& hosts = request.hosts;
  if (!same_count(hosts) || (request.slots_chosen && !same_slots(hosts)))
    return fail(cannot("srun", "the hosts have different slots, and srun starts the same on each",
                       "use --launcher mpirun, or the same slots everywhere"));
  Words words{"srun",
              fmt::format("--nodes={}", hosts.size()),
              fmt::format("--ntasks={}", ranks_of(hosts)),
              fmt::format("--ntasks-per-node={}", hosts[0].slots.size()),
              "--mpi=pmix",
              "--kill-on-bad-exit=1"};
  if (!request.local) {
    Words names;
    for (const Host& host : hosts) names.push_back(host.name);
    words.push_back(fmt::format("--nodelist={}", fmt::join(names, ",")));
  }
  append(words, on_slots(request, hosts[0], program));
  return words;
}

Result<Words> torchrun_words(const LaunchRequest& request, const Words& program) {
  const Hosts& hosts = request.hosts;
  if (hosts.size() > 1 && !request.node_rank)
    return fail(cannot(
        "torchrun", fmt::format("it starts the ranks of one node, and there are {}", hosts.size()),
        "run this on every node with --no_ssh --node_rank N, or use mpirun or srun"));
  const auto node = static_cast<std::size_t>(request.node_rank.value_or(0));
  if (node >= hosts.size())
    return fail(cannot(fmt::format("--node_rank {}", node),
                       fmt::format("there are {} nodes, numbered from 0", hosts.size()),
                       "give this node's number"));
  if (!same_count(hosts))
    return fail(cannot("torchrun", "the hosts have different numbers of slots",
                       "use --launcher mpirun, or as many slots on every host"));
  Words words{"torchrun",
              fmt::format("--nnodes={}", hosts.size()),
              fmt::format("--node-rank={}", node),
              fmt::format("--nproc-per-node={}", hosts[node].slots.size()),
              fmt::format("--master-addr={}", master_of(request)),
              fmt::format("--master-port={}", request.master_port),
              "--no-python"};
  append(words, on_slots(request, hosts[node], program));
  return words;
}

Result<std::string> choose(const LaunchRequest& request, const LaunchTools& tools) {
  if (request.launcher != "auto") return request.launcher;
  if (request.node_rank) return "torchrun";
  if (tools.slurm_job && tools.srun) return "srun";
  if (tools.mpirun) return "mpirun";
  if (tools.torchrun && request.hosts.size() == 1) return "torchrun";
  return fail(
      cannot(fmt::format("{} ranks on {} hosts", ranks_of(request.hosts), request.hosts.size()),
             "mpirun is not installed, and this is no SLURM job",
             "install openmpi-bin, or start each node by hand with --no_ssh --node_rank N"));
}

}  // namespace

Result<Words> launch_command(const LaunchRequest& request, const LaunchTools& tools,
                             const Words& program) {
  if (request.local && request.launcher == "auto" && ranks_of(request.hosts) == 1)
    return on_slots(request, request.hosts[0], program);
  FATHOM_ASSIGN(const std::string launcher, choose(request, tools));
  if (request.node_rank && launcher != "torchrun")
    return fail(cannot("--node_rank", fmt::format("{} starts all nodes itself", launcher),
                       "leave it out, or use --launcher torchrun"));
  if (launcher == "mpirun") return mpirun_words(request, tools, program);
  if (launcher == "srun") return srun_words(request, program);
  if (launcher == "torchrun") return torchrun_words(request, program);
  return fail(cannot(fmt::format("--launcher {}", launcher), "there is no such launcher",
                     "use auto, mpirun, srun or torchrun"));
}

std::string shell_line(const Words& argv) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%";
  std::string line;
  for (const std::string& word : argv) {
    if (!line.empty()) line += ' ';
    if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) {
      line += word;
      continue;
    }
    line += '\'';
    for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

}  // namespace fathom::engine
