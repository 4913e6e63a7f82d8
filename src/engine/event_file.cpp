// SPDX-License-Identifier: Apache-2.0
#include "engine/event_file.hpp"

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

namespace fathom::engine {
namespace {

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0x82f63b78U : 0U);
    table[i] = value;
  }
  return table;
}

// The host's order is the format's.
static_assert(std::endian::native == std::endian::little);
template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// Protocol buffers: a key is the field's number and its wire type.
enum Wire : std::uint32_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

std::string number(std::uint64_t value) {
  std::string text;
  for (; value >= 0x80; value >>= 7) text += static_cast<char>(value | 0x80);
  return text + static_cast<char>(value);
}
std::string key(std::uint32_t field, Wire wire) { return number(field << 3 | wire); }
std::string text(std::uint32_t field, std::string_view value) {
  return key(field, bytes) + number(value.size()) + std::string(value);
}

std::string event(std::int64_t step, const std::string& what) {
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  return key(1, fixed64) + raw(now) + key(2, varint) + number(static_cast<std::uint64_t>(step)) +
         what;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<std::uint32_t, 256> table = crc_table();
  std::uint32_t crc = ~0U;
  for (const char c : bytes) crc = table[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ crc >> 8;
  return ~crc;
}

std::uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8U;
}

std::string framed_record(std::string_view record) {
  const std::string length = raw(std::uint64_t{record.size()});
  return length + raw(masked_crc32c(length)) + std::string(record) + raw(masked_crc32c(record));
}

Result<std::unique_ptr<EventFile>> EventFile::create(const std::string& directory) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '-';
  auto file = std::make_unique<EventFile>();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(
                           std::chrono::system_clock::now().time_since_epoch())
                           .count();
  file->path_ = (std::filesystem::path(directory) /
                 fmt::format("events.out.tfevents.{}.{}.{}", seconds, host.data(), ::getpid()))
                    .string();
  file->out_.open(file->path_, std::ios::binary | std::ios::app);
  FATHOM_CHECK(file->write(event(0, text(3, "brain.Event:2"))));
  return file;
}

Result<void> EventFile::add(std::int64_t step, std::span<const MonitorPoint> points) {
  std::string summary;
  for (const MonitorPoint& point : points)
    summary += text(1, text(1, point.tag) + key(2, fixed32) + raw(static_cast<float>(point.value)));
  return write(event(step, text(5, summary)));
}

Result<void> EventFile::write(const std::string& record) {
  out_ << framed_record(record) << std::flush;
  if (!out_)
    return fail(Error(Errc::io, "write TensorBoard events")
                    .on(path_)
                    .because_errno(errno)
                    .remedy("check the disk, and tensorboard.output_path"));
  return {};
}

}  // namespace fathom::engine
