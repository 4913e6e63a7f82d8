// SPDX-License-Identifier: Apache-2.0
#include "models/charsmap.hpp"

#include <cstddef>

#include "models/unicode.hpp"
#include "models/utf8.hpp"

namespace fathom::models {
namespace {

// A cluster as long as this is looked at character by character, as the reference library does.
constexpr std::size_t long_cluster = 6;

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::optional<std::string> decode_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const auto place = alphabet.find(c);
    if (place == alphabet.npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(place);
    held += 6;
    if (held >= 8) {
      held -= 8;
      out += static_cast<char>(static_cast<unsigned char>(bits >> held & 0xFFU));
    }
  }
  return out;
}

std::uint32_t little_endian(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

// Fields of a unit of the double array.
bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1U) != 0; }
std::uint32_t value_of(std::uint32_t unit) { return unit & 0x7FFFFFFFU; }
std::uint32_t label_of(std::uint32_t unit) { return unit & 0x800000FFU; }
std::uint64_t offset_of(std::uint32_t unit) {
  return std::uint64_t{unit >> 10} << ((unit & 0x200U) >> 6);
}

}  // namespace

Result<Charsmap> Charsmap::from_base64(std::string_view text, PartPlace place) {
  const auto bytes = decode_base64(text);
  if (!bytes) return fail(malformed_part(place, "precompiled_charsmap is not base64"));
  if (bytes->size() < 4) return fail(malformed_part(place, "precompiled_charsmap is too short"));
  const std::uint32_t size = little_endian(*bytes, 0) / 4 * 4;
  if (size < 4 || size > bytes->size() - 4)
    return fail(malformed_part(place, "precompiled_charsmap is shorter than its trie"));
  Charsmap map;
  for (std::size_t at = 4; at < 4 + std::size_t{size}; at += 4)
    map.units_.push_back(little_endian(*bytes, at));
  map.texts_ = bytes->substr(4 + std::size_t{size});
  if (!is_valid_utf8(map.texts_))
    return fail(malformed_part(place, "precompiled_charsmap has texts that are not UTF-8"));
  return map;
}

std::optional<std::string_view> Charsmap::replacement(std::string_view text) const {
  std::uint64_t node = offset_of(units_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) break;
    node ^= byte;
    if (node >= units_.size() || label_of(units_[node]) != byte) break;
    const std::uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) break;
    const std::size_t at = value_of(units_[node]);
    // A damaged value must not cut a character.
    if (at > texts_.size() || (at < texts_.size() && is_utf8_continuation(texts_[at]))) break;
    return std::string_view(texts_).substr(at, texts_.find('\0', at) - at);
  }
  return std::nullopt;
}

std::string Charsmap::apply(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  Graphemes clusters(text);
  for (std::string_view cluster; !(cluster = clusters.next()).empty();) {
    if (cluster.size() < long_cluster) {
      if (const auto other = replacement(cluster)) {
        out += *other;
        continue;
      }
    }
    each_character(cluster, [&](std::string_view bytes, char32_t) {
      const auto other = replacement(bytes);
      out += other ? *other : bytes;
    });
  }
  return out;
}

}  // namespace fathom::models
