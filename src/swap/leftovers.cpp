// SPDX-License-Identifier: Apache-2.0
#include "swap/leftovers.hpp"

#include <filesystem>
#include <optional>

#include <fmt/format.h>

namespace fathom::swap {
namespace {

struct Look {
  Leftover leftover;
  std::optional<JobDirectory> job;  // locked, when dead
};

Look look(FileCalls& calls, const std::string& path,
          const std::function<bool(const Owner&)>& referred) {
  Look seen{.leftover = {.path = path, .kind = Leftover::Kind::unclear, .why = {}, .owner = {}},
            .job = {}};
  Leftover& leftover = seen.leftover;
  auto peeked = JobDirectory::open(calls, path, Access::look, 0);
  if (!peeked) {
    leftover.why = peeked.error().message();
    return seen;
  }
  leftover.owner = peeked->owner();
  if (std::filesystem::path(path).filename() != job_directory_name(leftover.owner.id)) {
    leftover.why = "its name is not its store's";
    return seen;
  }
  leftover.kind = Leftover::Kind::live;
  leftover.why = fmt::format("process {} has it", leftover.owner.process);
  auto locked = JobDirectory::open(calls, path, Access::run, 0);
  // Where locks do not reach (network file systems), the process itself is the proof.
  if (!locked || lives(leftover.owner)) return seen;
  leftover.owner = locked->owner();
  if (referred(leftover.owner)) {
    leftover.kind = Leftover::Kind::kept;
    leftover.why = fmt::format("{} refers to it", leftover.owner.output);
    return seen;
  }
  leftover.kind = Leftover::Kind::stale;
  leftover.why = fmt::format("process {} of user {} has ended and no run refers to it",
                             leftover.owner.process, leftover.owner.user);
  seen.job.emplace(std::move(*locked));
  return seen;
}

}  // namespace

const char* to_string(Leftover::Kind kind) {
  switch (kind) {
    case Leftover::Kind::live: return "live";
    case Leftover::Kind::kept: return "kept";
    case Leftover::Kind::stale: return "stale";
    case Leftover::Kind::unclear: return "unclear";
  }
  return "";
}

std::vector<Leftover> find_leftovers(FileCalls& calls, const std::string& parent,
                                     const std::function<bool(const Owner&)>& referred) {
  std::vector<Leftover> found;
  for (const std::string& name : job_directories_in(parent))
    found.push_back(look(calls, fmt::format("{}/{}", parent, name), referred).leftover);
  return found;
}

Result<void> remove_leftover(FileCalls& calls, const Leftover& leftover,
                             const std::function<bool(const Owner&)>& referred) {
  Look seen = look(calls, leftover.path, referred);
  if (seen.job) return seen.job->remove_all();
  return fail(Error(Errc::io, "remove a job directory")
                  .on(leftover.path)
                  .because(seen.leftover.why)
                  .remedy("leave it"));
}

}  // namespace fathom::swap
