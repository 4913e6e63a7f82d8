// SPDX-License-Identifier: Apache-2.0
#include "engine/store_reference.hpp"

#include <filesystem>

#include "base/text_file.hpp"
#include "engine/manifest.hpp"

namespace fathom::engine {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr const char* format = "fathom-store-reference";
constexpr std::size_t most_directories = 4096;

}  // namespace

Result<std::optional<StoreReference>> read_store_reference(const std::string& directory) {
  const std::string path = (fs::path(directory) / store_reference_name).string();
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  FATHOM_ASSIGN(const std::string text, read_text_file(path));
  FATHOM_ASSIGN(const json read, unsealed(text, path));
  const auto bad = [&](const char* why) {
    return fail(Error(Errc::corrupt, "find a run's store")
                    .on(path)
                    .because(why)
                    .remedy("give the store's own directory instead of the run's"));
  };
  if (read.value("format", json()) != format || read.value("version", json()) != 1)
    return bad("its format or version is not this program's");
  const json id = read.value("id", json()), directories = read.value("directories", json());
  if (!id.is_string() || !directories.is_array() || directories.empty() ||
      directories.size() > most_directories)
    return bad("it does not name a store");
  StoreReference reference{.id = id, .directories = {}};
  for (const json& entry : directories) {
    if (!entry.is_string()) return bad("a directory in it is no text");
    reference.directories.push_back(entry);
  }
  return reference;
}

Result<void> write_store_reference(const std::string& directory, const StoreReference& reference) {
  return write_text_file((fs::path(directory) / store_reference_name).string(),
                         sealed({{"format", format},
                                 {"version", 1},
                                 {"id", reference.id},
                                 {"directories", reference.directories}}));
}

bool refers_to(const swap::Owner& owner) {
  if (owner.output.empty()) return false;
  const auto reference = read_store_reference(owner.output);
  // One that can't be read might be this store's.
  if (!reference) return true;
  return reference->has_value() && (*reference)->id == owner.id.text();
}

}  // namespace fathom::engine
