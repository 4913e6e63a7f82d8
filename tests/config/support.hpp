// SPDX-License-Identifier: Apache-2.0
//
// Shorthand for the tests of config: load a text, expect one thing of it.
//
//   const Config config = must_load(R"({"train_batch_size": 2})").config;
//   EXPECT_SAYS(problems_of("{…}"), "stage");
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "config/config.hpp"

namespace fathom::config {

// Text of a configuration whose batch sizes are fine, around `members`.
inline std::string with_batch(std::string_view members) {
  std::string text = "{\"train_micro_batch_size_per_gpu\": 1";
  if (!members.empty()) text += ",\n" + std::string(members);
  return text + "}";
}

inline Loaded must_load(std::string_view text, const Sources& sources = {}) {
  auto loaded = load(text, sources);
  EXPECT_TRUE(loaded) << (loaded ? "" : loaded.error().message());
  return loaded ? *std::move(loaded) : Loaded{};
}

// The message of a load that must fail; empty, and a failure, if it does not.
inline std::string problems_of(std::string_view text, const Sources& sources = {}) {
  const auto loaded = load(text, sources);
  EXPECT_FALSE(loaded) << "loaded, but should not: " << text;
  if (loaded) return "";
  EXPECT_EQ(loaded.error().code(), Errc::bad_config);
  return loaded.error().message();
}

// A member of a file, and what the message or the notes about it must contain.
struct Row {
  const char* members;  // beside a batch size
  std::vector<const char*> says;
};

inline bool says(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

inline bool any_says(const std::vector<std::string>& notes, std::string_view part) {
  return std::ranges::any_of(notes, [&](const std::string& note) { return says(note, part); });
}

inline std::string joined(const std::vector<std::string>& notes) {
  std::string text;
  for (const std::string& note : notes) text += note + "\n";
  return text;
}

}  // namespace fathom::config

#define EXPECT_SAYS(text, part) \
  EXPECT_PRED2(::fathom::config::says, std::string(text), std::string(part))
