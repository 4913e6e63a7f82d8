// SPDX-License-Identifier: Apache-2.0
#include "config/source.hpp"

#include <cerrno>
#include <iostream>
#include <optional>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unique_fd.hpp"

namespace fathom::config {
namespace {

constexpr std::size_t largest = 1 << 20;
constexpr std::string_view tried = "read the configuration";

std::unexpected<Error> too_large(std::string_view origin) {
  return fail(Error(Errc::bad_config, tried)
                  .on(origin)
                  .because("it has more than 1 MiB")
                  .remedy("pass a DeepSpeed configuration, not a data file"));
}

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// Nothing if `text` is not base64 of something that begins with a brace.
std::optional<std::string> decode_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    std::uint32_t digit = 0;
    if (c >= 'A' && c <= 'Z')
      digit = static_cast<std::uint32_t>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      digit = static_cast<std::uint32_t>(c - 'a') + 26;
    else if (c >= '0' && c <= '9')
      digit = static_cast<std::uint32_t>(c - '0') + 52;
    else if (c == '+' || c == '-')
      digit = 62;
    else if (c == '/' || c == '_')
      digit = 63;
    else
      return std::nullopt;
    bits = bits << 6 | digit;
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count & 0xFF);
    }
  }
  if (!trim(out).starts_with('{')) return std::nullopt;
  return out;
}

Result<SourceText> read_stdin() {
  SourceText source{.text = {}, .origin = "standard input"};
  char buffer[4096];
  while (std::cin.read(buffer, sizeof buffer) || std::cin.gcount() > 0) {
    source.text.append(buffer, static_cast<std::size_t>(std::cin.gcount()));
    if (source.text.size() > largest) return too_large(source.origin);
  }
  return source;
}

Result<SourceText> read_file(const std::string& path, UniqueFd fd) {
  SourceText source{.text = {}, .origin = path};
  const auto failed = [&](int error) {
    return fail(Error(Errc::bad_config, tried)
                    .on(path)
                    .because_errno(error)
                    .remedy("pass a readable file"));
  };
  struct stat status{};
  if (fstat(fd.get(), &status) != 0) return failed(errno);
  if (S_ISDIR(status.st_mode)) return failed(EISDIR);
  char buffer[4096];
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(errno);
    if (got == 0) return source;
    source.text.append(buffer, static_cast<std::size_t>(got));
    if (source.text.size() > largest) return too_large(path);
  }
}

}  // namespace

Result<SourceText> read_source(std::string_view source) {
  if (source == "-") return read_stdin();
  if (trim(source).starts_with('{'))
    return SourceText{.text = std::string(source), .origin = "inline configuration"};
  const std::string path(source);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() >= 0) return read_file(path, std::move(fd));
  const int error = errno;
  // No file of this name: a launcher may have packed the text itself.
  if (auto text = decode_base64(trim(source)))
    return SourceText{.text = std::move(*text), .origin = "base64 configuration"};
  const std::string shown = path.size() <= 200 ? path : path.substr(0, 200) + "…";
  return fail(Error(Errc::bad_config, tried)
                  .on(shown)
                  .because_errno(error)
                  .remedy("pass a file, - for standard input, or the JSON text itself"));
}

}  // namespace fathom::config
