// SPDX-License-Identifier: Apache-2.0
//
// Small file helpers of the tests: whole files, trees, JSON Lines, safetensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace fathom::tools {

std::string read_file(const std::string& path);  // empty when it can't be read
void write_file(const std::string& path, std::string_view text);

// Path below `directory` and content of every regular file; empty when there is no directory.
std::map<std::string, std::string> files_in(const std::string& directory);

std::size_t lines_in(const std::string& path);  // 0 when absent
std::vector<nlohmann::json> json_lines(std::string_view text);

// Safetensors: an object of tensors in order, and the bytes behind it.
struct Safetensors {
  nlohmann::ordered_json header;
  std::string body;

  static Safetensors read(const std::string& path);
  std::string bytes() const;  // the file's content
  std::string_view tensor(const std::string& name) const;
};

// All tensors of a Hugging Face directory, sharded or not, by name.
std::map<std::string, std::string> tensors_of(const std::string& directory);

// Changes one bit of the byte at `offset`.
void flip(const std::string& path, std::uint64_t offset);

}  // namespace fathom::tools
