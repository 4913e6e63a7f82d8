// SPDX-License-Identifier: Apache-2.0
//
// A durable store's committed step, seen as a checkpoint.
#include <filesystem>

#include <fmt/format.h>

#include "engine/checkpoint.hpp"
#include "engine/store_reference.hpp"

namespace fathom::engine {

using nlohmann::json;

// A job directory of a store with several paths finds the others through its run's --out.
Result<Checkpoint> Checkpoint::open_job(const std::string& directory, swap::Access access) {
  FATHOM_ASSIGN(
      const swap::JobDirectory job,
      swap::JobDirectory::open(swap::FileCalls::real(), directory, swap::Access::look, 0));
  const std::string run = job.owner().output;
  std::vector<std::string> directories = {directory};
  if (const auto reference = read_store_reference(run);
      !run.empty() && reference && *reference && (*reference)->id == job.owner().id.text())
    directories = (*reference)->directories;
  FATHOM_ASSIGN(Checkpoint checkpoint, open_store(directories, access));
  checkpoint.run_ = run;
  return checkpoint;
}

Result<Checkpoint> Checkpoint::open_store(const std::vector<std::string>& directories,
                                          swap::Access access) {
  FATHOM_ASSIGN(swap::StoreReader reader, swap::StoreReader::open(directories, access));
  Checkpoint checkpoint;
  const swap::Layout& layout = reader.layout();
  const auto bad = [&](std::string_view why) {
    return fail(Error(Errc::corrupt, "read a store's description")
                    .on(reader.files().journal_path())
                    .because(why)
                    .remedy("use the Fathom version that wrote it"));
  };
  const json description = json::parse(reader.files().superblock().description, nullptr,
                                       /*allow_exceptions=*/false);
  if (!description.is_object()) return bad("it is not JSON");
  FATHOM_ASSIGN(checkpoint.units_, parse_units(description.value("units", json::array()),
                                               reader.files().journal_path()));
  checkpoint.config_ = description.value("config", json::object());
  if (checkpoint.units_.size() != layout.units()) return bad("it names another number of units");
  std::vector<std::string> names;
  for (std::uint32_t unit = 0; unit < layout.units(); ++unit) {
    const Unit& described = checkpoint.units_[unit];
    if (described.elements != reader.files().superblock().unit_elements[unit])
      return bad(fmt::format("it does not fit unit {}", described.name));
    names.push_back(described.name);
  }
  reader.name_units(std::move(names));
  const swap::CommitState& state = reader.record().state;
  checkpoint.progress_ = {state.step,        state.updates, state.tokens,
                          state.next_window, state.seed,    {}};
  if (state.scale_remainder != 0)
    checkpoint.progress_.loss_scale =
        config::LossScaleState{.scale = state.loss_scale,
                               .iteration = state.scale_iteration,
                               .last_overflow = state.scale_last_overflow,
                               .remainder = state.scale_remainder};
  for (swap::ChunkId c = 0; c < layout.chunks().size(); ++c) {
    const swap::Chunk& chunk = layout.chunk(c);
    Chunk made{chunk.unit, chunk.first, chunk.elements, {}};
    for (const swap::Section section : swap::all_sections)
      if (swap::has(chunk.stored, section))
        made.sections.push_back({swap::to_string(section),
                                 reader.offset(c, section),
                                 layout.payload_bytes(c, section),
                                 {}});
    checkpoint.chunks_.push_back(std::move(made));
  }
  checkpoint.path_ = checkpoint.state_path_ = directories.front();
  checkpoint.store_ = std::make_unique<swap::StoreReader>(std::move(reader));
  return checkpoint;
}

}  // namespace fathom::engine
