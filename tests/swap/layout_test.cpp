// SPDX-License-Identifier: Apache-2.0
#include "swap/layout.hpp"

#include <algorithm>
#include <random>
#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace fathom::swap {
namespace {

// A layout somebody might ask for: any format, units from empty to many chunks, several paths, and
// a placement that keeps some sections in memory.
LayoutInput random_input(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&](std::uint64_t n) { return random() % n; };
  LayoutInput input;
  constexpr std::array formats = {split_bf16_sections, fp32_sections, weights16_sections,
                                  weights32_sections};
  input.sections = formats[below(formats.size())];
  input.chunk_elements = 4096 * (1 + below(600));
  const std::uint64_t units = below(12);
  for (std::uint64_t unit = 0; unit < units; ++unit) {
    const std::uint64_t kind = below(4);
    input.unit_elements.push_back(kind == 0   ? below(3)
                                  : kind == 1 ? input.chunk_elements * below(4)
                                              : below(12 * input.chunk_elements));
  }
  input.path_weights.clear();
  const std::uint64_t paths = 1 + below(4);
  for (std::uint64_t path = 0; path < paths; ++path)
    input.path_weights.push_back(0.25 + static_cast<double>(below(1000)) / 100);
  if (below(2) == 0) {
    input.stored = [seed](std::uint32_t unit, std::uint32_t chunk) {
      return static_cast<SectionMask>((seed * 31 + unit * 7 + chunk * 3) % 16);
    };
  }
  return input;
}

class LayoutOfRandomInput : public testing::TestWithParam<std::uint64_t> {
 protected:
  LayoutInput input_ = random_input(GetParam());
  Layout layout_ = Layout::build(input_);
};

TEST_P(LayoutOfRandomInput, CutsEveryUnitIntoConsecutiveChunks) {
  ASSERT_EQ(layout_.units(), input_.unit_elements.size());
  ChunkId expected = 0;
  for (std::uint32_t unit = 0; unit < layout_.units(); ++unit) {
    EXPECT_EQ(layout_.first_chunk(unit), expected);
    std::uint64_t elements = 0;
    for (ChunkId id = layout_.first_chunk(unit); id < layout_.end_chunk(unit); ++id) {
      const Chunk& chunk = layout_.chunk(id);
      EXPECT_EQ(chunk.unit, unit);
      EXPECT_EQ(chunk.first, elements);
      EXPECT_GT(chunk.elements, 0U);
      EXPECT_LE(chunk.elements, input_.chunk_elements);
      const bool last = id + 1 == layout_.end_chunk(unit);
      EXPECT_TRUE(last || chunk.elements == input_.chunk_elements);
      elements += chunk.elements;
    }
    EXPECT_EQ(elements, input_.unit_elements[unit]);
    expected = layout_.end_chunk(unit);
  }
  EXPECT_EQ(expected, layout_.chunks().size());
}

TEST_P(LayoutOfRandomInput, ExtentsAreAlignedInsideTheirFileAndDisjoint) {
  std::vector<std::vector<std::pair<std::uint64_t, std::uint64_t>>> extents(
      layout_.file_bytes().size());
  for (const Chunk& chunk : layout_.chunks()) {
    if (chunk.bytes == 0) continue;
    ASSERT_LT(chunk.path, extents.size());
    EXPECT_EQ(chunk.offset % extent_alignment, 0U);
    EXPECT_LE(chunk.offset + chunk.bytes, layout_.file_bytes()[chunk.path]);
    extents[chunk.path].emplace_back(chunk.offset, chunk.offset + chunk.bytes);
  }
  for (std::size_t path = 0; path < extents.size(); ++path) {
    std::ranges::sort(extents[path]);
    std::uint64_t end = 0, spent = 0;
    for (const auto& [first, last] : extents[path]) {
      EXPECT_GE(first, end);
      end = last;
      spent += round_up(last - first, extent_alignment);
    }
    // No space but the extents and what aligns them.
    EXPECT_EQ(layout_.file_bytes()[path], spent);
  }
}

TEST_P(LayoutOfRandomInput, StoresTheSectionsAskedForAndTheirBytesOnly) {
  std::vector<std::uint32_t> in_unit(layout_.units(), 0);
  for (ChunkId id = 0; id < layout_.chunks().size(); ++id) {
    const Chunk& chunk = layout_.chunk(id);
    const std::uint32_t nth = in_unit[chunk.unit]++;
    const SectionMask present = input_.sections.present();
    const SectionMask asked = input_.stored ? input_.stored(chunk.unit, nth) : present;
    EXPECT_EQ(chunk.stored, asked & present);
    std::uint64_t bytes = 0;
    for (const Section section : all_sections) {
      const std::uint64_t payload = chunk.elements * input_.sections.of(section);
      EXPECT_EQ(layout_.payload_bytes(id, section), payload);
      EXPECT_EQ(layout_.padded_bytes(id, section), (payload + 4095) / 4096 * 4096);
      if (has(chunk.stored, section)) bytes += layout_.padded_bytes(id, section);
    }
    EXPECT_EQ(chunk.bytes, bytes);
    EXPECT_TRUE(chunk.stored != 0 || chunk.bytes == 0);
  }
}

