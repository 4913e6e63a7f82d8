// SPDX-License-Identifier: Apache-2.0
//
// Owner: which process a job directory belongs to, and whether it still lives.
//
// Purpose      Every directory of a durable store holds a file `owner` that says whose it is: the
//              store's id, the user, and the process by id, start time and boot, so that a process
//              id that was given away again, or a reboot, is not taken for the owner.
// Format       One block of 4096 bytes, docs/store-format.md. Decoding believes nothing.
// Threads      Stateless.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace fathom::swap {

// 128 random bits that name a store; its directories are called fathom-<32 hexadecimal digits>.
struct StoreId {
  std::array<std::uint8_t, 16> bytes{};
  bool operator==(const StoreId&) const = default;
  std::string text() const;
  static StoreId random();
};

struct Owner {
  StoreId id;
  std::uint32_t user = 0;
  std::uint32_t path = 0;        // which of the store's paths this directory is
  std::uint64_t process = 0;     // process id
  std::uint64_t start_time = 0;  // of that process, in clock ticks after the boot
  std::string boot;              // the kernel's boot id, 36 characters
  std::string output;            // absolute path of the run's --out directory; may be empty
  bool operator==(const Owner&) const = default;
};

inline constexpr std::size_t owner_bytes = 4096;
inline constexpr std::size_t owner_output_limit = 3800;  // bytes of Owner::output

std::vector<std::byte> encode(const Owner& owner);
Result<Owner> decode_owner(std::span<const std::byte> block, const std::string& where);

// This process, now.
Owner this_process(const StoreId& id, std::uint32_t path, std::string_view output);
// Whether the very process that wrote the record runs on this machine. `root` goes before /proc.
bool lives(const Owner& owner, const std::string& root = "");

}  // namespace fathom::swap
