// SPDX-License-Identifier: Apache-2.0
//
// Program: the nodes of a Swapper as a graph that can be walked both ways.
//
// Purpose      Checks the nodes once and lists, for each, what it comes after and what comes after
// it
//              in the same and in the next pass, so that completing a node costs its own edges
//              only.
// Ownership    Owns the nodes; borrows the buffers that their transfers name.
// Threads      Immutable.
//
//   const Program program(std::move(nodes));
//   for (NodeId next : program.same_pass(node)) …
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "swap/node.hpp"

namespace fathom::swap {

class Program {
 public:
  explicit Program(std::vector<Node> nodes);

  std::size_t size() const { return nodes_.size(); }

  // The node's transfer; null when the engine computes it.
  const TransferRequest* transfer(NodeId node) const {
    return nodes_[node].transfer ? &*nodes_[node].transfer : nullptr;
  }
  bool asynchronous(NodeId node) const { return nodes_[node].asynchronous; }
  std::span<const Dependency> after(NodeId node) const { return nodes_[node].after; }

  // Nodes that come after `node` with lag 0, and with lag 1. A node that names `node` twice is
  // listed twice.
  std::span<const NodeId> same_pass(NodeId node) const { return same_pass_.of(node); }
  std::span<const NodeId> next_pass(NodeId node) const { return next_pass_.of(node); }

 private:
  // Adjacency lists end to end: those of node n are targets[first[n], first[n + 1]).
  struct Edges {
    Edges() = default;
    Edges(const std::vector<Node>& nodes, std::uint32_t lag);
    std::span<const NodeId> of(NodeId node) const {
      return std::span(targets).subspan(first[node], first[node + 1] - first[node]);
    }
    std::vector<std::size_t> first;
    std::vector<NodeId> targets;
  };

  std::vector<Node> nodes_;
  Edges same_pass_, next_pass_;
};

}  // namespace fathom::swap
