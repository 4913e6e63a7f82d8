// SPDX-License-Identifier: Apache-2.0
//
// Section: one kind of state of a partition, and how many bytes of it an element takes.
//
// Formats      split bf16 training  W 2 | lo 2 | m 4 | v 4     (exact fp32 master as W and lo)
//              fp32 training        W 4 |      | m 4 | v 4
//              fp16 training        W 2 | lo 4 | m 4 | v 4     (lo is the whole fp32 master)
//              An optimizer without one of the states m and v has no such section.
//              inference            W 2 or 4
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fathom::swap {

enum class Section : std::uint8_t { W, lo, m, v };
inline constexpr std::size_t section_count = 4;
inline constexpr std::array<Section, section_count> all_sections = {Section::W, Section::lo,
                                                                    Section::m, Section::v};
const char* to_string(Section section);

constexpr std::size_t index(Section section) { return static_cast<std::size_t>(section); }

// A set of sections.
using SectionMask = std::uint8_t;
constexpr SectionMask mask(Section section) {
  return static_cast<SectionMask>(1U << index(section));
}
inline constexpr SectionMask weights_mask = mask(Section::W);
inline constexpr SectionMask states_mask = mask(Section::lo) | mask(Section::m) | mask(Section::v);
constexpr bool has(SectionMask set, Section section) { return (set & mask(section)) != 0; }

// Bytes of each section per element; 0: the section does not exist in this format.
struct SectionBytes {
  std::array<std::uint8_t, section_count> bytes{};

  constexpr std::uint64_t of(Section section) const { return bytes[index(section)]; }
  constexpr std::uint64_t of(SectionMask set) const {
    std::uint64_t sum = 0;
    for (const Section section : all_sections)
      if (has(set, section)) sum += of(section);
    return sum;
  }
  constexpr SectionMask present() const {
    SectionMask set = 0;
    for (const Section section : all_sections)
      if (of(section) != 0) set |= mask(section);
    return set;
  }
};

inline constexpr SectionBytes split_bf16_sections{{2, 2, 4, 4}};
inline constexpr SectionBytes fp32_sections{{4, 0, 4, 4}};
inline constexpr SectionBytes fp16_sections{{2, 4, 4, 4}};
inline constexpr SectionBytes weights16_sections{{2, 0, 0, 0}};
inline constexpr SectionBytes weights32_sections{{4, 0, 0, 0}};

}  // namespace fathom::swap
