// SPDX-License-Identifier: Apache-2.0
#include "engine/leftover_jobs.hpp"

#include <filesystem>
#include <set>

#include "engine/store_reference.hpp"
#include "swap/leftovers.hpp"

namespace fathom::engine {

namespace fs = std::filesystem;
using nlohmann::json;

bool holds_jobs(const std::string& path) { return !swap::job_directories_in(path).empty(); }

Result<LeftoverJobs> leftover_jobs(const std::string& path, bool remove) {
  std::set<std::string> parents;
  FATHOM_ASSIGN(const auto reference, read_store_reference(path));
  if (reference)
    for (const std::string& directory : reference->directories)
      parents.insert(fs::path(directory).parent_path().string());
  else
    parents.insert(path);
  swap::FileCalls& calls = swap::FileCalls::real();
  LeftoverJobs result;
  json jobs = json::array();
  for (const std::string& parent : parents) {
    std::error_code status;
    if (!fs::is_directory(parent, status))
      return fail(Error(Errc::not_found, "look for stores")
                      .on(parent)
                      .because("it is not a directory")
                      .remedy("name the directory that stores lie in, or a run's --out"));
    for (const swap::Leftover& leftover : swap::find_leftovers(calls, parent, refers_to)) {
      bool removed = false;
      if (remove && leftover.kind == swap::Leftover::Kind::stale) {
        const auto done = swap::remove_leftover(calls, leftover, refers_to);
        removed = done.has_value();
        if (!done) result.failures.push_back(done.error().message());
      }
      jobs.push_back({{"path", leftover.path},
                      {"kind", swap::to_string(leftover.kind)},
                      {"why", leftover.why},
                      {"process", leftover.owner.process},
                      {"removed", removed}});
    }
  }
  result.document = {{"path", path}, {"jobs", std::move(jobs)}};
  return result;
}

}  // namespace fathom::engine
