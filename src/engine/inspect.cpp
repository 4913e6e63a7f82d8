// SPDX-License-Identifier: Apache-2.0
#include "engine/inspect.hpp"

#include "engine/checkpoint.hpp"

namespace fathom::engine {

using nlohmann::json;

Result<Inspection> inspect(const std::string& path, bool verify) {
  FATHOM_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(path));
  Inspection inspection;
  json extents = json::array(), units = json::array();
  std::uint64_t bytes = 0, parameters = 0;
  for (const Checkpoint::Chunk& chunk : checkpoint.chunks())
    for (const Checkpoint::Section& section : chunk.sections) {
      const std::string& unit = checkpoint.units().at(chunk.unit).name;
      extents.push_back({{"path", checkpoint.state_path()},
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
  inspection.document = {{"path", checkpoint.path()},
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
