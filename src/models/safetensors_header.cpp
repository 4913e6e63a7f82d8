// SPDX-License-Identifier: Apache-2.0
//
// The checks of a safetensors header. Nothing in it is trusted: a file may come from anywhere.
#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "models/safetensors.hpp"
#include "models/text_file.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;

Error malformed(std::string_view origin, std::string_view why) {
  return Error(Errc::bad_input, "read a safetensors header")
      .on(origin)
      .because(why)
      .remedy("fetch the file again: it is damaged or not a safetensors file");
}

Error malformed_tensor(std::string_view origin, std::string_view name, std::string_view why) {
  return malformed(fmt::format("{}, tensor \"{}\"", origin, name), why);
}

Result<TensorInfo> parse_tensor(const std::string& name, const Json& entry,
                                std::uint64_t data_bytes, std::string_view origin) {
  const auto bad = [&](std::string_view why) { return malformed_tensor(origin, name, why); };
  if (!entry.is_object()) return fail(bad("its entry is not an object"));
  const auto dtype = entry.find("dtype"), shape = entry.find("shape"),
             offsets = entry.find("data_offsets");
  if (dtype == entry.end() || !dtype->is_string()) return fail(bad("it has no dtype"));
  if (shape == entry.end() || !shape->is_array()) return fail(bad("it has no shape"));
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 ||
      !(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned()) {
    return fail(bad("data_offsets is not a pair of whole numbers"));
  }
  if (entry.size() != 3) return fail(bad("its entry has keys beyond dtype, shape, data_offsets"));

  TensorInfo tensor;
  tensor.name = name;
  const auto known = parse_dtype(dtype->get_ref<const std::string&>());
  if (!known) return fail(bad(fmt::format("the dtype {} is unknown", dtype->dump())));
  tensor.dtype = *known;

  std::uint64_t total_bits = bits(*known);
  bool empty = false, overflow = false;
  for (const Json& size : *shape) {
    if (!size.is_number_unsigned() ||
        size.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
      return fail(bad(fmt::format("the size {} in its shape is not a whole number", size.dump())));
    }
    const std::uint64_t value = size.get<std::uint64_t>();
    tensor.shape.push_back(static_cast<std::int64_t>(value));
    // A product with a zero is zero, whatever the other sizes are.
    empty = empty || value == 0;
    if (!empty) overflow = overflow || __builtin_mul_overflow(total_bits, value, &total_bits);
  }
  if (empty) total_bits = 0;
  if (overflow && !empty) return fail(bad("the product of its shape overflows 64 bits"));
  if (total_bits % 8 != 0) return fail(bad("its elements do not fill whole bytes"));

  const std::uint64_t begin = (*offsets)[0].get<std::uint64_t>();
  const std::uint64_t end = (*offsets)[1].get<std::uint64_t>();
  if (begin > end) return fail(bad("its data ends before it begins"));
  if (end > data_bytes) {
    return fail(bad(
        fmt::format("its data ends at {}, but the file has {} bytes of data", end, data_bytes)));
  }
  if (end - begin != total_bits / 8) {
    return fail(bad(fmt::format("its data has {} bytes, but dtype and shape need {}", end - begin,
                                total_bits / 8)));
  }
  tensor.offset = begin;
  tensor.bytes = end - begin;
  return tensor;
}

}  // namespace

Result<std::vector<TensorInfo>> parse_safetensors_header(std::string_view header,
                                                         std::uint64_t data_begin,
                                                         std::uint64_t file_bytes,
                                                         std::string_view origin) {
  if (header.empty() || header.front() != '{') {
    return fail(malformed(origin, "the header does not begin with {"));
  }
  if (data_begin > file_bytes) return fail(malformed(origin, "the header is longer than the file"));
  FATHOM_ASSIGN(const Json root, parse_json(header, origin));
  if (!root.is_object()) return fail(malformed(origin, "the header is not a JSON object"));
  const std::uint64_t data_bytes = file_bytes - data_begin;

  std::vector<TensorInfo> tensors;
  for (const auto& [name, entry] : root.items()) {
    if (name == "__metadata__") {
      const bool texts = entry.is_object() && std::ranges::all_of(entry, [](const Json& value) {
                           return value.is_string();
                         });
      if (!texts) return fail(malformed(origin, "__metadata__ is not an object of texts"));
      continue;
    }
    FATHOM_ASSIGN(TensorInfo tensor, parse_tensor(name, entry, data_bytes, origin));
    tensors.push_back(std::move(tensor));
  }
  std::ranges::sort(tensors, [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
  });

  std::uint64_t expected = 0;
  for (TensorInfo& tensor : tensors) {
    if (tensor.offset != expected) {
      return fail(malformed_tensor(
          origin, tensor.name,
          fmt::format(
              "its data begins at {}, {} the end of the tensor before it at {}", tensor.offset,
              tensor.offset < expected ? "overlapping" : "leaving a hole after", expected)));
    }
    expected += tensor.bytes;
    tensor.offset += data_begin;
  }
  if (expected != data_bytes) {
    return fail(
        malformed(origin, fmt::format("the tensors end at {}, but the file has {} bytes of data",
                                      expected, data_bytes)));
  }
  return tensors;
}

}  // namespace fathom::models
