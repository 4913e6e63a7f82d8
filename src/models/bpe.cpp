// SPDX-License-Identifier: Apache-2.0
#include "models/bpe.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/log.hpp"
#include "models/decoder.hpp"
#include "models/tokenizer_part.hpp"
#include "models/utf8.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;
constexpr const char* part = "model";

std::uint64_t pair_key(TokenId left, TokenId right) { return std::uint64_t{left} << 32 | right; }

bool flag(const Json& json, const char* key) {
  const auto at = json.find(key);
  return at != json.end() && at->is_boolean() && at->get<bool>();
}

// Settings of BPE that change results and are not computed here.
Result<void> refuse_unsupported(const Json& json, std::string_view origin) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto at = json.find(key);
    if (at != json.end() && !at->is_null() &&
        !(at->is_string() && at->get_ref<const std::string&>().empty())) {
      return fail(unsupported_part({origin, part}, fmt::format("{} {}", key, at->dump()), "null"));
    }
  }
  const auto dropout = json.find("dropout");
  if (dropout != json.end() && !dropout->is_null() && *dropout != 0.0) {
    log::note(fmt::format("{}: dropout {} is ignored: the same text gets the same ids", origin,
                          dropout->dump()));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Bpe>> Bpe::from_json(const Json& json, std::string_view origin) {
  FATHOM_CHECK(refuse_unsupported(json, origin));
  auto bpe = std::make_unique<Bpe>();
  bpe->byte_fallback_ = flag(json, "byte_fallback");
  bpe->fuse_unknown_ = flag(json, "fuse_unk");
  bpe->ignore_merges_ = flag(json, "ignore_merges");
  FATHOM_ASSIGN(bpe->ids_, Vocabulary::from_json(json, origin));
  FATHOM_ASSIGN(bpe->unknown_, bpe->ids_.unknown(json, origin));
  bpe->find_byte_pieces();
  FATHOM_CHECK(bpe->read_merges(json, origin));
  // Cutting must not separate unknown characters that would fuse.
  const bool all_bytes = std::ranges::all_of(bpe->has_byte_, [](bool has) { return has; });
  bpe->may_cut_ = (bpe->byte_fallback_ && all_bytes) || !bpe->unknown_;
  return bpe;
}

void Bpe::find_byte_pieces() {
  for (std::size_t byte = 0; byte < bytes_.size(); ++byte) {
    // Only the spelling with capital digits is the byte's piece.
    if (const auto id = find(fmt::format("<0x{:02X}>", byte))) {
      bytes_[byte] = *id;
      has_byte_[byte] = true;
    }
  }
}

Result<void> Bpe::read_merges(const Json& json, std::string_view origin) {
  const auto list = json.find("merges");
  if (list == json.end() || !list->is_array()) {
    return fail(malformed_part({origin, part}, "it has no merges"));
  }
  merges_.reserve(list->size());
  std::uint32_t rank = 0;
  for (const Json& entry : *list) {
    std::string left, right;
    if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      left = entry[0].get<std::string>();
      right = entry[1].get<std::string>();
    } else if (entry.is_string()) {
      const std::string& both = entry.get_ref<const std::string&>();
      const std::size_t space = both.find(' ');
      if (space != std::string::npos && both.find(' ', space + 1) == std::string::npos) {
        left = both.substr(0, space);
        right = both.substr(space + 1);
      }
    }
    const auto a = find(left), b = find(right), joined = find(left + right);
    if (left.empty() || right.empty() || !a || !b || !joined) {
      return fail(malformed_part(
          {origin, part}, fmt::format("merge {} ({}) does not join two pieces of vocab to a third",
                                      rank, entry.dump())));
    }
    // Of a pair that is listed twice the later rank counts, as in the reference library.
    merges_.insert_or_assign(pair_key(*a, *b), Merge{rank, *joined});
    note_junctions(left, right);
    ++rank;
  }
  return {};
}

