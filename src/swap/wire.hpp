// SPDX-License-Identifier: Apache-2.0
//
// Wire: fixed-width little-endian fields of the store's metadata, appended and taken off.
//
// Purpose      Writer appends; Reader takes fields off a span and turns sour instead of reading
//              past its end, so that a decoder checks once.
// Threads      Values.
//
//   Writer out; out.u32(version).u64(step);
//   Reader in(bytes); version = in.u32(); step = in.u64(); if (!in.ok()) …
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::swap {

static_assert(std::endian::native == std::endian::little, "the store's files are little-endian");

// What every piece of metadata begins with, after its magic.
inline constexpr std::uint32_t store_version = 1;
inline constexpr std::uint32_t byte_order_mark = 0x01020304;

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}
  Writer& raw(const void* data, std::size_t bytes) {
    const auto* from = static_cast<const std::byte*>(data);
    out_.insert(out_.end(), from, from + bytes);
    return *this;
  }
  Writer& u32(std::uint32_t value) { return raw(&value, sizeof value); }
  Writer& u64(std::uint64_t value) { return raw(&value, sizeof value); }
  Writer& i64(std::int64_t value) { return raw(&value, sizeof value); }
  Writer& f64(double value) { return raw(&value, sizeof value); }
  Writer& text(std::string_view value) { return raw(value.data(), value.size()); }
  Writer& zeros_to(std::size_t size) {
    out_.resize(size);
    return *this;
  }

 private:
  std::vector<std::byte>& out_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}
  bool ok() const { return ok_; }
  std::size_t left() const { return left_.size(); }
  std::span<const std::byte> raw(std::size_t bytes) {
    if (bytes > left_.size()) {
      ok_ = false;
      left_ = {};
      return {};
    }
    const auto taken = left_.first(bytes);
    left_ = left_.subspan(bytes);
    return taken;
  }
  std::uint32_t u32() { return number<std::uint32_t>(); }
  std::uint64_t u64() { return number<std::uint64_t>(); }
  std::int64_t i64() { return number<std::int64_t>(); }
  double f64() { return number<double>(); }
  std::string text(std::size_t bytes) {
    const auto taken = raw(bytes);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

 private:
  template <class T>
  T number() {
    T value{};
    if (const auto taken = raw(sizeof(T)); !taken.empty())
      std::memcpy(&value, taken.data(), sizeof(T));
    return value;
  }

  std::span<const std::byte> left_;
  bool ok_ = true;
};

// XXH3-64 of metadata, seeded with the format's version.
std::uint64_t metadata_hash(std::span<const std::byte> bytes);

}  // namespace fathom::swap
