// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/text_file.hpp"
#include "engine/checkpoint_format.hpp"
#include "engine/store_reference.hpp"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

Error damaged(const std::string& path, std::string_view why) {
  return Error(Errc::corrupt, "read a checkpoint")
      .on(path)
      .because(why)
      .remedy("use another checkpoint; this one was changed or damaged after it was written");
}

}  // namespace

bool Checkpoint::exists(const std::string& directory) {
  std::error_code ignored;  // a path that can't be looked at is refused when it is written to
  return fs::exists(fs::path(directory) / latest_file_name, ignored) ||
         fs::exists(fs::path(directory) / store_reference_name, ignored);
}

Result<Checkpoint> Checkpoint::open(const std::string& path, swap::Access access) {
  fs::path step = path;
  if (!step.has_filename()) step = step.parent_path();  // "DIR/"
  std::error_code ignored;
  FATHOM_ASSIGN(const auto reference, read_store_reference(step.string()));
  if (reference) {
    FATHOM_ASSIGN(Checkpoint checkpoint, open_store(reference->directories, access));
    checkpoint.run_ = step.string();
    return checkpoint;
  }
  if (fs::exists(step / swap::journal_file_name, ignored)) return open_job(step.string(), access);
  // The file itself that names the step.
  const fs::path pointer = fs::is_regular_file(step, ignored) ? step : step / latest_file_name;
  if (!fs::exists(step / manifest_file_name, ignored)) {
    auto latest = read_text_file(pointer.string());
    if (!latest)
      return fail(Error(Errc::not_found, "open a checkpoint")
                      .on(path)
                      .because("it has neither manifest.json nor a file named latest")
                      .remedy("give the --out directory of a training run"));
    while (!latest->empty() && latest->back() == '\n') latest->pop_back();
    if (latest->empty() || latest->find('/') != std::string::npos)
      return fail(damaged(pointer.string(), "it does not name a step directory"));
    step = pointer.parent_path() / *latest;
  }
  Checkpoint checkpoint;
  checkpoint.path_ = step.string();
  // The model's small files lie beside the step directories.
  checkpoint.run_ = step.has_parent_path() ? step.parent_path().string() : ".";
  const std::string manifest_path = (step / manifest_file_name).string();
  FATHOM_ASSIGN(const std::string text, read_text_file(manifest_path));
  FATHOM_ASSIGN(Manifest manifest, parse_manifest(text, manifest_path));
  checkpoint.progress_ = manifest.progress;
  checkpoint.config_ = std::move(manifest.config);
  checkpoint.units_ = std::move(manifest.units);
  checkpoint.chunks_ = std::move(manifest.chunks);
  checkpoint.state_path_ = (step / manifest.state_file).string();
  checkpoint.fd_ = UniqueFd(::open(checkpoint.state_path_.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info{};
  if (!checkpoint.fd_ || ::fstat(checkpoint.fd_.get(), &info) != 0)
    return fail(Error(Errc::io, "open a checkpoint")
                    .on(checkpoint.state_path_)
                    .because_errno(errno)
                    .remedy("restore the file beside its manifest"));
  if (static_cast<std::uint64_t>(info.st_size) != manifest.state_bytes)
    return fail(damaged(checkpoint.state_path_, fmt::format("it has {} bytes, its manifest says {}",
                                                            info.st_size, manifest.state_bytes)));
  return checkpoint;
}

std::string Checkpoint::path_of(const Chunk& chunk) const {
  return store_ ? store_->path(id_of(chunk)) : state_path_;
}

Result<void> Checkpoint::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  for (std::uint64_t at = 0; at < out.size();) {
    const ssize_t got =
        ::pread(fd_.get(), out.data() + at, out.size() - at, static_cast<off_t>(offset + at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      return fail(Error(Errc::io, "read a checkpoint")
                      .on(fmt::format("{} at offset {}", state_path_, offset + at))
                      .because_errno(got < 0 ? errno : EIO)
                      .remedy("check the disk"));
    at += static_cast<std::uint64_t>(got);
  }
  return {};
}

Result<void> Checkpoint::check_padding(const Chunk& chunk, const Section& section) const {
  if (store_) return {};  // its blocks cover their padding
  const std::uint64_t end = section.offset + section.bytes;
  std::vector<std::byte> padding(round_up(end, io_alignment) - end);
  FATHOM_CHECK(read_at(end, padding));
  const auto bad = std::find_if(padding.begin(), padding.end(),
                                [](std::byte value) { return value != std::byte{0}; });
  if (bad == padding.end()) return {};
  return fail(
      damaged(state_path_, fmt::format("unit {}, section {}, the padding at offset {} is not zero",
                                       units_.at(chunk.unit).name, section.name,
                                       end + static_cast<std::uint64_t>(bad - padding.begin()))));
}

Result<std::vector<std::byte>> Checkpoint::read(const Chunk& chunk, const Section& section) const {
  if (store_) {
    for (const swap::Section kind : swap::all_sections) {
      if (section.name != swap::to_string(kind)) continue;
      FATHOM_ASSIGN(std::vector<std::byte> bytes, store_->read(id_of(chunk), kind));
      bytes.resize(section.bytes);
      return bytes;
    }
  }
  std::vector<std::byte> bytes(section.bytes);
  FATHOM_CHECK(read_at(section.offset, bytes));
  for (std::uint64_t at = 0, block = 0; at < section.bytes; at += checkpoint_block_bytes, ++block) {
    const std::uint64_t count = std::min(checkpoint_block_bytes, section.bytes - at);
    if (XXH3_64bits_withSeed(bytes.data() + at, count, section.offset + at) !=
        section.hashes.at(block))
      return fail(damaged(
          state_path_,
          fmt::format("unit {}, section {}, {} bytes at offset {} are not what was written",
                      units_.at(chunk.unit).name, section.name, count, section.offset + at)));
  }
  return bytes;
}

SectionReader::SectionReader(const Checkpoint& checkpoint, std::string section)
    : checkpoint_(checkpoint), section_(std::move(section)) {}

std::uint64_t SectionReader::element_bytes() const {
  const Checkpoint::Chunk& chunk = checkpoint_.chunks().front();
  for (const Checkpoint::Section& section : chunk.sections)
    if (section.name == section_) return section.bytes / chunk.elements;
  return 0;
}

Result<void> SectionReader::read(std::uint32_t unit, std::uint64_t first, std::span<std::byte> out,
                                 std::uint64_t element_bytes) {
  while (!out.empty()) {
    if (held_ == nullptr || held_->unit != unit || first < held_->first ||
        first >= held_->first + held_->elements) {
      held_ = nullptr;
      for (const Checkpoint::Chunk& chunk : checkpoint_.chunks())
        if (chunk.unit == unit && first >= chunk.first && first < chunk.first + chunk.elements)
          held_ = &chunk;
      if (held_ == nullptr)
        return fail(damaged(checkpoint_.state_path(),
                            fmt::format("unit {} has no element {}", unit, first)));
      for (const Checkpoint::Section& section : held_->sections)
        if (section.name == section_) {
          FATHOM_ASSIGN(bytes_, checkpoint_.read(*held_, section));
        }
    }
    const std::uint64_t at = (first - held_->first) * element_bytes;
    const std::uint64_t count = std::min<std::uint64_t>(out.size(), bytes_.size() - at);
    std::memcpy(out.data(), bytes_.data() + at, count);
    out = out.subspan(count);
    first += count / element_bytes;
  }
  return {};
}

namespace {

// The run of another world may end in more or fewer zeros behind its last parameter.
bool same_parameters(const Checkpoint::Unit& unit, const Plan& plan, std::size_t index) {
  const FlatUnit& flat = plan.units[index].flat;
  if (unit.parameters.size() != flat.offsets.size() || unit.elements < flat.used) return false;
  for (std::size_t p = 0; p < flat.offsets.size(); ++p)
    if (unit.parameters[p].offset != flat.offsets[p] ||
        unit.parameters[p].shape != plan.input.model.units[index].parameters[p].shape)
      return false;
  return true;
}

}  // namespace

Result<void> load_checkpoint(const Checkpoint& checkpoint, Residence& residence) {
  const Plan& plan = residence.plan();
  const auto mismatch = [&](std::string_view why) {
    return fail(Error(Errc::bad_input, "resume from a checkpoint")
                    .on(checkpoint.path())
                    .because(why)
                    .remedy("resume with the model, precision and optimizer that the run was "
                            "started with"));
  };
  if (checkpoint.units().size() != plan.units.size())
    return mismatch("it holds a model with another number of units");
  for (std::size_t u = 0; u < plan.units.size(); ++u)
    if (!same_parameters(checkpoint.units()[u], plan, u))
      return mismatch(fmt::format("its unit {} has another size", checkpoint.units()[u].name));
  std::vector<SectionReader> readers;
  for (const swap::Section section : swap::all_sections) {
    readers.emplace_back(checkpoint, swap::to_string(section));
    if (readers.back().element_bytes() != plan.layout.sections().of(section))
      return mismatch("it was trained in another precision or with another optimizer");
  }
  for (swap::ChunkId c = 0; c < plan.chunks.size(); ++c) {
    const swap::Chunk& chunk = plan.layout.chunk(c);
    const std::uint64_t first = plan.first_element(c);
    const std::uint64_t end = std::max(first, checkpoint.units()[chunk.unit].elements);
    const std::uint64_t there = std::min(chunk.elements, end - first);
    FATHOM_ASSIGN(const ChunkView view, residence.visit(c, /*read=*/false));
    std::byte* address[] = {view.weights, reinterpret_cast<std::byte*>(view.low),
                            reinterpret_cast<std::byte*>(view.m),
                            reinterpret_cast<std::byte*>(view.v)};
    for (const swap::Section section : swap::all_sections) {
      const std::uint64_t width = plan.layout.sections().of(section);
      if (width == 0) continue;
      std::byte* const to = address[swap::index(section)];
      FATHOM_CHECK(
          readers[swap::index(section)].read(chunk.unit, first, {to, there * width}, width));
      std::memset(to + there * width, 0, (chunk.elements - there) * width);
    }
    FATHOM_CHECK(residence.store_chunk(c));
  }
  return {};
}

}  // namespace fathom::engine
