// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/text_file.hpp"
#include "comm/agree.hpp"
#include "engine/checkpoint.hpp"
#include "engine/checkpoint_format.hpp"
#include "engine/checkpoint_retention.hpp"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The state file while it is written: appends, hashes, pads.
class StateFile {
 public:
  static Result<StateFile> create(const std::string& path, std::uint64_t bytes) {
    StateFile file;
    file.path_ = path;
    file.fd_ =
        UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.fd_) return fail(file.error("create the checkpoint file", errno));
    // The space is promised before a byte is written: a full disk keeps the checkpoint before.
    if (const int status = ::posix_fallocate(file.fd_.get(), 0, static_cast<off_t>(bytes));
        status != 0)
      return fail(file.error("allocate the checkpoint file", status));
    return file;
  }

  // Another rank's file, from `offset` on.
  static Result<StateFile> join(const std::string& path, std::uint64_t offset) {
    StateFile file;
    file.path_ = path;
    file.offset_ = offset;
    file.fd_ = UniqueFd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file.fd_) return fail(file.error("open the checkpoint file", errno));
    return file;
  }

  // Appends one section and describes it.
  Result<json> append(const char* name, const std::byte* data, std::uint64_t bytes) {
    json hashes = json::array();
    const std::uint64_t begin = offset_;
    for (std::uint64_t at = 0; at < bytes; at += checkpoint_block_bytes) {
      const std::uint64_t count = std::min(checkpoint_block_bytes, bytes - at);
      hashes.push_back(fmt::format("{:016x}", XXH3_64bits_withSeed(data + at, count, begin + at)));
      FATHOM_CHECK(write(data + at, count));
    }
    const std::uint64_t padded = round_up(offset_, io_alignment);
    static const std::vector<std::byte> zeros(io_alignment);
    FATHOM_CHECK(write(zeros.data(), padded - offset_));
    return json{{"name", name}, {"offset", begin}, {"bytes", bytes}, {"xxh3", std::move(hashes)}};
  }

  Result<void> sync() {
    if (::fsync(fd_.get()) != 0) return fail(error("sync the checkpoint file", errno));
    return {};
  }

 private:
  Error error(const char* tried, int status) const {
    return Error(status == ENOSPC ? Errc::no_space : Errc::io, tried)
        .on(path_)
        .because_errno(status)
        .remedy("choose an --out directory with enough space that you may write to");
  }
  Result<void> write(const std::byte* data, std::uint64_t bytes) {
    while (bytes != 0) {
      const ssize_t wrote = ::pwrite(fd_.get(), data, bytes, static_cast<off_t>(offset_));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) return fail(error("write the checkpoint file", wrote < 0 ? errno : EIO));
      data += wrote;
      offset_ += static_cast<std::uint64_t>(wrote);
      bytes -= static_cast<std::uint64_t>(wrote);
    }
    return {};
  }

  std::string path_;
  UniqueFd fd_;
  std::uint64_t offset_ = 0;
};

Result<json> write_chunks(StateFile& file, Residence& residence) {
  const Plan& plan = residence.plan();
  json chunks = json::array();
  for (swap::ChunkId c = 0; c < plan.chunks.size(); ++c) {
    FATHOM_ASSIGN(const ChunkView view, residence.visit(c, /*read=*/true));
    const std::byte* address[] = {view.weights, reinterpret_cast<const std::byte*>(view.low),
                                  reinterpret_cast<const std::byte*>(view.m),
                                  reinterpret_cast<const std::byte*>(view.v)};
    json sections = json::array();
    for (const swap::Section section : swap::all_sections) {
      if (plan.layout.sections().of(section) == 0) continue;
      FATHOM_ASSIGN(json described,
                    file.append(swap::to_string(section), address[swap::index(section)],
                                plan.layout.payload_bytes(c, section)));
      sections.push_back(std::move(described));
    }
    const swap::Chunk& chunk = plan.layout.chunk(c);
    chunks.push_back({{"unit", chunk.unit},
                      {"first", plan.first_element(c)},
                      {"elements", chunk.elements},
                      {"sections", std::move(sections)}});
  }
  return chunks;
}

std::uint64_t state_bytes(const Plan& plan) {
  std::uint64_t sum = 0;
  for (swap::ChunkId c = 0; c < plan.chunks.size(); ++c)
    sum += plan.layout.padded_bytes(c, plan.layout.sections().present());
  return sum;
}

Result<void> write_manifest(const fs::path& directory, const Plan& plan, std::uint64_t bytes,
                            const Progress& progress, const json& config, json chunks) {
  json counters = {{"step", progress.step},
                   {"updates", progress.updates},
                   {"tokens", progress.tokens},
                   {"next_window", progress.next_window},
                   {"seed", progress.seed}};
  if (progress.loss_scale)
    counters["loss_scale"] = {{"scale", progress.loss_scale->scale},
                              {"iteration", progress.loss_scale->iteration},
                              {"last_overflow", progress.loss_scale->last_overflow},
                              {"remainder", progress.loss_scale->remainder}};
  const json manifest = {{"format", checkpoint_magic}, {"version", checkpoint_version},
                         {"byte_order", "little"},     {"state_file", state_file_name},
                         {"state_bytes", bytes},       {"progress", std::move(counters)},
                         {"config", config},           {"units", describe_units(plan)},
                         {"chunks", std::move(chunks)}};
  return write_text_file((directory / manifest_file_name).string(), sealed(manifest));
}

