// SPDX-License-Identifier: Apache-2.0
#include "files.hpp"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace fathom::tools {

namespace fs = std::filesystem;

std::string read_file(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void write_file(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::map<std::string, std::string> files_in(const std::string& directory) {
  std::map<std::string, std::string> files;
  std::error_code absent;
  for (const auto& entry : fs::recursive_directory_iterator(directory, absent))
    if (!entry.is_directory())
      files[fs::relative(entry.path(), directory).string()] = read_file(entry.path().string());
  return files;
}

std::size_t lines_in(const std::string& path) {
  const std::string text = read_file(path);
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

std::vector<nlohmann::json> json_lines(std::string_view text) {
  std::vector<nlohmann::json> values;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) values.push_back(nlohmann::json::parse(line));
  return values;
}

Safetensors Safetensors::read(const std::string& path) {
  const std::string bytes = read_file(path);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  return {nlohmann::ordered_json::parse(bytes.substr(sizeof length, length)),
          bytes.substr(sizeof length + length)};
}

std::string Safetensors::bytes() const {
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text + body;
}

std::string_view Safetensors::tensor(const std::string& name) const {
  const auto& offsets = header.at(name).at("data_offsets");
  const std::uint64_t begin = offsets[0], end = offsets[1];
  return std::string_view(body).substr(begin, end - begin);
}

std::map<std::string, std::string> tensors_of(const std::string& directory) {
  std::map<std::string, std::string> tensors;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() != ".safetensors") continue;
    const Safetensors file = Safetensors::read(entry.path().string());
    for (const auto& [name, info] : file.header.items())
      if (name != "__metadata__") tensors[name] = file.tensor(name);
  }
  return tensors;
}

void flip(const std::string& path, std::uint64_t offset) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(offset));
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(byte);
}

}  // namespace fathom::tools
