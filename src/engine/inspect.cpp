// SPDX-License-Identifier: Apache-2.0
#include "engine/inspect.hpp"

#include "engine/checkpoint.hpp"

namespace fathom::engine {

using nlohmann::json;

namespace {

// A durable store has two slots for every section; what is not committed is not live.
void add_other_slots(const swap::StoreReader& store, const Checkpoint& checkpoint, json& extents) {
  for (swap::ChunkId c = 0; c < store.layout().chunks().size(); ++c) {
    const swap::Chunk& chunk = store.layout().chunk(c);
    for (const swap::Section section : swap::all_sections) {
      if (!swap::has(chunk.stored, section)) continue;
      const std::uint8_t slot =
          store.record().slots[c * swap::section_count + swap::index(section)].slot;
      extents.push_back({{"path", store.path(c)},
                         {"offset", store.files().slot_offset(chunk, slot ^ 1) +
                                        store.layout().section_offset(c, section)},
                         {"bytes", store.layout().payload_bytes(c, section)},
                         {"unit", checkpoint.units().at(chunk.unit).name},
                         {"section", swap::to_string(section)},
                         {"live", false}});
    }
  }
}

}  // namespace

Result<Inspection> inspect(const std::string& path, bool verify) {
  // Looking at what a run is doing does no harm; reading blocks needs them to stay.
  FATHOM_ASSIGN(const Checkpoint checkpoint,
                Checkpoint::open(path, verify ? swap::Access::read : swap::Access::look));
  Inspection inspection;
  json extents = json::array(), units = json::array();
  std::uint64_t bytes = 0, parameters = 0;
  for (const Checkpoint::Chunk& chunk : checkpoint.chunks())
    for (const Checkpoint::Section& section : chunk.sections) {
      const std::string& unit = checkpoint.units().at(chunk.unit).name;
      extents.push_back({{"path", checkpoint.path_of(chunk)},
                         {"offset", section.offset},
                         {"bytes", section.bytes},
                         {"unit", unit},
                         {"section", section.name},
                         {"live", true}});
      bytes += section.bytes;
      if (!verify) continue;
      if (auto read = checkpoint.read(chunk, section); !read)
        inspection.damage.push_back(read.error().message());
      if (auto checked = checkpoint.check_padding(chunk, section); !checked)
        inspection.damage.push_back(checked.error().message());
    }
  for (const Checkpoint::Unit& unit : checkpoint.units()) {
    json list = json::array();
    for (const Checkpoint::Parameter& parameter : unit.parameters) {
      list.push_back({{"name", parameter.name}, {"shape", parameter.shape}});
      std::uint64_t count = 1;
      for (const std::int64_t size : parameter.shape) count *= static_cast<std::uint64_t>(size);
      parameters += count;
    }
    units.push_back(
        {{"name", unit.name}, {"elements", unit.elements}, {"parameters", std::move(list)}});
  }
  if (const swap::StoreReader* store = checkpoint.store())
    add_other_slots(*store, checkpoint, extents);
  inspection.document = {{"path", checkpoint.path()},
                         {"store", checkpoint.store() != nullptr ? "durable" : "checkpoint"},
                         {"step", checkpoint.progress().step},
                         {"updates", checkpoint.progress().updates},
                         {"tokens", checkpoint.progress().tokens},
                         {"seed", checkpoint.progress().seed},
                         {"parameters", parameters},
                         {"bytes", bytes},
                         {"verified", verify},
                         {"damage", inspection.damage},
                         {"units", std::move(units)},
                         {"extents", std::move(extents)},
                         {"config", checkpoint.config()}};
  return inspection;
}

}  // namespace fathom::engine
