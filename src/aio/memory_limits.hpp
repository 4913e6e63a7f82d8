// SPDX-License-Identifier: Apache-2.0
//
// Memory limits: how much memory this process may still take, and who says so.
//
// Purpose      A pinned arena that does not fit ends in the kernel's OOM killer without a message.
//              The limit is the smaller of MemAvailable and what the control groups above this
//              process leave, so that the arena can refuse with the arithmetic.
// Threads      Stateless.
// Units        Bytes.
//
//   const MemoryLimit limit = memory_limit();
//   if (wanted > limit.available) refuse(limit.reason);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fathom::aio {

struct MemoryLimit {
  std::uint64_t available = 0;
  std::string reason;  // "MemAvailable 12.00 GiB" or "memory.max 4.00 GiB - 1.00 GiB in use of ..."
};

// `root` is prepended to /proc and /sys, so that tests can feed a tree of their own.
MemoryLimit memory_limit(const std::string& root = "");

// Value in bytes of a "Key:   123 kB" line as /proc/meminfo and /proc/self/smaps have them.
std::optional<std::uint64_t> kib_field(std::string_view text, std::string_view key);

}  // namespace fathom::aio
