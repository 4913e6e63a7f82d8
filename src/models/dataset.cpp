// SPDX-License-Identifier: Apache-2.0
#include "models/dataset.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <system_error>
#include <type_traits>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/assert.hpp"
#include "base/unique_fd.hpp"
#include "base/units.hpp"
#include "models/record.hpp"
#include "models/text_file.hpp"

namespace fathom::models {
namespace {

constexpr std::uint64_t text_limit = 64 * GiB;

Error unusable(Errc code, const std::filesystem::path& file) {
  return Error(code, "read data").on(file.string());
}

}  // namespace

Result<std::vector<std::filesystem::path>> data_files(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return fail(unusable(Errc::not_found, path)
                    .because("there is no such file or directory")
                    .remedy("give an existing file or directory to --data"));
  }
  if (!std::filesystem::is_directory(status)) return std::vector{path};
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const bool hidden = entry.path().filename().string().starts_with('.');
    if (!hidden && entry.is_regular_file(error)) files.push_back(entry.path());
  }
  if (error) return fail(unusable(Errc::io, path).because(error.message()));
  std::ranges::sort(files);
  if (files.empty()) {
    return fail(unusable(Errc::bad_input, path).because("the directory holds no regular file"));
  }
  return files;
}

Result<Dataset> Dataset::open(const std::filesystem::path& path, const Tokenizer& tokenizer,
                              const DatasetOptions& options) {
  FATHOM_ASSERT(options.sequence_length > 0 && options.vocabulary > 0, "data options are not set");
  Dataset data;
  data.options_ = options;
  if (options.eos && static_cast<std::uint64_t>(*options.eos) >= options.vocabulary)
    data.options_.eos.reset();
  if (options.packing == Packing::eos && !data.options_.eos) {
    return fail(Error(Errc::bad_config, "join documents with EOS")
                    .on("--pack eos")
                    .because("the model's config.json has no eos_token_id in its vocabulary")
                    .remedy("add it there, or use --pack join"));
  }
  if (options.vocabulary > std::uint64_t{std::numeric_limits<std::uint16_t>::max()} + 1) {
    data.ids_ = std::vector<std::uint32_t>();
  }
  FATHOM_ASSIGN(const std::vector<std::filesystem::path> files, data_files(path));
  for (const std::filesystem::path& file : files) FATHOM_CHECK(data.add(file, tokenizer));
  std::visit([](auto& ids) { ids.shrink_to_fit(); }, data.ids_);

  if (data.tokens() == 0) {
    return fail(
        unusable(Errc::bad_input, path).because("it is empty").remedy("give data with text"));
  }
  data.cut();
  if (data.order_.rows == 0) {
    const std::uint64_t window = options.sequence_length + 1;
    return fail(unusable(Errc::bad_input, path)
                    .because(fmt::format("its {} tokens are fewer than one window of {} (sequence "
                                         "length {} and one more), or none of a row is learned",
                                         data.tokens(), window, options.sequence_length))
                    .remedy("give more data or another --seq-len, or use --pack pad"));
  }
  if (data.windows() == 0) {
    return fail(unusable(Errc::bad_input, path)
                    .because(fmt::format("its {} rows fill no batch of {}, and "
                                         "dataloader_drop_last leaves out what fills none",
                                         data.order_.rows, options.batch))
                    .remedy("give more data or a smaller batch"));
  }
  return data;
}

Result<void> Dataset::add(const std::filesystem::path& file, const Tokenizer& tokenizer) {
  if (file.extension() == ".bin") return add_bin(file);
  if (file.extension() == ".jsonl") return add_jsonl(file, tokenizer);
  return add_text(file, tokenizer);
}

