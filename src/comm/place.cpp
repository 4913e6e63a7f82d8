// SPDX-License-Identifier: Apache-2.0
#include "comm/place.hpp"

#include <charconv>
#include <limits>
#include <optional>

#include <fmt/format.h>

namespace fathom::comm {
namespace {

Error wrong(std::string_view target, std::string_view why, std::string_view remedy) {
  return Error(Errc::bad_config, "find this process's rank").on(target).because(why).remedy(remedy);
}

constexpr const char* unset_remedy =
    "start the program through one launcher, or unset the variables of the other";

// A number of the environment; nothing when unset.
Result<std::optional<int>> number(const Environment& variables, const char* name, int least,
                                  int most = std::numeric_limits<int>::max()) {
  const std::string* text = find(variables, name);
  if (text == nullptr) return std::nullopt;
  int value = 0;
  const char* end = text->data() + text->size();
  const auto [rest, status] = std::from_chars(text->data(), end, value);
  if (status != std::errc() || rest != end || value < least || value > most)
    return fail(wrong(fmt::format("{}={}", name, *text),
                      most == std::numeric_limits<int>::max()
                          ? fmt::format("it is not a whole number, {} or more", least)
                          : fmt::format("it is not a whole number from {} to {}", least, most),
                      unset_remedy));
  return value;
}

// The variables by which one launcher tells a process its place.
struct Names {
  Launcher launcher;
  const char *rank, *world, *local_rank, *local_world;
};

constexpr Names torchrun_names{Launcher::torchrun, "RANK", "WORLD_SIZE", "LOCAL_RANK",
                               "LOCAL_WORLD_SIZE"};
constexpr Names open_mpi_names{Launcher::open_mpi, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                               "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Names slurm_names{Launcher::slurm, "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID",
                            nullptr};

// Nothing when the launcher has set none of rank and world.
Result<std::optional<Place>> place_by(const Environment& variables, const Names& names) {
  FATHOM_ASSIGN(const std::optional<int> rank, number(variables, names.rank, 0));
  FATHOM_ASSIGN(const std::optional<int> world, number(variables, names.world, 1));
  if (!rank && !world) return std::nullopt;
  if (!rank || !world)
    return fail(wrong(rank ? names.rank : names.world,
                      fmt::format("{} is set and {} is not", rank ? names.rank : names.world,
                                  rank ? names.world : names.rank),
                      "set both or none"));
  if (*rank >= *world)
    return fail(wrong(fmt::format("{}={}", names.rank, *rank),
                      fmt::format("{}={} has ranks 0 to {}", names.world, *world, *world - 1),
                      unset_remedy));
  FATHOM_ASSIGN(const std::optional<int> local, number(variables, names.local_rank, 0));
  std::optional<int> local_world;
  if (names.local_world != nullptr) {
    FATHOM_ASSIGN(local_world, number(variables, names.local_world, 1));
  }
  if (local && local_world && *local >= *local_world)
    return fail(wrong(fmt::format("{}={}", names.local_rank, *local),
                      fmt::format("{}={} has local ranks 0 to {}", names.local_world, *local_world,
                                  *local_world - 1),
                      unset_remedy));
  Place place;
  place.launcher = names.launcher;
  place.rank = *rank;
  place.local_rank = local.value_or(0);
  place.world = *world;
  return place;
}

Result<void> same_place(const Place& one, const Names& of_one, const Place& other,
                        const Names& of_other) {
  if (one.rank == other.rank && one.world == other.world) return {};
  return fail(wrong(fmt::format("{}={}, {}={}", of_one.rank, one.rank, of_one.world, one.world),
                    fmt::format("{} says otherwise: {}={}, {}={}", to_string(of_other.launcher),
                                of_other.rank, other.rank, of_other.world, other.world),
                    unset_remedy));
}

Result<void> find_master(const Environment& variables, Place& place) {
  FATHOM_ASSIGN(const std::optional<int> port, number(variables, "MASTER_PORT", 1, 65535));
  if (port) place.port = static_cast<std::uint16_t>(*port);
  if (const std::string* host = find(variables, "MASTER_ADDR")) place.master = *host;
  if (place.world == 1 || !place.master.empty()) return {};
  if (place.launcher == Launcher::slurm) {
    const std::string* nodes = find(variables, "SLURM_STEP_NODELIST");
    if (nodes == nullptr) nodes = find(variables, "SLURM_JOB_NODELIST");
    if (nodes == nullptr)
      return fail(wrong("SLURM_JOB_NODELIST", "it is not set, so the first host is unknown",
                        "set MASTER_ADDR to the host of rank 0"));
    FATHOM_ASSIGN(const std::vector<std::string> hosts, expand_hosts(*nodes));
    place.master = hosts.front();
  }
  if (place.launcher == Launcher::torchrun)
    return fail(
        wrong("MASTER_ADDR", fmt::format("it is not set, and WORLD_SIZE is {}", place.world),
              "set MASTER_ADDR and MASTER_PORT to the host of rank 0 and a free port there"));
  return {};
}

}  // namespace

const char* to_string(Launcher launcher) {
  switch (launcher) {
    case Launcher::none: return "no launcher";
    case Launcher::torchrun: return "torchrun";
    case Launcher::open_mpi: return "Open MPI";
    case Launcher::slurm: return "SLURM";
  }
  return "unknown";
}

Result<Place> place_of(const Environment& variables) {
  FATHOM_ASSIGN(const std::optional<Place> torchrun, place_by(variables, torchrun_names));
  FATHOM_ASSIGN(const std::optional<Place> open_mpi, place_by(variables, open_mpi_names));
  // A batch script sees SLURM's counts too, but only srun makes a step of them.
  std::optional<Place> slurm;
  if (find(variables, "SLURM_STEP_ID") != nullptr || find(variables, "SLURM_STEPID") != nullptr) {
    FATHOM_ASSIGN(slurm, place_by(variables, slurm_names));
  }
  // torchrun's agent may itself be a process of mpirun or srun, one a node; variables set by hand
  // may not say something else than the launcher that started this process.
  const bool agent = find(variables, "TORCHELASTIC_RUN_ID") != nullptr;
  if (torchrun && !agent) {
    if (open_mpi) FATHOM_CHECK(same_place(*torchrun, torchrun_names, *open_mpi, open_mpi_names));
    if (slurm && slurm->world == torchrun->world)
      FATHOM_CHECK(same_place(*torchrun, torchrun_names, *slurm, slurm_names));
  }
  // mpirun starts its own daemons through srun: Open MPI's variables are the inner ones.
  Place place;
  if (open_mpi && !agent)
    place = *open_mpi;
  else if (torchrun)
    place = *torchrun;
  else if (slurm)
    place = *slurm;
  FATHOM_CHECK(find_master(variables, place));
  if (place.launcher == Launcher::torchrun) {
    const std::string* served = find(variables, "TORCHELASTIC_USE_AGENT_STORE");
    place.store_is_served = served != nullptr && *served == "True";
    if (const std::string* count = find(variables, "TORCHELASTIC_RESTART_COUNT"))
      place.attempt = *count;
  }
  return place;
}

Result<std::vector<std::string>> expand_hosts(std::string_view list) {
  const auto malformed = [&](std::string_view why) {
    return fail(Error(Errc::bad_config, "read SLURM's list of hosts")
                    .on(list)
                    .because(why)
                    .remedy("set MASTER_ADDR to the host of rank 0"));
  };
  std::vector<std::string> hosts;
  std::string_view rest = list;
  while (!rest.empty()) {
    // One entry ends at a comma outside of brackets.
    std::size_t end = 0;
    for (bool inside = false; end < rest.size() && (inside || rest[end] != ','); ++end) {
      if (rest[end] == '[') inside = true;
      if (rest[end] == ']') inside = false;
    }
    const std::string_view entry = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::size_t open = entry.find('['), close = entry.find(']');
    if (entry.empty()) return malformed("it has an empty name");
    if (open == std::string_view::npos && close == std::string_view::npos) {
      hosts.emplace_back(entry);
      continue;
    }
    if (open == std::string_view::npos || close == std::string_view::npos || close < open)
      return malformed("its brackets do not match");
    const std::string_view before = entry.substr(0, open), after = entry.substr(close + 1);
    if (after.find_first_of("[]") != std::string_view::npos)
      return malformed("several brackets in one name are not understood");
    std::string_view ranges = entry.substr(open + 1, close - open - 1);
    while (!ranges.empty()) {
      const std::string_view range = ranges.substr(0, ranges.find(','));
      ranges.remove_prefix(std::min(range.size() + 1, ranges.size()));
      const std::string_view low = range.substr(0, range.find('-'));
      const std::string_view high = low.size() == range.size() ? low : range.substr(low.size() + 1);
      std::uint32_t first = 0, last = 0;
      const auto read = [](std::string_view text, std::uint32_t& value) {
        const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), value);
        return status == std::errc() && stop == text.data() + text.size();
      };
      if (!read(low, first) || !read(high, last) || last < first || last - first > 100'000)
        return malformed(fmt::format("{} is not a range of numbers", range));
      // Zeros in front are part of the name: [08-10] is 08, 09, 10.
      for (std::uint32_t i = first; i <= last; ++i)
        hosts.push_back(fmt::format("{}{:0{}}{}", before, i, low.size(), after));
    }
  }
  if (hosts.empty()) return malformed("it is empty");
  return hosts;
}

}  // namespace fathom::comm
