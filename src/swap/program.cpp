// SPDX-License-Identifier: Apache-2.0
#include "swap/program.hpp"

#include <limits>
#include <utility>

#include "base/assert.hpp"

namespace fathom::swap {

Program::Edges::Edges(const std::vector<Node>& nodes, std::uint32_t lag)
    : first(nodes.size() + 1, 0) {
  for (const Node& node : nodes)
    for (const Dependency& on : node.after)
      if (on.lag == lag) ++first[on.node + 1];
  for (std::size_t i = 1; i < first.size(); ++i) first[i] += first[i - 1];
  targets.resize(first.back());
  std::vector<std::size_t> next(first.begin(), first.end() - 1);
  for (NodeId id = 0; id < nodes.size(); ++id)
    for (const Dependency& on : nodes[id].after)
      if (on.lag == lag) targets[next[on.node]++] = id;
}

Program::Program(std::vector<Node> nodes) : nodes_(std::move(nodes)) {
  FATHOM_ASSERT(nodes_.size() <= std::numeric_limits<NodeId>::max(), "node ids fit in 32 bits");
  for (NodeId id = 0; id < nodes_.size(); ++id) {
    for (const Dependency& on : nodes_[id].after) {
      FATHOM_ASSERT(on.node < nodes_.size(), "a dependency names a node of the program");
      FATHOM_ASSERT(on.lag <= 1, "a dependency reaches back one pass at most");
      // Earlier nodes only: the program can then be run in order, so it cannot wait for itself.
      FATHOM_ASSERT(on.lag == 1 || on.node < id, "within a pass a node comes after earlier ones");
    }
  }
  same_pass_ = Edges(nodes_, 0);
  next_pass_ = Edges(nodes_, 1);
}

}  // namespace fathom::swap
