// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/profile.hpp"

#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text_file.hpp"

namespace fathom::engine {
namespace {

using nlohmann::json;

constexpr const char* remedy = "give the report.json that aio_bench --out DIR writes";

Error unusable(const std::string& name, const std::string& why) {
  return Error(Errc::bad_config, "read the device profile").on(name).because(why).remedy(remedy);
}

Result<std::optional<double>> rate(const json& profile, const char* key, const std::string& name,
                                   double most, bool above_zero) {
  const auto found = profile.find(key);
  if (found == profile.end()) return std::nullopt;
  if (found->is_number()) {
    const double value = found->get<double>();
    // aio_bench writes 0 for a direction that it had no bytes left to measure.
    if (value == 0 && above_zero) return std::nullopt;
    if (std::isfinite(value) && value >= 0 && value <= most) return value;
  }
  return fail(unusable(name, fmt::format("profile.{} is {}", key, found->dump())));
}

}  // namespace

Result<DeviceProfile> parse_profile(std::string_view text, const std::string& name) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) return fail(unusable(name, "it is not a JSON object"));
  const json& profile = document.contains("profile") ? document["profile"] : document;
  if (!profile.is_object()) return fail(unusable(name, "its profile is not an object"));
  constexpr double any = std::numeric_limits<double>::max();
  DeviceProfile result;
  FATHOM_ASSIGN(result.read, rate(profile, "read_bytes_per_second", name, any, true));
  FATHOM_ASSIGN(result.write, rate(profile, "write_bytes_per_second", name, any, true));
  FATHOM_ASSIGN(result.duplex, rate(profile, "duplex", name, 1, false));
  if (!result.read && !result.write)
    return fail(unusable(
        name, "it has neither profile.read_bytes_per_second nor profile.write_bytes_per_second"));
  return result;
}

Result<DeviceProfile> read_profile(const std::string& path) {
  FATHOM_ASSIGN(const std::string text, read_text_file(path));
  return parse_profile(text, path);
}

}  // namespace fathom::engine