void Bpe::note_junctions(const std::string& left, const std::string& right) {
  const auto mark = [&](int last, int first) {
    junctions_.set(static_cast<std::size_t>(last) * 256 + static_cast<std::size_t>(first));
  };
  // A byte piece stands for its byte as well as for its spelling.
  const int left_byte = fallback_byte(left), right_byte = fallback_byte(right);
  const int last = static_cast<unsigned char>(left.back());
  const int first = static_cast<unsigned char>(right.front());
  for (const int a : {last, left_byte}) {
    for (const int b : {first, right_byte}) {
      if (a >= 0 && b >= 0) mark(a, b);
    }
  }
}

const Bpe::Merge* Bpe::merge_of(TokenId left, TokenId right) const {
  const auto at = merges_.find(pair_key(left, right));
  return at == merges_.end() ? nullptr : &at->second;
}

void Bpe::to_symbols(std::string_view text, std::vector<Symbol>& symbols) const {
  symbols.clear();
  const auto push = [&](TokenId id) {
    const auto index = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({id, index - 1, index + 1, true});
  };
  // An unknown waits for its neighbours; byte pieces overtake it, as in the reference library.
  bool waiting = false;
  const auto flush = [&] {
    if (std::exchange(waiting, false)) push(*unknown_);
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_unit(text, at).length;
    const std::string_view character = text.substr(at, length);
    at += length;
    if (const auto id = find(character)) {
      flush();
      push(*id);
      continue;
    }
    const auto has = [&](char c) { return has_byte_[static_cast<unsigned char>(c)]; };
    if (byte_fallback_ && std::ranges::all_of(character, has)) {
      for (const char c : character) push(bytes_[static_cast<unsigned char>(c)]);
    } else if (unknown_) {
      if (!fuse_unknown_) flush();
      waiting = true;
    }
  }
  flush();
  if (!symbols.empty()) symbols.back().next = -1;
}

void Bpe::encode_segment(std::string_view text, Scratch& scratch, std::vector<TokenId>& out) const {
  auto& [symbols, heap] = scratch;
  to_symbols(text, symbols);
  heap.clear();
  const auto push = [&](std::int32_t at) {
    const Symbol& left = symbols[static_cast<std::size_t>(at)];
    const TokenId right = symbols[static_cast<std::size_t>(left.next)].id;
    if (const Merge* merge = merge_of(left.id, right)) {
      heap.push_back({merge->rank, at, left.id, right});
      return true;
    }
    return false;
  };
  const auto after = std::greater<>();
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) push(static_cast<std::int32_t>(i));
  std::ranges::make_heap(heap, after);

  while (!heap.empty()) {
    std::ranges::pop_heap(heap, after);
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[static_cast<std::size_t>(best.at)];
    // The pair may have changed since it was noted.
    if (!left.alive || left.id != best.left || left.next < 0) continue;
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    if (right.id != best.right) continue;
    left.id = merge_of(best.left, best.right)->id;
    right.alive = false;
    left.next = right.next;
    if (left.next >= 0) {
      symbols[static_cast<std::size_t>(left.next)].previous = best.at;
      if (push(best.at)) std::ranges::push_heap(heap, after);
    }
    if (left.previous >= 0 && push(left.previous)) std::ranges::push_heap(heap, after);
  }
  for (std::int32_t at = symbols.empty() ? -1 : 0; at >= 0;
       at = symbols[static_cast<std::size_t>(at)].next) {
    out.push_back(symbols[static_cast<std::size_t>(at)].id);
  }
}

void Bpe::encode(std::string_view text, std::vector<TokenId>& out) const {
  if (ignore_merges_) {
    if (const auto whole = find(text)) {
      out.push_back(*whole);
      return;
    }
  }
  // Positions in a segment are 32-bit; without cuts the longest is cut there.
  constexpr std::size_t longest = std::numeric_limits<std::int32_t>::max() / 4;
  Scratch scratch;
  std::size_t begin = 0;
  for (std::size_t i = 1; i <= text.size(); ++i) {
    bool cut = i == text.size();
    if (!cut && !is_utf8_continuation(text[i])) {
      const std::size_t junction =
          static_cast<std::size_t>(static_cast<unsigned char>(text[i - 1])) * 256 +
          static_cast<unsigned char>(text[i]);
      cut = (may_cut_ && !junctions_[junction]) || i - begin > longest;
    }
    if (!cut) continue;
    encode_segment(text.substr(begin, i - begin), scratch, out);
    begin = i;
  }
}

}  // namespace fathom::models