Result<void> Dataset::append(std::span<const TokenId> ids, std::uint64_t position,
                             const std::string& origin) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < options_.vocabulary) continue;
    return fail(
        Error(Errc::bad_input, "read data")
            .on(origin)
            .because(fmt::format("token {} at position {} is not below the model's vocabulary "
                                 "of {}",
                                 ids[i], position + i, options_.vocabulary))
            .remedy("use the tokenizer that belongs to the model"));
  }
  std::visit(
      [&](auto& all) {
        using Id = typename std::decay_t<decltype(all)>::value_type;
        all.reserve(std::max(all.capacity(), std::bit_ceil(all.size() + ids.size())));
        for (const TokenId id : ids) all.push_back(static_cast<Id>(id));
      },
      ids_);
  return {};
}

Result<void> Dataset::add_text(const std::filesystem::path& file, const Tokenizer& tokenizer) {
  FATHOM_ASSIGN(const std::string text, read_text_file(file, text_limit));
  std::uint64_t position = 0;
  Result<void> result;
  tokenizer.encode_pieces(text, [&](std::span<const TokenId> ids) {
    if (result) result = append(ids, position, file.string());
    position += ids.size();
  });
  end_document(false);
  return result;
}

Result<void> Dataset::add_jsonl(const std::filesystem::path& file, const Tokenizer& tokenizer) {
  FATHOM_ASSIGN(const std::string text, read_text_file(file, text_limit));
  return for_each_line(text, [&](std::string_view line, std::uint64_t number) -> Result<void> {
    const std::string origin = fmt::format("{}, line {}", file.string(), number);
    FATHOM_ASSIGN(const Record record, read_record(line, origin, tokenizer));
    return add_record(record, origin);
  });
}

Result<void> Dataset::add_record(const Record& record, const std::string& origin) {
  const std::uint64_t begin = tokens();
  FATHOM_CHECK(append(record.ids, 0, origin));
  if (std::ranges::find(record.ignored, true) != record.ignored.end()) {
    ignored_.resize(begin, false);
    ignored_.insert(ignored_.end(), record.ignored.begin(), record.ignored.end());
  }
  end_document(record.needs_end);
  return {};
}

void Dataset::end_document(bool needs_end) {
  const std::uint64_t begin = ends_.empty() ? 0 : ends_.back();
  if (tokens() == begin) return;  // nothing in it
  const bool separates = options_.packing == Packing::eos || options_.packing == Packing::pad;
  if ((needs_end || separates) && options_.eos && id(tokens() - 1) != *options_.eos)
    std::visit(
        [&](auto& all) {
          using Id = typename std::decay_t<decltype(all)>::value_type;
          all.push_back(static_cast<Id>(*options_.eos));
        },
        ids_);
  if (!ignored_.empty()) ignored_.resize(tokens(), false);
  ends_.push_back(tokens());
}

Result<void> Dataset::add_bin(const std::filesystem::path& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    return fail(unusable(errno == ENOENT ? Errc::not_found : Errc::io, file).because_errno(errno));
  }
  const std::size_t width = options_.wide ? sizeof(std::uint32_t) : sizeof(std::uint16_t);
  std::vector<std::byte> buffer(MiB);
  std::vector<TokenId> ids;
  std::uint64_t position = 0;
  std::size_t filled = 0;
  while (true) {
    const ssize_t got = ::read(fd.get(), buffer.data() + filled, buffer.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(unusable(Errc::io, file).because_errno(errno));
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
    ids.clear();
    for (std::size_t at = 0; at + width <= filled; at += width) {
      std::uint32_t id = 0;
      std::memcpy(&id, buffer.data() + at, width);  // both little-endian
      ids.push_back(id);
    }
    FATHOM_CHECK(append(ids, position, file.string()));
    position += ids.size();
    const std::size_t rest = filled % width;
    std::memmove(buffer.data(), buffer.data() + filled - rest, rest);
    filled = rest;
  }
  if (filled != 0) {
    return fail(unusable(Errc::bad_input, file)
                    .because(fmt::format("its size is not a multiple of {} bytes per token", width))
                    .remedy("check --data-dtype"));
  }
  end_document(false);
  return {};
}

std::uint64_t Dataset::tokens() const {
  return std::visit([](const auto& ids) { return std::uint64_t{ids.size()}; }, ids_);
}

}  // namespace fathom::models
