// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "base/log.hpp"
#include "base/text_file.hpp"
#include "commands.hpp"
#include "engine/generate.hpp"
#include "options.hpp"
#include "result_file.hpp"

namespace fathom::tools {
namespace {

struct Flags {
  engine::GenerateOptions options;
  std::string prompt, prompt_ids, prompts_file;
  std::optional<double> temperature, top_p, min_p;
  std::optional<std::uint64_t> top_k;
  std::string out;
  bool json = false, resume = false;
};

// {"prompt": "text"}, {"text": "text"} or a bare string, one on a line.
Result<void> read_prompts(const std::string& path, engine::GenerateOptions& options) {
  FATHOM_ASSIGN(const std::string text, read_text_file(path));
  std::istringstream lines(text);
  std::string line;
  for (std::size_t number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto bad = [&](const char* why) {
      return fail(Error(Errc::bad_input, "read prompts")
                      .on(fmt::format("{}:{}", path, number))
                      .because(why)
                      .remedy("write {\"prompt\": \"text\"} on each line"));
    };
    const nlohmann::json value = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (value.is_discarded()) return bad("it is not JSON");
    if (value.is_string()) {
      options.prompts.push_back(value);
    } else if (value.is_object() && value.contains("prompt") && value["prompt"].is_string()) {
      options.prompts.push_back(value["prompt"]);
    } else if (value.is_object() && value.contains("text") && value["text"].is_string()) {
      options.prompts.push_back(value["text"]);
    } else {
      return bad("it has no \"prompt\"");
    }
  }
  if (options.prompts.empty())
    return fail(Error(Errc::bad_input, "read prompts")
                    .on(path)
                    .because("it has no prompt")
                    .remedy("write one on each line"));
  return {};
}

Result<std::vector<std::int64_t>> parse_ids(const std::string& text) {
  std::vector<std::int64_t> ids;
  const char* at = text.data();
  const char* end = at + text.size();
  for (bool more = true; more;) {
    std::int64_t id = 0;
    const auto [rest, status] = std::from_chars(at, end, id);
    if (status != std::errc() || (rest != end && *rest != ','))
      return fail(Error(Errc::bad_config, "read --prompt-ids")
                      .on(text)
                      .because("it is not a list of numbers")
                      .remedy("write 1,2,3"));
    ids.push_back(id);
    more = rest != end;
    at = more ? rest + 1 : end;
  }
  return ids;
}

// Results go to --out, a line for each as soon as it is known.
Result<int> run_to_file(Flags& flags) {
  engine::GenerateOptions& options = flags.options;
  const std::size_t prompts = options.prompts.size() + options.prompt_ids.size();
  FATHOM_ASSIGN(ResultFile file, ResultFile::open(flags.out, flags.resume));
  if (file.lines() > prompts)
    return fail(Error(Errc::bad_input, "resume")
                    .on(flags.out)
                    .because(fmt::format("it has {} results, but there are {} prompts",
                                         file.lines(), prompts))
                    .remedy("give the prompts it was made from, or another file"));
  options.skip = file.lines();
  if (options.skip > 0) log::info("{} of {} prompts are done", options.skip, prompts);
  FATHOM_CHECK(engine::generate(options, {}, [&](std::size_t, const engine::Generation& result) {
    return file.append(engine::generation_json(result).dump(
        -1, ' ', false, nlohmann::json::error_handler_t::replace));
  }));
  return exit_ok;
}

Result<int> run(Flags& flags) {
  engine::GenerateOptions& options = flags.options;
  const int sources =
      !flags.prompt.empty() + !flags.prompt_ids.empty() + !flags.prompts_file.empty();
  if (sources != 1)
    return fail(Error(Errc::bad_config, "generate")
                    .because("exactly one of --prompt, --prompt-ids and --prompts is needed")
                    .remedy("give one of them"));
  if (flags.resume && flags.out.empty())
    return fail(Error(Errc::bad_config, "generate")
                    .because("--resume goes on with the results of an earlier --out")
                    .remedy("name the file with --out"));
  // Greedy unless a sampling flag is given.
  options.sampling.temperature =
      flags.temperature.value_or(flags.top_k || flags.top_p || flags.min_p ? 1 : 0);
  options.sampling.top_k = flags.top_k.value_or(options.sampling.top_k);
  options.sampling.top_p = flags.top_p.value_or(options.sampling.top_p);
  options.sampling.min_p = flags.min_p.value_or(options.sampling.min_p);
  if (!flags.prompt.empty()) options.prompts.push_back(flags.prompt);
  if (!flags.prompts_file.empty()) FATHOM_CHECK(read_prompts(flags.prompts_file, options));
  if (!flags.prompt_ids.empty()) {
    FATHOM_ASSIGN(std::vector<std::int64_t> ids, parse_ids(flags.prompt_ids));
    options.prompt_ids.push_back(std::move(ids));
  }
  if (!flags.out.empty()) return run_to_file(flags);
  // One prompt on a terminal appears as it is made.
  const bool stream = !flags.json && flags.prompts_file.empty();
  engine::TextSink sink;
  // The prompt appears with the first token: a run that fails before leaves stdout empty.
  std::string before = flags.prompt;
  if (stream)
    sink = [&before](std::size_t, const std::string& text) {
      // A closed stdout is found out when the last line is printed.
      [[maybe_unused]] const auto printed = print_text(std::exchange(before, {}) + text);
    };
  FATHOM_ASSIGN(const std::vector<engine::Generation> results, engine::generate(options, sink));
  if (stream) FATHOM_CHECK(print_text("\n"));
  for (const engine::Generation& result : results) {
    if (flags.json)
      FATHOM_CHECK(print_json(engine::generation_json(result)));
    else if (!stream)
      FATHOM_CHECK(print_text(result.text + "\n"));
  }
  return exit_ok;
}

}  // namespace

Command add_generate(CLI::App& app) {
  const auto flags = std::make_shared<Flags>();
  add_inference_flags(app, flags->options);
  app.add_option("--prompt", flags->prompt, "text to continue");
  app.add_option("--prompt-ids", flags->prompt_ids, "token ids instead of text: 1,2,3");
  app.add_option("--prompts", flags->prompts_file, "JSON Lines with \"prompt\"");
  app.add_option("--max-new-tokens", flags->options.max_new_tokens,
                 "at most this many (default: 128, or as many as the model has positions for)")
      ->check(whole_number(1));
  app.add_flag("--ignore-eos", flags->options.ignore_eos, "do not stop at the end-of-text token");
  app.add_option(
         "--temperature", flags->temperature,
         "sample at this temperature; 0: greedy (default: 1 with --top-k or --top-p, else 0)")
      ->check(real_number(0, false));
  app.add_option("--top-k", flags->top_k, "sample among this many; 0: all")->check(whole_number());
  app.add_option("--top-p", flags->top_p, "sample among the most likely with this probability")
      ->check(real_number(0, false, 1));
  app.add_option("--min-p", flags->min_p,
                 "sample among those with this share of the most likely one's probability")
      ->check(real_number(0, false, 1));
  app.add_option("--repetition-penalty", flags->options.sampling.repetition_penalty,
                 "divide the logits of tokens that were there already (1: off)")
      ->check(real_number(0, true));
  app.add_option("--stop", flags->options.stop, "end a text in front of this string; repeatable")
      ->allow_extra_args(false);
  app.add_option("--out", flags->out,
                 "write one JSON object per prompt to this file as they are made");
  app.add_flag("--resume", flags->resume, "go on behind the results that --out has");
  app.add_flag("--json", flags->json, "one JSON object per prompt on stdout");
  return [flags] { return run(*flags); };
}

}  // namespace fathom::tools
