// SPDX-License-Identifier: Apache-2.0
//
// Nearest name: what a mistyped word was probably meant to be. Pure.
//
// Threads      Free functions without state.
// Units        Edits: one insertion, removal, replacement, or swap of neighbours of a byte.
//
//   const std::string_view names[] = {"block_size", "queue_depth"};
//   nearest_name("block_sise", names)  -> "block_size"
//   nearest_name("colour", names)      -> nothing
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace fathom::config {

// Optimal string alignment distance, ASCII letters compared without case.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate at the smallest distance, the first one on a tie, if it is at most 2 edits or a
// third of the longer name away, and nearer than a rewrite of the whole name.
std::optional<std::string_view> nearest_name(std::string_view name,
                                             std::span<const std::string_view> candidates);

}  // namespace fathom::config
