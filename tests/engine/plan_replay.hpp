// SPDX-License-Identifier: Apache-2.0
//
// Replay: runs a plan's programs in a random order that program.hpp allows, and checks that every
// such order is right.
//
// Each operation begins and ends; between the two it holds the bytes that it reads and writes.
// Checked: no two live operations share bytes that one of them writes; what is read is what must be
// there (the newest weights, the states of that chunk, the gradient of that pass, the input of that
// block); an update finds everything in the memory of its resource; at the end what rests is what
// was last computed. Which bytes an operation touches is worked out here from its fields, not taken
// from the dependencies.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "engine/plan/plan.hpp"

namespace fathom::engine::testing_replay {

class Replay {
 public:
  // Contents as after a pass (`pending`: lazy units wait for their update) or before any.
  Replay(const Plan& plan, unsigned seed, bool pending);

  // Runs `passes` passes of a program and drains it. Steady and flush need pending gradients.
  void run(const StepProgram& program, std::uint32_t passes);

  // Everything that rests is the newest.
  void check_rest();

  // The first complaints; empty: all is right.
  const std::string& problems() const { return problems_; }

 private:
  struct Tag {
    char kind = ' ';  // W weights, S states, G gradient, A accumulator, I input, D its gradient, F
                      // fp32 copy
    std::uint32_t id = 0;
    std::int64_t version = 0;
    bool operator==(const Tag&) const = default;
  };
  struct Range {
    std::uint32_t space = 0;  // 0 host, 1 device, then one a chunk's section in its file
    std::uint64_t begin = 0, end = 0;
  };
  struct Access {
    Range range;
    bool write = false;
    bool checked = false;  // `tag` must be there before
    Tag tag = {};
    Tag after = {};  // of a write
  };
  struct Live {
    std::size_t instance = 0;
    std::vector<Access> accesses;
  };
  struct Stored {
    std::uint64_t end = 0;
    Tag tag;
  };

  std::vector<Access> accesses(const Op& op, std::int64_t pass);
  void copied(const Op& op, std::vector<Access>& out);
  Range buffer(BufferId id, std::uint64_t offset, std::uint64_t bytes) const;
  Range weights(BufferId id, std::uint32_t unit) const;
  Range file(swap::ChunkId chunk, bool states) const;
  Range inputs(const Op& op, bool in, std::uint32_t unit) const;
  void begin(std::size_t instance, const Op& op, std::int64_t pass);
  void end(std::size_t at);
  void put(const Range& range, const Tag& tag);
  bool holds(const Range& range, const Tag& tag) const;
  Tag content(const Range& range) const;
  void problem(const std::string& what, const Op& op);
  bool cuda() const { return plan_.input.on_cuda(); }

  const Plan& plan_;
  std::mt19937 random_;
  std::vector<std::map<std::uint64_t, Stored>> spaces_;
  std::vector<std::int64_t> weights_, states_;  // newest versions, by chunk
  std::vector<Live> live_;
  std::int64_t pass_ = 0;
  std::string problems_;
};

}  // namespace fathom::engine::testing_replay
