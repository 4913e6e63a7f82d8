// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <iostream>
#include <iterator>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "commands.hpp"
#include "models/tokenizer.hpp"
#include "options.hpp"

namespace fathom::tools {
namespace {

struct Flags {
  std::string model;
  bool no_special = false, json = false, jsonl = false;
};

Result<void> print_tokens(const models::Tokenizer& tokenizer, const std::string& text,
                          const Flags& flags) {
  const std::vector<models::TokenId> ids = tokenizer.encode(text, !flags.no_special);
  if (!flags.json && !flags.jsonl) return print_text(fmt::format("{}\n", fmt::join(ids, " ")));
  return print_json({{"ids", ids}, {"text", tokenizer.decode(ids, /*skip_special=*/true)}});
}

Result<int> run(const Flags& flags) {
  std::error_code ignored;
  if (!std::filesystem::exists(flags.model, ignored))
    return fail(Error(Errc::not_found, "tokenize")
                    .on("--model " + flags.model)
                    .because("there is no such directory")
                    .remedy("give a Hugging Face directory"));
  FATHOM_ASSIGN(const models::Tokenizer tokenizer, models::Tokenizer::load(flags.model));
  if (!flags.jsonl) {
    const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
    FATHOM_CHECK(print_tokens(tokenizer, text, flags));
    return exit_ok;
  }
  std::string line;
  for (std::size_t number = 1; std::getline(std::cin, line); ++number) {
    const nlohmann::json value = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!value.is_string())
      return fail(Error(Errc::bad_input, "tokenize")
                      .on(fmt::format("stdin, line {}", number))
                      .because("it is not a JSON string")
                      .remedy("write one JSON string on each line"));
    FATHOM_CHECK(print_tokens(tokenizer, value, flags));
  }
  return exit_ok;
}

}  // namespace

Command add_tokenize(CLI::App& app) {
  const auto flags = std::make_shared<Flags>();
  app.add_option("--model", flags->model,
                 "directory with tokenizer.json or tokenizer.model; without, ids are bytes")
      ->required();
  app.add_flag("--no-special", flags->no_special, "leave out the tokens that the template adds");
  app.add_flag("--jsonl", flags->jsonl,
               "one JSON string on each line of stdin, one object on each of stdout");
  app.add_flag("--json", flags->json, "one JSON document on stdout");
  return [flags] { return run(*flags); };
}

}  // namespace fathom::tools
