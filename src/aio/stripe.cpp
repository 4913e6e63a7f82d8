// SPDX-License-Identifier: Apache-2.0
#include "aio/stripe.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

// What the pieces of one request share.
class Join {
 public:
  Join(std::size_t pieces, Completion completion)
      : left_(pieces), completion_(std::move(completion)) {}

  void done(std::uint64_t offset, Result<void> result) {
    {
      const std::lock_guard lock(mutex_);
      if (!result && offset < failed_at_) {
        failed_at_ = offset;
        error_ = std::move(result).error();
      }
      if (--left_ > 0) return;
    }
    if (!completion_) return;
    completion_(error_ ? Result<void>(fail(std::move(*error_))) : Result<void>());
  }

 private:
  std::mutex mutex_;
  std::size_t left_;
  std::uint64_t failed_at_ = std::numeric_limits<std::uint64_t>::max();
  std::optional<Error> error_;
  Completion completion_;
};

// How many of `length` chunks each path gets: its share, rounded by the largest remainders.
std::vector<std::uint32_t> share_out(const std::vector<double>& shares, std::size_t length) {
  std::vector<std::uint32_t> counts;
  std::vector<std::pair<double, std::size_t>> rests;
  std::size_t given = 0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const double exact = shares[i] * static_cast<double>(length);
    counts.push_back(static_cast<std::uint32_t>(exact));
    given += counts.back();
    rests.emplace_back(std::floor(exact) - exact, i);
  }
  std::ranges::sort(rests);
  for (std::size_t i = 0; given < length; ++i, ++given) ++counts[rests[i % rests.size()].second];
  return counts;
}

// The shortest deal that is close enough to the weights; the longest one if none is.
std::vector<std::uint32_t> deal_counts(const std::vector<double>& weights, std::size_t longest) {
  constexpr double close_enough = 0.005;  // of all bytes; measured rates are no better than that
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> shares;
  for (const double weight : weights) shares.push_back(weight / sum);
  for (std::size_t length = 1; length < longest; ++length) {
    auto counts = share_out(shares, length);
    double furthest = 0;
    for (std::size_t i = 0; i < shares.size(); ++i)
      furthest = std::max(furthest, std::abs(counts[i] / static_cast<double>(length) - shares[i]));
    if (furthest <= close_enough) return counts;
  }
  return share_out(shares, longest);
}

}  // namespace

Result<StripedFile> StripedFile::over(std::vector<StripePath> paths, std::uint64_t chunk) {
  const auto bad = [](std::string_view why) {
    return fail(Error(Errc::bad_config, "stripe a file over several paths").because(why));
  };
  if (paths.empty()) return bad("there is no path");
  if (!std::has_single_bit(chunk) || chunk < least_chunk || chunk > most_chunk)
    return bad(fmt::format("a chunk of {} bytes is no power of two from {} to {}", chunk,
                           least_chunk, most_chunk));
  std::vector<double> weights;
  for (const StripePath& path : paths) {
    FATHOM_ASSERT(path.queue != nullptr && path.file != nullptr, "a path has a queue and a file");
    if (!std::isfinite(path.weight) || path.weight <= 0)
      return bad(
          fmt::format("the weight {} of {} is not more than 0", path.weight, path.file->path()));
    weights.push_back(path.weight);
  }
  StripedFile whole;
  whole.chunk_ = chunk;
  whole.chunks_ = deal_counts(weights, longest_deal);
  const auto length = std::accumulate(whole.chunks_.begin(), whole.chunks_.end(), 0U);
  // Each chunk goes to the path that is furthest behind its share, so that a run of any length is
  // spread evenly.
  std::vector<std::uint32_t> given(paths.size(), 0);
  for (std::uint32_t at = 0; at < length; ++at) {
    std::size_t next = 0;
    double furthest = -std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < paths.size(); ++i) {
      const double behind = static_cast<double>(whole.chunks_[i]) * (at + 1) / length - given[i];
      if (given[i] == whole.chunks_[i] || behind <= furthest) continue;
      furthest = behind;
      next = i;
    }
    whole.deal_.push_back(static_cast<std::uint32_t>(next));
    whole.rank_.push_back(given[next]++);
  }
  std::uint64_t deals = std::numeric_limits<std::uint64_t>::max();
  for (std::size_t i = 0; i < paths.size(); ++i)
    if (whole.chunks_[i] > 0)
      deals = std::min(deals, paths[i].file->size() / (whole.chunks_[i] * chunk));
  if (deals == 0) return bad("the files hold less than one deal of chunks");
  whole.size_ = deals * length * chunk;
  whole.paths_ = std::move(paths);
  return whole;
}

StripedFile::Place StripedFile::place(std::uint64_t offset) const {
  const std::uint64_t index = offset / chunk_, deal = index / deal_.size();
  const std::size_t at = index % deal_.size(), path = deal_[at];
  return {path, (deal * chunks_[path] + rank_[at]) * chunk_ + offset % chunk_};
}

void StripedFile::submit(const Request& request, Completion completion) const {
  FATHOM_ASSERT(request.offset <= size_ && request.bytes <= size_ - request.offset,
                "a request lies inside the striped file");
  struct Piece {
    Place place;
    std::uint64_t first, bytes;
  };
  std::vector<Piece> pieces;
  for (std::uint64_t first = 0; first < request.bytes;) {
    const std::uint64_t offset = request.offset + first;
    const std::uint64_t bytes = std::min(request.bytes - first, chunk_ - offset % chunk_);
    const Place at = place(offset);
    if (!pieces.empty() && pieces.back().place.path == at.path &&
        pieces.back().place.offset + pieces.back().bytes == at.offset)
      pieces.back().bytes += bytes;
    else
      pieces.push_back({at, first, bytes});
    first += bytes;
  }
  if (pieces.empty()) pieces.push_back({place(0), 0, 0});
  const auto join = std::make_shared<Join>(pieces.size(), std::move(completion));
  for (const Piece& piece : pieces) {
    const StripePath& path = paths_[piece.place.path];
    Request part = request;
    part.file = path.file;
    part.offset = piece.place.offset;
    part.buffer = request.buffer == nullptr ? nullptr : request.buffer + piece.first;
    part.bytes = piece.bytes;
    path.queue->submit(part, [join, offset = piece.first](Result<void> result) {
      join->done(offset, std::move(result));
    });
  }
}

}  // namespace fathom::aio
