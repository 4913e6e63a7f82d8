// SPDX-License-Identifier: Apache-2.0
//
// What this machine lacks for a plan, said before anything is allocated or created.
#include <algorithm>
#include <limits>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "aio/file.hpp"
#include "aio/memory_limits.hpp"
#include "base/log.hpp"
#include "engine/durable_state.hpp"
#include "engine/run.hpp"

namespace fathom::engine {
namespace {

// The sum behind the need, so that it can be checked by hand.
std::string arithmetic(const Plan& plan) {
  std::string sum =
      fmt::format("{} of buffers + {} working memory of a block", format_bytes(plan.arena_bytes),
                  format_bytes(plan.activation_bytes));
  if (plan.input.fixed_bytes != 0)
    sum += fmt::format(" + {} of tokens and caches", format_bytes(plan.input.fixed_bytes));
  return sum;
}

void find_memory(const Plan& plan, std::vector<std::string>& shortfalls) {
  const aio::MemoryLimit memory = aio::memory_limit();
  const std::uint64_t need = plan.prediction.peak_host;
  if (need > memory.available)
    shortfalls.push_back(fmt::format(
        "host memory: need {} = {}, have {} ({}), {} too little: lower fathom.host_memory or let "
        "more go to nvme",
        format_bytes(need), arithmetic(plan), format_bytes(memory.available), memory.reason,
        format_bytes(need - memory.available)));
}

// Registering buffers counts against RLIMIT_MEMLOCK; without it everything works, with more copies
// of page tables for the kernel to walk.
void note_locked_memory(const Plan& plan) {
  struct rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
      plan.bytes_on_nvme() == 0 || plan.arena_bytes <= limit.rlim_cur)
    return;
  log::note(fmt::format(
      "locked memory: the buffers take {}, RLIMIT_MEMLOCK allows {}, {} too little: without "
      "CAP_IPC_LOCK they are not registered with io_uring and transfers cost more processor time; "
      "raise `ulimit -l`, or lower fathom.host_memory",
      format_bytes(plan.arena_bytes), format_bytes(limit.rlim_cur),
      format_bytes(plan.arena_bytes - limit.rlim_cur)));
}

// Bytes that the store takes on each path.
std::vector<std::uint64_t> store_bytes(const config::Config& config, const Plan& plan) {
  if (config.fathom.store == config::StoreMode::durable)
    return swap::durable_bytes(durable_layout(plan), describe_store(plan, {}).size() + 64 * KiB);
  const auto files = plan.layout.file_bytes();
  return {files.begin(), files.end()};
}

}  // namespace

std::vector<std::string> find_shortfalls(const config::Config& config, const Plan& plan,
                                         bool has_space) {
  std::vector<std::string> shortfalls;
  find_memory(plan, shortfalls);
  note_locked_memory(plan);
  const bool durable = config.fathom.store == config::StoreMode::durable;
  const bool disk =
      durable || plan.input.weights_lowest == Tier::nvme || plan.input.states_lowest == Tier::nvme;
  const std::vector<std::string> paths = store_paths(config);
  const std::vector<std::uint64_t> files = store_bytes(config, plan);
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (i >= paths.size() || !disk) continue;
    // Said even when host memory holds everything today.
    if (auto usable = aio::check_scratch_directory(paths[i]); !usable) {
      shortfalls.push_back(usable.error().message());
      continue;
    }
    if (files[i] == 0 || has_space) continue;
    struct statvfs info{};
    if (::statvfs(paths[i].c_str(), &info) != 0) continue;  // creating the store says why
    const std::uint64_t have = static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
    if (files[i] > have)
      shortfalls.push_back(fmt::format(
          "disk: need {}{}, have {} on {}, {} too little: free space there{}, or name more "
          "directories in fathom.nvme_paths",
          format_bytes(files[i]), durable ? " (two slots of everything, and the journal)" : "",
          format_bytes(have), paths[i], format_bytes(files[i] - have),
          durable ? fmt::format(" (`fathom inspect {} --gc` removes stores of runs that are dead), "
                                "use \"fathom\": {{\"store\": \"scratch\"}}",
                                paths[i])
                  : std::string()));
  }
  return shortfalls;
}

Result<void> refuse_shortfalls(const std::vector<std::string>& shortfalls) {
  if (shortfalls.empty()) return {};
  return fail(Error(Errc::bad_config, "reserve what the plan needs")
                  .because(fmt::format("{}", fmt::join(shortfalls, "; "))));
}

}  // namespace fathom::engine
