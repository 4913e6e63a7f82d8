// SPDX-License-Identifier: Apache-2.0
#include "comm/progress.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace fathom::comm {
namespace {

std::string whereabouts(const std::optional<Progress>& progress) {
  if (!progress) return "never started";
  if (progress->left) return fmt::format("left after collective {}", progress->done);
  if (progress->doing.empty()) return fmt::format("busy since collective {}", progress->done);
  return fmt::format("in collective {}, {}", progress->done + 1, progress->doing);
}

std::string names(const std::vector<std::size_t>& ranks) {
  return fmt::format("{} {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks, ", "));
}

}  // namespace

std::string encode(const Progress& progress) {
  return fmt::format("{} {} {} {} {}", progress.beat, progress.entered, progress.done,
                     progress.left ? 1 : 0, progress.doing);
}

std::optional<Progress> decode_progress(std::string_view text) {
  std::uint64_t fields[4] = {};
  for (std::uint64_t& field : fields) {
    const auto [rest, status] = std::from_chars(text.data(), text.data() + text.size(), field);
    if (status != std::errc() || rest == text.data() + text.size() || *rest != ' ')
      return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(rest - text.data()) + 1);
  }
  return Progress{.beat = fields[0],
                  .entered = fields[1],
                  .done = fields[2],
                  .left = fields[3] != 0,
                  .doing = std::string(text)};
}

Error late_error(const Board& board, std::uint64_t number, std::string_view what, double seconds) {
  std::vector<std::size_t> missing;
  for (std::size_t rank = 0; rank < board.size(); ++rank)
    if (!board[rank] || board[rank]->entered < number) missing.push_back(rank);
  const bool issued = missing.empty();
  if (issued) {
    // All have called it (on GPUs a call only enqueues): the slowest holds the others up.
    std::uint64_t least = number;
    for (const auto& progress : board) least = std::min(least, progress->done);
    for (std::size_t rank = 0; rank < board.size(); ++rank)
      if (board[rank]->done == least) missing.push_back(rank);
  }
  std::vector<std::string> notes;
  for (const std::size_t rank : missing)
    notes.push_back(fmt::format("rank {}: {}", rank, whereabouts(board[rank])));
  const std::string blame =
      issued ? fmt::format(
                   "every rank called it and it did not complete within {:g} s; furthest "
                   "behind: {}",
                   seconds, names(missing))
             : fmt::format("{} did not arrive within {:g} s", names(missing), seconds);
  return Error(Errc::timeout, what)
      .on(fmt::format("collective {} of {} ranks", number, board.size()))
      .because(fmt::format("{} ({})", blame, fmt::join(notes, "; ")))
      .remedy(
          "look at what these ranks printed last; FATHOM_COLLECTIVE_TIMEOUT=SECONDS allows more "
          "time");
}

Error dead_error(int rank, const Progress& last, double seconds) {
  return Error(Errc::cancelled, "go on without a rank")
      .on(fmt::format("rank {}", rank))
      .because(
          fmt::format("it has given no sign of life for {:g} s ({})", seconds, whereabouts(last)))
      .remedy("see why its process ended: its output, the kernel's log, its machine");
}

Error left_error(int rank, const Progress& last, std::uint64_t number) {
  return Error(Errc::cancelled, "go on without a rank")
      .on(fmt::format("rank {}", rank))
      .because(
          fmt::format("it ended after collective {} while others are at {}", last.done, number))
      .remedy("see in its output why it ended early");
}

}  // namespace fathom::comm
