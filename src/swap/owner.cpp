// SPDX-License-Identifier: Apache-2.0
#include "swap/owner.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/assert.hpp"
#include "swap/wire.hpp"

namespace fathom::swap {
namespace {

constexpr std::string_view magic = "FATHOMOW";
constexpr std::size_t boot_bytes = 36;

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string boot_id(const std::string& root) {
  std::string text = read_all(root + "/proc/sys/kernel/random/boot_id");
  text.resize(boot_bytes, '-');
  return text;
}

// Field 22 of /proc/PID/stat; the name in field 2 may hold anything, so fields count from the last
// parenthesis. 0: no such process.
std::uint64_t start_time_of(const std::string& root, std::uint64_t process) {
  const std::string text = read_all(fmt::format("{}/proc/{}/stat", root, process));
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i)
    if (!(fields >> field)) return 0;
  std::uint64_t value = 0;
  std::from_chars(field.data(), field.data() + field.size(), value);
  return value;
}

Error not_an_owner(const std::string& where, std::string_view why) {
  return Error(Errc::corrupt, "read whose job directory it is")
      .on(where)
      .because(why)
      .remedy("if no run uses the directory, remove it by hand");
}

}  // namespace

std::uint64_t metadata_hash(std::span<const std::byte> bytes) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), store_version);
}

std::string StoreId::text() const {
  std::string text;
  for (const std::uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

StoreId StoreId::random() {
  std::random_device device;
  StoreId id;
  for (std::uint8_t& byte : id.bytes) byte = static_cast<std::uint8_t>(device());
  return id;
}

std::vector<std::byte> encode(const Owner& owner) {
  FATHOM_ASSERT(owner.boot.size() == boot_bytes && owner.output.size() <= owner_output_limit,
                "an owner record fits its block");
  std::vector<std::byte> block;
  Writer out(block);
  out.text(magic).u32(store_version).u32(byte_order_mark);
  out.raw(owner.id.bytes.data(), owner.id.bytes.size());
  out.u32(owner.user).u32(owner.path).u64(owner.process).u64(owner.start_time);
  out.text(owner.boot).u32(static_cast<std::uint32_t>(owner.output.size())).text(owner.output);
  out.zeros_to(owner_bytes - sizeof(std::uint64_t));
  out.u64(metadata_hash(block));
  return block;
}

Result<Owner> decode_owner(std::span<const std::byte> block, const std::string& where) {
  if (block.size() != owner_bytes) return fail(not_an_owner(where, "it has another length"));
  Reader in(block);
  if (in.text(magic.size()) != magic)
    return fail(not_an_owner(where, "it does not begin as an owner record"));
  if (in.u32() != store_version || in.u32() != byte_order_mark)
    return fail(not_an_owner(where, "its version or byte order is not this program's"));
  if (Reader(block.last(sizeof(std::uint64_t))).u64() !=
      metadata_hash(block.first(owner_bytes - sizeof(std::uint64_t))))
    return fail(not_an_owner(where, "its checksum does not fit"));
  Owner owner;
  std::ranges::transform(in.raw(owner.id.bytes.size()), owner.id.bytes.begin(),
                         [](std::byte byte) { return static_cast<std::uint8_t>(byte); });
  owner.user = in.u32();
  owner.path = in.u32();
  owner.process = in.u64();
  owner.start_time = in.u64();
  owner.boot = in.text(boot_bytes);
  const std::uint32_t length = in.u32();
  if (length > owner_output_limit) return fail(not_an_owner(where, "a length in it is too large"));
  owner.output = in.text(length);
  return owner;
}

Owner this_process(const StoreId& id, std::uint32_t path, std::string_view output) {
  Owner owner{.id = id, .path = path, .boot = boot_id(""), .output = std::string(output)};
  owner.user = ::geteuid();
  owner.process = static_cast<std::uint64_t>(::getpid());
  owner.start_time = start_time_of("", owner.process);
  return owner;
}

bool lives(const Owner& owner, const std::string& root) {
  return owner.boot == boot_id(root) && owner.start_time != 0 &&
         start_time_of(root, owner.process) == owner.start_time;
}

}  // namespace fathom::swap
