// SPDX-License-Identifier: Apache-2.0
#include "aio/device_profile.hpp"

#include <cmath>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text_file.hpp"

namespace fathom::aio {
namespace {

using Json = nlohmann::ordered_json;

std::optional<double> number_of(const Json& object, const char* key, double least, double most) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_number()) return std::nullopt;
  const double value = at->get<double>();
  if (!std::isfinite(value) || value < least || value > most) return std::nullopt;
  return value;
}

}  // namespace

std::string to_json(const DeviceProfile& profile) {
  Json paths = Json::array();
  for (const DeviceProfile::Path& path : profile.paths)
    paths.push_back({{"path", path.path},
                     {"read_bytes_per_second", path.read},
                     {"write_bytes_per_second", path.write}});
  return Json{{"read_bytes_per_second", profile.read},
              {"write_bytes_per_second", profile.write},
              {"duplex", profile.duplex},
              {"latency_seconds", profile.latency},
              {"paths", paths}}
             .dump(2) +
         "\n";
}

Result<DeviceProfile> parse_device_profile(std::string_view text, const std::string& where) {
  const auto bad = [&](std::string_view why) {
    return fail(Error(Errc::bad_input, "read a device profile")
                    .on(where)
                    .because(why)
                    .remedy("give the profile.json or report.json that aio_bench --out wrote"));
  };
  const Json whole = Json::parse(text, nullptr, false);
  if (!whole.is_object()) return bad("it is no JSON object");
  const auto inner = whole.find("profile");
  const Json& json = inner != whole.end() && inner->is_object() ? *inner : whole;
  DeviceProfile profile;
  struct Field {
    const char* key;
    double* value;
    double least, most;
  };
  constexpr double slowest = 1e3, fastest = 1e15;
  const Field fields[] = {{"read_bytes_per_second", &profile.read, slowest, fastest},
                          {"write_bytes_per_second", &profile.write, slowest, fastest},
                          {"duplex", &profile.duplex, 0, 1},
                          {"latency_seconds", &profile.latency, 0, 60}};
  for (const Field& field : fields) {
    const auto value = number_of(json, field.key, field.least, field.most);
    if (!value)
      return bad(
          fmt::format("\"{}\" is not a number from {} to {}", field.key, field.least, field.most));
    *field.value = *value;
  }
  if (const auto paths = json.find("paths"); paths != json.end() && paths->is_array()) {
    for (const Json& path : *paths) {
      const auto name = path.is_object() ? path.find("path") : path.end();
      if (!path.is_object() || name == path.end() || !name->is_string())
        return bad("a path has no name");
      const auto read = number_of(path, "read_bytes_per_second", 0, fastest);
      const auto write = number_of(path, "write_bytes_per_second", 0, fastest);
      if (!read || !write) return bad("a path has no rates");
      profile.paths.push_back({name->get<std::string>(), *read, *write});
    }
  }
  return profile;
}

Result<DeviceProfile> read_device_profile(const std::string& path) {
  FATHOM_ASSIGN(const std::string text, read_text_file(path));
  return parse_device_profile(text, path);
}

}  // namespace fathom::aio
