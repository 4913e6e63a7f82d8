// SPDX-License-Identifier: Apache-2.0
#include "engine/manifest.hpp"

#include <charconv>
#include <exception>

#include <fmt/format.h>
#include <xxhash.h>

namespace fathom::engine {
namespace {

using nlohmann::json;

std::string manifest_hash(std::string_view body) {
  return fmt::format("{:016x}", XXH3_64bits_withSeed(body.data(), body.size(), checkpoint_version));
}

Error damaged(const std::string& path, std::string_view why) {
  return Error(Errc::corrupt, "read a checkpoint")
      .on(path)
      .because(why)
      .remedy("use another checkpoint; this one was changed or damaged after it was written");
}

// Numbers must be numbers and not negative: JSON's own conversion would wrap them.
std::uint64_t number(const json& value) {
  if (!value.is_number_unsigned()) throw std::invalid_argument("a number in it is none");
  return value.get<std::uint64_t>();
}

std::uint64_t hexadecimal(const json& value) {
  const auto& text = value.get_ref<const std::string&>();
  std::uint64_t hash = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), hash, 16);
  if (status != std::errc() || end != text.data() + text.size())
    throw std::invalid_argument("a hash in it is none");
  return hash;
}

// Elements of the shape, at most `most`; more when they are more.
std::uint64_t count_of(const std::vector<std::int64_t>& shape, std::uint64_t most) {
  std::uint64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 0) return most + 1;
    const auto extent = static_cast<std::uint64_t>(size);
    if (extent != 0 && count > most / extent) return most + 1;
    count *= extent;
  }
  return count;
}

// May throw; what it says is caught below.
std::vector<ManifestUnit> read_units(const json& units) {
  std::vector<ManifestUnit> read;
  for (const json& unit : units) {
    ManifestUnit made{unit.at("name"), number(unit.at("elements")), {}};
    if (made.elements >= std::uint64_t{1} << 48)
      throw std::invalid_argument("a unit in it is impossibly large");
    for (const json& parameter : unit.at("parameters")) {
      ManifestParameter p{parameter.at("name"), parameter.at("shape"),
                          number(parameter.at("offset"))};
      if (p.offset > made.elements || count_of(p.shape, made.elements) > made.elements - p.offset)
        throw std::invalid_argument(
            fmt::format("parameter {} leaves its unit {}", p.name, made.name));
      made.parameters.push_back(std::move(p));
    }
    read.push_back(std::move(made));
  }
  return read;
}

ManifestChunk read_chunk(const json& chunk, const Manifest& manifest) {
  const std::uint64_t unit = number(chunk.at("unit"));
  if (unit >= manifest.units.size()) throw std::invalid_argument("a chunk in it has no unit");
  ManifestChunk read{static_cast<std::uint32_t>(unit),
                     number(chunk.at("first")),
                     number(chunk.at("elements")),
                     {}};
  const std::uint64_t elements = manifest.units[unit].elements;
  if (read.first > elements || read.elements == 0 || read.elements > elements - read.first)
    throw std::invalid_argument("a chunk in it leaves its unit");
  for (const json& section : chunk.at("sections")) {
    ManifestSection made{
        section.at("name"), number(section.at("offset")), number(section.at("bytes")), {}};
    if (made.offset > manifest.state_bytes || made.bytes > manifest.state_bytes - made.offset)
      throw std::invalid_argument("a section in it leaves the state file");
    if (made.bytes == 0 || made.bytes % read.elements != 0 || made.bytes / read.elements > 8)
      throw std::invalid_argument("a section in it has another size than its chunk");
    for (const json& hash : section.at("xxh3")) made.hashes.push_back(hexadecimal(hash));
    if (made.hashes.size() != ceil_div(made.bytes, checkpoint_block_bytes))
      throw std::invalid_argument("a section in it has another number of hashes than blocks");
    read.sections.push_back(std::move(made));
  }
  return read;
}

}  // namespace

std::string sealed(const json& manifest) {
  std::string body = manifest.dump(1) + "\n";
  return body + manifest_hash(body) + "\n";
}

Result<json> unsealed(std::string_view text, const std::string& path) {
  constexpr std::size_t seal_bytes = 17;  // 16 hexadecimal digits and a newline
  if (text.size() <= seal_bytes) return fail(damaged(path, "it is too short"));
  const std::string_view body = text.substr(0, text.size() - seal_bytes);
  if (text.substr(body.size()) != manifest_hash(body) + "\n")
    return fail(damaged(path, "its last line is not the hash of the rest"));
  json manifest = json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (manifest.is_discarded() || !manifest.is_object())
    return fail(damaged(path, "it is not JSON"));
  return manifest;
}

Result<std::vector<ManifestUnit>> parse_units(const json& units, const std::string& path) {
  try {
    return read_units(units);
  } catch (const std::exception& exception) {
    return fail(damaged(path, exception.what()));
  }
}

Result<Manifest> parse_manifest(std::string_view text, const std::string& path) {
  FATHOM_ASSIGN(const json read, unsealed(text, path));
  // The seal is no secret: who can write the file can seal it.
  try {
    if (read.at("format") != checkpoint_magic || read.at("version") != checkpoint_version)
      return fail(Error(Errc::unsupported, "open a checkpoint")
                      .on(path)
                      .because("its format or version is not this program's")
                      .remedy("use the Fathom version that wrote it"));
    Manifest manifest;
    const json& progress = read.at("progress");
    manifest.progress = {static_cast<std::int64_t>(number(progress.at("step"))),
                         static_cast<std::int64_t>(number(progress.at("updates"))),
                         number(progress.at("tokens")),
                         number(progress.at("next_window")),
                         number(progress.at("seed")),
                         {}};
    if (const auto scale = progress.find("loss_scale"); scale != progress.end())
      manifest.progress.loss_scale =
          config::LossScaleState{.scale = scale->at("scale"),
                                 .iteration = scale->at("iteration"),
                                 .last_overflow = scale->at("last_overflow"),
                                 .remainder = scale->at("remainder")};
    manifest.config = read.at("config");
    manifest.state_bytes = number(read.at("state_bytes"));
    manifest.state_file = read.at("state_file");
    if (manifest.state_file.empty() || manifest.state_file.find('/') != std::string::npos ||
        manifest.state_file.find('\0') != std::string::npos || manifest.state_file == "..")
      throw std::invalid_argument("its state file is not a name");
    manifest.units = read_units(read.at("units"));
    for (const json& chunk : read.at("chunks"))
      manifest.chunks.push_back(read_chunk(chunk, manifest));
    if (manifest.chunks.empty()) throw std::invalid_argument("it has no chunks");
    return manifest;
  } catch (const std::exception& exception) {
    return fail(damaged(path, exception.what()));
  }
}

}  // namespace fathom::engine
