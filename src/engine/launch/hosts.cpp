// SPDX-License-Identifier: Apache-2.0
#include "engine/launch/hosts.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace fathom::engine {
namespace {

constexpr int most_slots = 1024;

std::optional<int> whole(std::string_view text) {
  int value = 0;
  const auto [rest, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || rest != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> found;
  for (std::size_t begin = 0; begin < line.size();) {
    begin = line.find_first_not_of(" \t\r", begin);
    if (begin == std::string_view::npos) break;
    const std::size_t end = std::min(line.find_first_of(" \t\r", begin), line.size());
    found.push_back(line.substr(begin, end - begin));
    begin = end;
  }
  return found;
}

Error bad_flag(std::string_view flag, std::string_view why, std::string_view remedy) {
  return Error(Errc::bad_config, "choose the hosts").on(flag).because(why).remedy(remedy);
}

std::string names_of(const Hosts& hosts) {
  std::vector<std::string> names;
  for (const Host& host : hosts) names.push_back(host.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// One NAME[:SLOT,…] of a filter; no slots: all of the host.
Result<Host> filter_entry(const Hosts& hosts, std::string_view flag, std::string_view entry) {
  const std::size_t colon = entry.find(':');
  const std::string_view name = entry.substr(0, colon);
  const auto host = std::ranges::find(hosts, name, &Host::name);
  const std::string target = fmt::format("{} {}", flag, entry);
  if (name.empty())
    return fail(bad_flag(target, "a host has no name", "write NAME[:SLOT,SLOT][@NAME]"));
  if (host == hosts.end())
    return fail(bad_flag(target, fmt::format("there is no host {}", name),
                         fmt::format("the hosts are {}", names_of(hosts))));
  if (colon == std::string_view::npos) return *host;
  const auto slots = parse_slots(entry.substr(colon + 1));
  if (!slots)
    return fail(bad_flag(target, "its slots are not whole numbers, each once",
                         fmt::format("write {}:0,1", name)));
  for (const int slot : *slots)
    if (std::ranges::find(host->slots, slot) == host->slots.end())
      return fail(bad_flag(target, fmt::format("host {} has no slot {}", name, slot),
                           fmt::format("its slots are {}", fmt::join(host->slots, ", "))));
  return Host{.name = host->name, .slots = *slots};
}

// What `filter` names, as hosts with sorted slots.
Result<Hosts> filter_entries(const Hosts& hosts, std::string_view flag, std::string_view filter) {
  Hosts named;
  for (const std::string_view entry : split(filter, '@')) {
    FATHOM_ASSIGN(Host host, filter_entry(hosts, flag, entry));
    if (std::ranges::find(named, host.name, &Host::name) != named.end())
      return fail(bad_flag(fmt::format("{} {}", flag, filter),
                           fmt::format("host {} is named twice", host.name),
                           "write all of its slots behind one colon"));
    std::ranges::sort(host.slots);
    named.push_back(std::move(host));
  }
  return named;
}

Hosts take_away(Hosts hosts, const Hosts& gone) {
  for (Host& host : hosts) {
    const auto named = std::ranges::find(gone, host.name, &Host::name);
    if (named == gone.end()) continue;
    std::erase_if(host.slots, [&](int slot) {
      return std::ranges::find(named->slots, slot) != named->slots.end();
    });
  }
  std::erase_if(hosts, [](const Host& host) { return host.slots.empty(); });
  return hosts;
}

Hosts keep_only(Hosts hosts, const Hosts& kept) {
  std::erase_if(hosts, [&](Host& host) {
    const auto named = std::ranges::find(kept, host.name, &Host::name);
    if (named == kept.end()) return true;
    host.slots = named->slots;
    return false;
  });
  return hosts;
}

Result<Hosts> take_first(Hosts hosts, const Selection& selection) {
  if (selection.nodes) {
    if (*selection.nodes < 1 || static_cast<std::size_t>(*selection.nodes) > hosts.size())
      return fail(bad_flag(fmt::format("--num_nodes {}", *selection.nodes),
                           fmt::format("there are {}: {}", hosts.size(), names_of(hosts)),
                           "name a hostfile with as many hosts"));
    hosts.resize(static_cast<std::size_t>(*selection.nodes));
  }
  if (!selection.slots) return hosts;
  for (Host& host : hosts) {
    if (*selection.slots < 1 || static_cast<std::size_t>(*selection.slots) > host.slots.size())
      return fail(bad_flag(fmt::format("--num_gpus {}", *selection.slots),
                           fmt::format("host {} has {} slots", host.name, host.slots.size()),
                           "ask for fewer, or correct slots= in the hostfile"));
    host.slots.resize(static_cast<std::size_t>(*selection.slots));
  }
  return hosts;
}

}  // namespace

std::optional<std::vector<int>> parse_slots(std::string_view text) {
  std::vector<int> slots;
  for (const std::string_view part : split(text, ',')) {
    const std::optional<int> slot = whole(part);
    if (!slot || std::ranges::find(slots, *slot) != slots.end()) return std::nullopt;
    slots.push_back(*slot);
  }
  return slots;
}

Result<Hosts> parse_hostfile(std::string_view text, std::string_view path) {
  Hosts hosts;
  std::size_t number = 0;
  for (const std::string_view line : split(text, '\n')) {
    ++number;
    const auto bad = [&](std::string_view why) {
      return fail(Error(Errc::bad_config, "read the hostfile")
                      .on(fmt::format("{}:{}", path, number))
                      .because(why)
                      .remedy("write one host a line: NAME slots=N"));
    };
    const auto found = words(line.substr(0, line.find('#')));
    if (found.empty()) continue;
    constexpr std::string_view key = "slots=";
    if (found.size() != 2 || !found[1].starts_with(key))
      return bad(fmt::format("\"{}\" is not NAME slots=N", line));
    const std::optional<int> count = whole(found[1].substr(key.size()));
    if (!count || *count < 1 || *count > most_slots)
      return bad(fmt::format("{} is not a number of slots from 1 to {}", found[1], most_slots));
    if (found[0].find_first_of(":@,") != std::string_view::npos)
      return bad(fmt::format("{} is no host name", found[0]));
    if (std::ranges::find(hosts, found[0], &Host::name) != hosts.end())
      return bad(fmt::format("host {} is there twice", found[0]));
    Host host{.name = std::string(found[0]), .slots = {}};
    host.slots.resize(static_cast<std::size_t>(*count));
    std::iota(host.slots.begin(), host.slots.end(), 0);
    hosts.push_back(std::move(host));
  }
  if (hosts.empty())
    return fail(Error(Errc::bad_config, "read the hostfile")
                    .on(path)
                    .because("it names no host")
                    .remedy("write one host a line: NAME slots=N"));
  return hosts;
}

Result<Hosts> select_hosts(const Hosts& hosts, const Selection& selection) {
  const bool include = !selection.include.empty(), exclude = !selection.exclude.empty();
  if (include && exclude)
    return fail(bad_flag("--include and --exclude", "both are given", "use one of them"));
  if ((include || exclude) && (selection.nodes || selection.slots))
    return fail(bad_flag(include ? "--include" : "--exclude",
                         "it is given together with --num_nodes or --num_gpus",
                         "choose by name or by number"));
  Hosts chosen = hosts;
  if (include) {
    FATHOM_ASSIGN(const Hosts named, filter_entries(hosts, "--include", selection.include));
    chosen = keep_only(std::move(chosen), named);
  }
  if (exclude) {
    FATHOM_ASSIGN(const Hosts named, filter_entries(hosts, "--exclude", selection.exclude));
    chosen = take_away(std::move(chosen), named);
  }
  if (chosen.empty())
    return fail(bad_flag(fmt::format("--exclude {}", selection.exclude), "it leaves no slot",
                         "exclude less"));
  return take_first(std::move(chosen), selection);
}

}  // namespace fathom::engine
