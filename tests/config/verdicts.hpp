// SPDX-License-Identifier: Apache-2.0
//
// A configuration with the verdict that it must get: ok, notes, error, or later (not in this
// version).
//
//   expect_verdict({.name = "…", .text = "{…}", .verdict = "notes", .must_name = "aio"});
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/config/support.hpp"

namespace fathom::config {

struct Example {
  std::string name, source;  // source: a path or the text itself
  std::string text;
  std::uint64_t ranks = 1;
  bool trainer = true;  // a trainer's arguments stand in for "auto"
  std::string verdict, must_name;
};

// What stands in for `auto`, and for batch sizes where the file has none.
inline Sources trainer_context(const std::string& text) {
  Sources sources{.hidden_size = 2048};
  CommandLine& stand_in = sources.stand_in;
  stand_in.per_device_train_batch_size = 1;
  stand_in.learning_rate = 1e-4;
  stand_in.warmup_steps = 10;
  stand_in.max_steps = 100;
  stand_in.bf16 = true;
  sources.total_steps = 100;
  if (!says(text, "\"train_batch_size\"") && !says(text, "\"train_micro_batch_size_per_gpu\""))
    sources.flags.per_device_train_batch_size = 1;
  return sources;
}

// "path", "written -> hint" or "path (written -> hint)": every word has to be said.
inline std::vector<std::string> words_of(const std::string& must_name) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : must_name + ",") {
    if (c == ',' || c == '(' || c == ')' || c == '>') {
      while (word.ends_with(' ') || word.ends_with('-')) word.pop_back();
      while (word.starts_with(' ')) word.erase(0, 1);
      if (!word.empty()) words.push_back(word);
      word.clear();
    } else {
      word += c;
    }
  }
  return words;
}

inline void expect_verdict(const Example& example) {
  SCOPED_TRACE(example.name);
  Sources sources = example.trainer ? trainer_context(example.text) : Sources{};
  sources.world_size = example.ranks;
  const auto loaded = load(example.source, sources);
  const std::vector<std::string> must_name = words_of(example.must_name);
  if (example.verdict == "error" || example.verdict == "later") {
    ASSERT_FALSE(loaded);
    const std::string message = loaded.error().message();
    EXPECT_EQ(loaded.error().code(), Errc::bad_config);
    for (const std::string& word : must_name) EXPECT_SAYS(message, word);
    if (example.verdict == "error") return;
    EXPECT_SAYS(message, "not in this version");
    EXPECT_SAYS(message, "one problem");
    return;
  }
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(loaded->notes.empty(), example.verdict == "ok") << joined(loaded->notes);
  for (const std::string& word : must_name)
    EXPECT_TRUE(any_says(loaded->notes, word)) << word << " in\n" << joined(loaded->notes);
  const auto again = load_object(loaded->resolved, sources);
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_TRUE(again->config == loaded->config) << loaded->resolved.dump(2);
}

}  // namespace fathom::config
