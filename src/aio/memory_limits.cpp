// SPDX-License-Identifier: Apache-2.0
#include "aio/memory_limits.hpp"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "aio/text_file.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

// Page cache of a group that the kernel gives back before it kills anything.
std::uint64_t reclaimable(const std::string& directory) {
  const std::string text = read_text(directory + "/memory.stat").value_or("");
  std::uint64_t sum = 0;
  for (const std::string_view key : {"\ninactive_file ", "\nactive_file "}) {
    const std::string padded = "\n" + text;
    const auto at = padded.find(key);
    if (at == std::string::npos) continue;
    const auto value = leading_integer(std::string_view(padded).substr(at + key.size()));
    if (value && *value > 0) sum += static_cast<std::uint64_t>(*value);
  }
  return sum;
}

void apply_group(const std::string& directory, const char* limit_name, const char* usage_name,
                 MemoryLimit& result) {
  const auto limit = read_integer(directory + "/" + limit_name);  // "max" is not an integer
  const auto usage = read_integer(directory + "/" + usage_name);
  if (!limit || !usage || *limit <= 0) return;
  const auto most = static_cast<std::uint64_t>(*limit);
  if (most > (std::uint64_t{1} << 60)) return;  // version 1 says "no limit" with a huge number
  const auto current = static_cast<std::uint64_t>(std::max<std::int64_t>(*usage, 0));
  const std::uint64_t used = current - std::min(current, reclaimable(directory));
  const std::uint64_t left = most - std::min(most, used);
  if (left >= result.available) return;
  result.available = left;
  result.reason = fmt::format("{} {} - {} in use = {} left in {}", limit_name, format_bytes(most),
                              format_bytes(used), format_bytes(left), directory);
}

}  // namespace

std::optional<std::uint64_t> kib_field(std::string_view text, std::string_view key) {
  for (std::size_t line = 0; line < text.size();) {
    const auto end = std::min(text.find('\n', line), text.size());
    const std::string_view row = text.substr(line, end - line);
    if (row.starts_with(key) && row.size() > key.size() && row[key.size()] == ':') {
      const auto value = leading_integer(row.substr(key.size() + 1));
      if (value && *value >= 0) return static_cast<std::uint64_t>(*value) * KiB;
    }
    line = end + 1;
  }
  return std::nullopt;
}

MemoryLimit memory_limit(const std::string& root) {
  MemoryLimit result;
  const auto available = kib_field(read_text(root + "/proc/meminfo").value_or(""), "MemAvailable");
  result.available = available.value_or(std::numeric_limits<std::uint64_t>::max());
  result.reason = available ? "MemAvailable " + format_bytes(*available) : "no limit known";

  // Each line is "id:controllers:path"; a limit may sit on the group or on any group above it.
  std::string groups = read_text(root + "/proc/self/cgroup").value_or("");
  for (std::size_t line = 0; line < groups.size();) {
    const auto end = std::min(groups.find('\n', line), groups.size());
    const std::string row = groups.substr(line, end - line);
    line = end + 1;
    const auto first = row.find(':');
    const auto second = row.find(':', first == std::string::npos ? first : first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = row.substr(first + 1, second - first - 1);
    const bool version2 = controllers.empty();
    if (!version2 && controllers.find("memory") == std::string::npos) continue;
    const std::string mount = root + (version2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory");
    for (std::string path = row.substr(second + 1);;) {
      if (path == "/") path.clear();
      if (version2)
        apply_group(mount + path, "memory.max", "memory.current", result);
      else
        apply_group(mount + path, "memory.limit_in_bytes", "memory.usage_in_bytes", result);
      if (path.empty()) break;
      path.erase(std::min(path.rfind('/'), path.size()));
    }
  }
  return result;
}

}  // namespace fathom::aio
