// SPDX-License-Identifier: Apache-2.0
#include "models/sentencepiece_model.hpp"

#include <utility>

#include <sentencepiece_processor.h>

#include "base/units.hpp"
#include "models/text_file.hpp"

namespace fathom::models {
namespace {
constexpr std::uint64_t model_limit = 512 * MiB;
}

struct SentencePieceModel::Library {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel(std::unique_ptr<Library> library)
    : library_(std::move(library)) {}
SentencePieceModel::~SentencePieceModel() = default;

Result<std::unique_ptr<SentencePieceModel>> SentencePieceModel::load(
    const std::filesystem::path& file) {
  FATHOM_ASSIGN(const std::string bytes, read_text_file(file, model_limit));
  auto library = std::make_unique<Library>();
  const auto status = library->processor.LoadFromSerializedProto(bytes);
  if (!status.ok() || library->processor.GetPieceSize() <= 0)
    return fail(Error(Errc::bad_input, "read a tokenizer")
                    .on(file.string())
                    .because(status.ok() ? "it has no pieces" : status.ToString())
                    .remedy("fetch the file again"));
  return std::unique_ptr<SentencePieceModel>(new SentencePieceModel(std::move(library)));
}

std::vector<SentencePieceModel::Piece> SentencePieceModel::pieces() const {
  const auto& processor = library_->processor;
  std::vector<Piece> all;
  for (int id = 0; id < processor.GetPieceSize(); ++id)
    all.push_back({processor.IdToPiece(id), processor.IsControl(id) || processor.IsUnknown(id)});
  return all;
}

std::optional<TokenId> SentencePieceModel::begin_id() const {
  const int id = library_->processor.bos_id();
  return id < 0 ? std::nullopt : std::optional(static_cast<TokenId>(id));
}

std::optional<TokenId> SentencePieceModel::end_id() const {
  const int id = library_->processor.eos_id();
  return id < 0 ? std::nullopt : std::optional(static_cast<TokenId>(id));
}

void SentencePieceModel::encode(std::string_view text, std::vector<TokenId>& out) const {
  std::vector<int> ids;
  // A loaded model encodes any text; the status can't be anything but ok.
  if (!library_->processor.Encode({text.data(), text.size()}, &ids).ok()) return;
  for (const int id : ids) out.push_back(static_cast<TokenId>(id));
}

std::string SentencePieceModel::decode(std::span<const TokenId> ids) const {
  const std::vector<int> plain(ids.begin(), ids.end());
  std::string text;
  if (!library_->processor.Decode(plain, &text).ok()) text.clear();
  return text;
}

}  // namespace fathom::models
