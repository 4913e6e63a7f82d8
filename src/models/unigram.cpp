// SPDX-License-Identifier: Apache-2.0
#include "models/unigram.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/tokenizer_part.hpp"
#include "models/utf8.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;
constexpr const char* part = "model";
constexpr double unknown_penalty = 10;

}  // namespace

Result<std::unique_ptr<Unigram>> Unigram::from_json(const Json& json, std::string_view origin) {
  const auto malformed = [&](std::string_view why) {
    return fail(malformed_part({origin, part}, why));
  };
  const auto vocab = json.find("vocab");
  if (vocab == json.end() || !vocab->is_array() || vocab->size() >= token_id_limit)
    return malformed("it has no vocab");
  auto model = std::make_unique<Unigram>();
  double least = std::numeric_limits<double>::infinity();
  for (const Json& entry : *vocab) {
    const auto id = static_cast<TokenId>(model->pieces_.size());
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      return malformed(fmt::format("entry {} of vocab is no piece with a score", id));
    model->pieces_.push_back(entry[0].get<std::string>());
    model->scores_.push_back(entry[1].get<double>());
    model->ids_.add(model->pieces_.back(), id);
    least = std::min(least, model->scores_.back());
  }
  for (TokenId id = 0; id < model->pieces_.size(); ++id)
    if (!model->pieces_[id].empty() && model->ids_.find(model->pieces_[id]) == id)
      model->sorted_.push_back(id);
  std::ranges::sort(model->sorted_,
                    [&](TokenId a, TokenId b) { return model->pieces_[a] < model->pieces_[b]; });
  const auto unknown = json.find("unk_id");
  if (unknown == json.end() || !unknown->is_number_unsigned())
    return fail(unsupported_part({origin, part}, "a Unigram without unk_id", "unk_id"));
  if (unknown->get<std::uint64_t>() >= model->pieces_.size())
    return malformed("unk_id is not an entry of vocab");
  model->unknown_ = unknown->get<TokenId>();
  model->unknown_score_ = least - unknown_penalty;
  const auto fallback = json.find("byte_fallback");
  model->byte_fallback_ = fallback != json.end() && *fallback == true;
  return model;
}

std::vector<Unigram::Step> Unigram::best_path(std::string_view text) const {
  std::vector<Step> best(text.size() + 1);
  const auto offer = [&](std::size_t begin, std::size_t end, TokenId id, double score) {
    if (best[end].begin < 0 || score > best[end].score)
      best[end] = {score, static_cast<std::int64_t>(begin), id};
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t character = utf8_unit(text, at).length;
    const double here = best[at].score;
    bool whole_character = false;
    // The pieces that begin with the text's next `length` bytes: a range that narrows.
    auto low = sorted_.begin(), high = sorted_.end();
    for (std::size_t length = 1; at + length <= text.size(); ++length) {
      const auto byte = [&](TokenId id) {
        return static_cast<int>(static_cast<unsigned char>(pieces_[id][length - 1]));
      };
      const int wanted = static_cast<unsigned char>(text[at + length - 1]);
      low = std::partition_point(
          low, high, [&](TokenId id) { return pieces_[id].size() < length || byte(id) < wanted; });
      high = std::partition_point(low, high, [&](TokenId id) { return byte(id) == wanted; });
      if (low == high) break;
      if (pieces_[*low].size() == length) {
        offer(at, at + length, *low, scores_[*low] + here);
        whole_character |= length == character;
      }
    }
    if (!whole_character) offer(at, at + character, unknown_, unknown_score_ + here);
    at += character;
  }
  return best;
}

void Unigram::push_piece(std::string_view piece, std::vector<TokenId>& out) const {
  if (const auto id = ids_.find(piece)) {
    out.push_back(*id);
    return;
  }
  if (byte_fallback_) {
    const std::size_t before = out.size();
    for (const char c : piece) {
      const auto id = ids_.find(fmt::format("<0x{:02X}>", static_cast<unsigned char>(c)));
      if (!id) break;
      out.push_back(*id);
    }
    if (out.size() == before + piece.size()) return;
    out.resize(before);
  }
  out.push_back(unknown_);
}

void Unigram::encode(std::string_view text, std::vector<TokenId>& out) const {
  const std::vector<Step> best = best_path(text);
  std::vector<std::string_view> found;  // from the last to the first
  bool after_unknown = false;
  for (std::size_t end = text.size(); end > 0;) {
    const Step& step = best[end];
    const auto begin = static_cast<std::size_t>(step.begin);
    if (step.id == unknown_ && after_unknown) {
      found.back() = text.substr(begin, end - begin + found.back().size());
    } else {
      found.push_back(text.substr(begin, end - begin));
    }
    after_unknown = step.id == unknown_;
    end = begin;
  }
  for (auto piece = found.rbegin(); piece != found.rend(); ++piece) push_piece(*piece, out);
}

void Unigram::each_piece(const std::function<void(std::string_view, TokenId)>& each) const {
  for (TokenId id = 0; id < pieces_.size(); ++id) each(pieces_[id], id);
}

}  // namespace fathom::models
