// SPDX-License-Identifier: Apache-2.0
#include "models/text_file.hpp"

#include <cerrno>
#include <exception>
#include <set>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unique_fd.hpp"
#include "base/units.hpp"

namespace fathom::models {

Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t limit) {
  const auto error = [&](Errc code) {
    return Error(code, "read a file")
        .on(path.empty() ? "\"\"" : path.string())
        .remedy("check the path and its permissions");
  };
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail(error(errno == ENOENT ? Errc::not_found : Errc::io).because_errno(errno));
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail(error(Errc::io).because_errno(errno));
  if (!S_ISREG(status.st_mode)) {
    return fail(error(Errc::bad_input).because("it is not a regular file"));
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > limit) {
    return fail(error(Errc::bad_input)
                    .because(fmt::format("it has {}, more than the {} that such a file may have",
                                         format_bytes(size), format_bytes(limit))));
  }
  std::string text(size, '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = ::read(fd.get(), text.data() + done, text.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(error(Errc::io).because_errno(errno));
    if (got == 0) return fail(error(Errc::io).because("it became shorter while it was read"));
    done += static_cast<std::size_t>(got);
  }
  return text;
}

Result<nlohmann::json> parse_json(std::string_view text, std::string_view origin) {
  using Json = nlohmann::json;
  std::vector<std::set<std::string>> open_objects;
  std::string duplicate;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    switch (event) {
      case Json::parse_event_t::object_start: open_objects.emplace_back(); break;
      case Json::parse_event_t::object_end: open_objects.pop_back(); break;
      case Json::parse_event_t::key: {
        const std::string& key = value.get_ref<const std::string&>();
        if (!open_objects.back().insert(key).second && duplicate.empty()) duplicate = key;
        break;
      }
      default: break;
    }
    return true;
  };
  try {
    Json value = Json::parse(text, watch);
    if (!duplicate.empty()) {
      return fail(Error(Errc::bad_input, "parse JSON")
                      .on(origin)
                      .because(fmt::format("the key \"{}\" stands twice in one object", duplicate))
                      .remedy("remove one of the two"));
    }
    return value;
  } catch (const std::exception& exception) {
    return fail(Error(Errc::bad_input, "parse JSON")
                    .on(origin)
                    .because(exception.what())
                    .remedy("correct the file, or fetch it again"));
  }
}

}  // namespace fathom::models