TEST_P(LayoutOfRandomInput, SectionsFollowEachOtherInTheOrderOfTheirKinds) {
  for (ChunkId id = 0; id < layout_.chunks().size(); ++id) {
    std::uint64_t end = 0;
    for (const Section section : {Section::W, Section::lo, Section::m, Section::v}) {
      if (!has(layout_.chunk(id).stored, section)) continue;
      EXPECT_EQ(layout_.section_offset(id, section), end);
      EXPECT_EQ(end % io_alignment, 0U);
      end += layout_.padded_bytes(id, section);
    }
    EXPECT_EQ(end, layout_.chunk(id).bytes);
  }
}

TEST_P(LayoutOfRandomInput, ContiguousSetsLieInABufferAsInTheExtent) {
  for (ChunkId id = 0; id < layout_.chunks().size(); ++id) {
    const SectionMask stored = layout_.chunk(id).stored;
    for (SectionMask set = 0; set < 16; ++set) {
      std::uint64_t first = 0, last = 0, sum = 0;
      bool any = false;
      for (const Section section : all_sections) {
        if (!has(set & stored, section)) continue;
        if (!any) first = layout_.section_offset(id, section);
        any = true;
        last = layout_.section_offset(id, section) + layout_.padded_bytes(id, section);
        sum += layout_.padded_bytes(id, section);
      }
      // Neighbours leave no gap between the first byte and the last.
      EXPECT_EQ(layout_.contiguous(id, set), any && last - first == sum)
          << "chunk " << id << " stored " << int{stored} << " set " << int{set};
      if (!layout_.contiguous(id, set) || (set & ~stored) != 0) continue;
      EXPECT_EQ(layout_.padded_bytes(id, set), sum);
      for (const Section section : all_sections) {
        if (!has(set, section)) continue;
        EXPECT_EQ(layout_.buffer_offset(id, set, section),
                  layout_.section_offset(id, section) - first);
      }
    }
  }
}

TEST_P(LayoutOfRandomInput, GivesEachPathItsShareToWithinOneChunkAtEveryPoint) {
  double weights = 0;
  for (const double weight : input_.path_weights) weights += weight;
  std::vector<double> given(input_.path_weights.size(), 0.0);
  double total = 0, largest = 0;
  for (const Chunk& chunk : layout_.chunks()) {
    if (chunk.bytes == 0) continue;
    const auto extent = static_cast<double>(round_up(chunk.bytes, extent_alignment));
    given[chunk.path] += extent;
    total += extent;
    largest = std::max(largest, extent);
    for (std::size_t path = 0; path < given.size(); ++path)
      EXPECT_NEAR(given[path], total * input_.path_weights[path] / weights, largest * 1.000001);
  }
}

TEST_P(LayoutOfRandomInput, IsTheSameEveryTime) {
  const Layout again = Layout::build(input_);
  ASSERT_EQ(again.chunks().size(), layout_.chunks().size());
  for (ChunkId id = 0; id < layout_.chunks().size(); ++id) {
    EXPECT_EQ(again.chunk(id).path, layout_.chunk(id).path);
    EXPECT_EQ(again.chunk(id).offset, layout_.chunk(id).offset);
    EXPECT_EQ(again.chunk(id).bytes, layout_.chunk(id).bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, LayoutOfRandomInput, testing::Range<std::uint64_t>(0, 60));

TEST(Layout, PutsATrainedChunkWhereTheFormatSays) {
  const Layout layout = Layout::build(
      {.unit_elements = {4096 + 100}, .chunk_elements = 4096, .sections = split_bf16_sections});
  ASSERT_EQ(layout.chunks().size(), 2U);
  EXPECT_EQ(layout.chunk(0).bytes, 4096U * 12);
  EXPECT_EQ(layout.section_offset(0, Section::lo), 4096U * 2);
  EXPECT_EQ(layout.section_offset(0, Section::m), 4096U * 4);
  EXPECT_EQ(layout.section_offset(0, Section::v), 4096U * 8);
  EXPECT_EQ(layout.chunk(1).offset, 2 * MiB);
  EXPECT_EQ(layout.chunk(1).bytes, 4U * 4096);  // four sections of at most 400 bytes
  EXPECT_EQ(layout.payload_bytes(1, states_mask), 100U * 10);
  EXPECT_EQ(layout.file_bytes()[0], 4 * MiB);
}

TEST(Layout, AlternatesBetweenEqualPathsSoThatARunOfChunksKeepsBothBusy) {
  const Layout layout = Layout::build({.unit_elements = {8 * MiB},
                                       .chunk_elements = MiB,
                                       .sections = split_bf16_sections,
                                       .path_weights = {1, 1}});
  for (ChunkId id = 0; id < 8; ++id) EXPECT_EQ(layout.chunk(id).path, id % 2);
}

TEST(Layout, GivesAPathOfWeightZeroNothing) {
  const Layout layout = Layout::build({.unit_elements = {8 * MiB},
                                       .chunk_elements = MiB,
                                       .sections = weights16_sections,
                                       .path_weights = {0, 3}});
  EXPECT_EQ(layout.file_bytes()[0], 0U);
  EXPECT_EQ(layout.file_bytes()[1], 16 * MiB);
}

TEST(LayoutDeathTest, RefusesToPlaceASectionThatIsNotStored) {
  const Layout layout =
      Layout::build({.unit_elements = {4096}, .chunk_elements = 4096, .sections = fp32_sections});
  EXPECT_DEATH(static_cast<void>(layout.section_offset(0, Section::lo)), "one of the set");
}

}  // namespace
}  // namespace fathom::swap