// What one rank does of a checkpoint while the others wait; all go on or all stop.
Result<void> by_first_rank(comm::Communicator* ranks, const std::function<Result<void>()>& work) {
  if (ranks == nullptr) return work();
  return comm::agree(*ranks, ranks->rank() == 0 ? work() : Result<void>());
}

// Chunks of all ranks, unit by unit.
Result<json> all_chunks(comm::Communicator& ranks, const json& own) {
  FATHOM_ASSIGN(const std::vector<std::string> texts, ranks.gather_text(own.dump()));
  std::vector<json> chunks;
  for (const std::string& text : texts)
    for (json& chunk : json::parse(text)) chunks.push_back(std::move(chunk));
  std::ranges::sort(chunks, {}, [](const json& chunk) {
    return std::pair(chunk["unit"].get<std::uint64_t>(), chunk["first"].get<std::uint64_t>());
  });
  return json(std::move(chunks));
}

Result<void> write_step(const fs::path& directory, Residence& residence, const Progress& progress,
                        const json& config, comm::Communicator* ranks) {
  const Plan& plan = residence.plan();
  // Without partitions the first rank has everything.
  const bool together = ranks != nullptr && plan.input.partitions() > 1;
  const std::string path = (directory / state_file_name).string();
  const std::uint64_t own = state_bytes(plan), all = own * (together ? plan.input.world : 1);
  std::optional<StateFile> file;
  FATHOM_CHECK(by_first_rank(ranks, [&]() -> Result<void> {
    FATHOM_ASSIGN(file, StateFile::create(path, all));
    return {};
  }));
  json chunks = json::array();
  const auto write_own = [&]() -> Result<void> {
    if (!file && !together) return {};
    if (!file) {
      FATHOM_ASSIGN(file, StateFile::join(path, plan.input.rank * own));
    }
    FATHOM_ASSIGN(chunks, write_chunks(*file, residence));
    return file->sync();
  };
  const Result<void> written = write_own();
  if (ranks != nullptr) FATHOM_CHECK(comm::agree(*ranks, written));
  FATHOM_CHECK(written);
  if (together) {
    FATHOM_ASSIGN(chunks, all_chunks(*ranks, chunks));
  }
  return by_first_rank(ranks, [&] {
    return write_manifest(directory, plan, all, progress, config, std::move(chunks));
  });
}

}  // namespace

json describe_units(const Plan& plan) {
  json units = json::array();
  for (std::size_t u = 0; u < plan.units.size(); ++u) {
    const models::UnitSpec& spec = plan.input.model.units[u];
    json parameters = json::array();
    for (std::size_t p = 0; p < spec.parameters.size(); ++p)
      parameters.push_back({{"name", spec.parameters[p].name},
                            {"shape", spec.parameters[p].shape},
                            {"offset", plan.units[u].flat.offsets[p]}});
    units.push_back({{"name", spec.name},
                     {"elements", plan.units[u].flat.elements},
                     {"parameters", std::move(parameters)}});
  }
  return units;
}

Result<std::string> write_checkpoint(const std::string& directory, Residence& residence,
                                     const Progress& progress, const json& config,
                                     comm::Communicator* ranks) {
  const std::string name = step_directory_name(progress.step);
  const fs::path final_path = fs::path(directory) / name;
  const fs::path partial = fs::path(directory) / (name + ".partial");
  std::error_code ignored;
  FATHOM_CHECK(by_first_rank(ranks, [&]() -> Result<void> {
    FATHOM_CHECK(make_directories(directory));
    fs::remove_all(partial, ignored);
    return make_directories(partial.string());
  }));
  if (auto written = write_step(partial, residence, progress, config, ranks); !written) {
    fs::remove_all(partial, ignored);
    return fail(std::move(written).error());
  }
  FATHOM_CHECK(by_first_rank(ranks, [&]() -> Result<void> {
    // A step that was run again replaces its predecessor in one exchange: `latest` never dangles.
    const unsigned exchange = fs::exists(final_path) ? RENAME_EXCHANGE : 0;
    if (::renameat2(AT_FDCWD, partial.c_str(), AT_FDCWD, final_path.c_str(), exchange) != 0)
      return fail(Error(Errc::io, "commit the checkpoint")
                      .on(final_path.string())
                      .because_errno(errno)
                      .remedy("check the --out directory"));
    FATHOM_CHECK(sync_directory(directory));
    return write_text_file((fs::path(directory) / latest_file_name).string(), name + "\n");
  }));
  return final_path.string();
}

}  // namespace fathom::engine
