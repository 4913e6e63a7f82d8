// SPDX-License-Identifier: Apache-2.0
//
// RandomProgram: a seeded program for a Swapper and the model that says what it must read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "swap/scratch.hpp"
#include "swap/swapper.hpp"

namespace fathom::swap {

// A random program over a few buffers and chunks with exactly the dependencies that its accesses
// call for, and a sequential model of what each buffer and section must hold.
class RandomProgram {
 public:
  static constexpr std::uint32_t chunks = 5, buffer_count = 4;

  RandomProgram(std::uint64_t seed, const Layout& layout) : layout_(layout), random_(seed) {
    for (std::uint32_t i = 0; i < buffer_count; ++i) buffers_.emplace_back(layout.chunk(0).bytes);
    const std::size_t count = 10 + random_() % 30;
    for (std::size_t i = 0; i < count; ++i) operations_.push_back(random_operation());
    // Analysing two passes end to end shows the dependencies within a pass and on the one before.
    std::vector<Node> nodes(count);
    for (std::size_t at = count; at < 2 * count; ++at) {
      Node& node = nodes[at - count];
      const Operation& operation = operations_[at - count];
      if (operation.kind != Kind::compute)
        node.transfer =
            TransferRequest{.direction = operation.kind == Kind::read ? aio::Direction::read
                                                                      : aio::Direction::write,
                            .chunk = operation.chunk,
                            .sections = operation.sections,
                            .buffer = buffers_[operation.buffer].data()};
      for (std::size_t earlier = at - count; earlier < at; ++earlier) {
        if (!conflict(operations_[earlier % count], operation)) continue;
        node.after.push_back({static_cast<NodeId>(earlier % count), earlier < count ? 1U : 0U});
      }
    }
    nodes_ = std::move(nodes);
    for (std::uint32_t i = 0; i < buffer_count; ++i)
      model_buffers_.emplace_back(layout.chunk(0).bytes);
    for (ChunkId chunk = 0; chunk < chunks; ++chunk) {
      model_store_.emplace_back(layout.chunk(chunk).bytes);
      fill(model_store_.back(), chunk);
    }
  }

  const std::vector<Node>& nodes() const { return nodes_; }

  // Runs one pass; the model goes through the same operations one after the other. Returns the
  // swapper's failure; wrong bytes fail the test.
  Result<void> run(Swapper& swapper) {
    for (NodeId id = 0; id < operations_.size(); ++id) {
      const Operation& operation = operations_[id];
      std::vector<std::byte>& model = model_buffers_[operation.buffer];
      if (operation.kind == Kind::compute) {
        FATHOM_CHECK(swapper.wait(id));
        Buffer& buffer = buffers_[operation.buffer];
        EXPECT_TRUE(std::equal(buffer.begin(), buffer.end(), model.begin())) << "node " << id;
        fill(buffer.slice(0, buffer.size()), ++stamp_);
        fill(model, stamp_);
        swapper.complete(id);
        continue;
      }
      const std::uint64_t bytes = layout_.padded_bytes(operation.chunk, operation.sections);
      std::byte* const section =
          model_store_[operation.chunk].data() +
          layout_.section_offset(operation.chunk, first_of(operation.sections));
      if (operation.kind == Kind::read)
        std::copy_n(section, bytes, model.begin());
      else
        std::copy_n(model.begin(), bytes, section);
    }
    return {};
  }

  // Chunks of the store that do not hold what the model holds, or cannot be read.
  std::size_t differing_chunks(Store& store) {
    std::size_t count = 0;
    Buffer buffer(layout_.chunk(0).bytes);
    for (ChunkId chunk = 0; chunk < chunks; ++chunk) {
      const Result<void> done =
          store.transfer_and_wait({.chunk = chunk, .sections = 15, .buffer = buffer.data()});
      if (!done || !std::equal(buffer.begin(), buffer.end(), model_store_[chunk].begin())) ++count;
    }
    return count;
  }

 private:
  enum class Kind : std::uint8_t { read, write, compute };
  struct Operation {
    Kind kind = Kind::compute;
    std::uint32_t buffer = 0;
    ChunkId chunk = 0;
    SectionMask sections = 0;
  };

  static Section first_of(SectionMask set) {
    for (const Section section : all_sections)
      if (has(set, section)) return section;
    return Section::v;
  }

  Operation random_operation() {
    Operation operation;
    operation.kind = static_cast<Kind>(random_() % 3);
    operation.buffer = random_() % buffer_count;
    if (operation.kind == Kind::compute) return operation;
    operation.chunk = random_() % chunks;
    const unsigned first = random_() % 4, last = first + random_() % (4 - first);
    for (unsigned section = first; section <= last; ++section)
      operation.sections |= mask(all_sections[section]);
    return operation;
  }

  // Two operations must keep their order when they touch the same bytes and one changes them.
  static bool conflict(const Operation& a, const Operation& b) {
    const bool buffer = a.buffer == b.buffer && (a.kind != Kind::write || b.kind != Kind::write);
    const bool stored = a.kind != Kind::compute && b.kind != Kind::compute && a.chunk == b.chunk &&
                        (a.sections & b.sections) != 0 &&
                        (a.kind == Kind::write || b.kind == Kind::write);
    return buffer || stored;
  }

  const Layout& layout_;
  std::mt19937_64 random_;
  std::vector<Buffer> buffers_;
  std::vector<Operation> operations_;
  std::vector<Node> nodes_;
  std::vector<std::vector<std::byte>> model_buffers_, model_store_;
  std::uint64_t stamp_ = 1000;
};

}  // namespace fathom::swap
