// SPDX-License-Identifier: Apache-2.0
//
// Any header is a list of tensors inside the file or an Error that names the file.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/assert.hpp"
#include "models/safetensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view header(reinterpret_cast<const char*>(data), size);
  const std::uint64_t data_begin = 8 + size, file_bytes = data_begin + 64;
  const auto tensors =
      fathom::models::parse_safetensors_header(header, data_begin, file_bytes, "a file");
  if (!tensors) {
    FATHOM_ASSERT(tensors.error().message().find("a file") != std::string::npos,
                  "the file is named");
    return 0;
  }
  for (const auto& tensor : *tensors)
    FATHOM_ASSERT(tensor.offset >= data_begin && tensor.bytes <= file_bytes - tensor.offset,
                  "a tensor lies inside its file");
  return 0;
}
