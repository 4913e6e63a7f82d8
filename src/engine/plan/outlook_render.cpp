// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/outlook_render.hpp"

#include <iterator>

#include <fmt/format.h>

#include "base/units.hpp"

namespace fathom::engine {
namespace {

using nlohmann::json;

// Below this a change is not worth a sentence: the simulator is not that exact.
constexpr double worth_saying = 0.01;

std::uint64_t whole(double value) { return static_cast<std::uint64_t>(value + 0.5); }

double share_of(const ResourceUse& use, const Plan& plan) {
  return plan.prediction.seconds > 0 ? use.seconds / plan.prediction.seconds : 0;
}

std::string format_days(double days) {
  if (days >= 730) return fmt::format("{:.1f} years", days / 365.25);
  if (days >= 10) return fmt::format("{:.0f} days", days);
  return fmt::format("{:.1f} days", days);
}

void resource_lines(std::string& text, const Plan& plan, const Outlook& outlook) {
  auto out = std::back_inserter(text);
  fmt::format_to(out, "resource  {:<10} {:>14} {:>12}\n", "", "bytes a step", "busy");
  for (const ResourceUse& use : outlook.resources) {
    fmt::format_to(out, "          {:<10} {:>14} {:>12} {:3.0f} %", to_string(use.resource),
                   use.bytes != 0 ? format_bytes(use.bytes) : "", format_seconds(use.seconds),
                   100 * share_of(use, plan));
    if (use.compute > 0)
      fmt::format_to(out, "  {} compute, {} update", format_seconds(use.compute),
                     format_seconds(use.update));
    text += '\n';
  }
}

void io_line(std::string& text, const Plan& plan, const Outlook& outlook) {
  auto out = std::back_inserter(text);
  if (outlook.io_seconds <= 0) {
    text += "hiding    nothing moves to or from nvme\n";
    return;
  }
  const double tokens = tokens_per_step(plan.input);
  fmt::format_to(out, "hiding    from {} tokens a step on compute hides the {} of I/O; now {}{}\n",
                 format_count(whole(outlook.tokens_to_hide_io)), format_seconds(outlook.io_seconds),
                 format_count(whole(tokens)),
                 tokens >= outlook.tokens_to_hide_io ? ": hidden" : "");
}

void writing_lines(std::string& text, const Forecast& forecast) {
  const Outlook& outlook = forecast.outlook;
  if (outlook.written_per_step == 0) return;
  auto out = std::back_inserter(text);
  fmt::format_to(out, "writes    {} a step, {} a day\n", format_bytes(outlook.written_per_step),
                 format_bytes(whole(outlook.written_per_day)));
  if (!forecast.wear) return;
  const Wear& wear = *forecast.wear;
  fmt::format_to(out, "endurance {:.4g} TB written are used up after {}", wear.tbw / 1e12,
                 format_days(wear.days.value_or(0)));
  if (forecast.steps != 0)
    fmt::format_to(out, "; {} steps use {:.3g} %", forecast.steps, 100 * wear.of_run);
  if (wear.busiest_share < 1)
    fmt::format_to(out, " (of the path that takes {:.0f} % of the writes)",
                   100 * wear.busiest_share);
  text += '\n';
}

void help_lines(std::string& text, const Plan& plan, const Forecast& forecast) {
  auto out = std::back_inserter(text);
  fmt::format_to(out, "speed     {:.4g} tokens/s predicted\n", forecast.outlook.tokens_per_second);
  const char* head = "helps";
  for (const Advice& advice : forecast.help) {
    if (advice.gain < worth_saying) continue;
    fmt::format_to(out, "{:<10}{}\n", head, advice.sentence);
    head = "";
  }
  if (*head != 0 && !forecast.help.empty()) {
    std::string tried;
    for (const Advice& advice : forecast.help) tried += (tried.empty() ? "" : ", ") + advice.change;
    fmt::format_to(out, "helps     none of {} by {:.0f} %: {} binds\n", tried, 100 * worth_saying,
                   plan.prediction.bound_by);
  }
}

}  // namespace

Forecast forecast(const Plan& plan, std::optional<double> tbw, std::uint64_t steps) {
  Forecast made{.outlook = look_ahead(plan), .wear = {}, .steps = steps, .help = advise(plan)};
  if (tbw) made.wear = wear(plan, made.outlook, *tbw, steps);
  return made;
}

void add_forecast(json& plan_json, const Plan& plan, const Forecast& forecast) {
  const Outlook& outlook = forecast.outlook;
  json resources = json::object();
  for (const ResourceUse& use : outlook.resources)
    resources[to_string(use.resource)] = {
        {"operations", use.operations}, {"moved_bytes", use.bytes},
        {"busy_seconds", use.seconds},  {"compute_seconds", use.compute},
        {"update_seconds", use.update}, {"share_of_step", share_of(use, plan)}};
  json written = {{"bytes_per_step", outlook.written_per_step},
                  {"bytes_per_day", outlook.written_per_day}};
  if (forecast.wear) {
    const Wear& wear = *forecast.wear;
    written["tbw_bytes"] = wear.tbw;
    written["tbw_days"] = wear.days ? json(*wear.days) : json(nullptr);
    written["busiest_path_share"] = wear.busiest_share;
    if (forecast.steps != 0) written["run_share_of_tbw"] = wear.of_run;
  }
  json help = json::array();
  for (const Advice& advice : forecast.help)
    help.push_back({{"change", advice.change},
                    {"from", advice.from},
                    {"to", advice.to},
                    {"step_seconds", advice.step_seconds},
                    {"predicted_tokens_per_second", advice.tokens_per_second},
                    {"gain", advice.gain},
                    {"sentence", advice.sentence}});
  plan_json["tokens_per_second"] = outlook.tokens_per_second;
  plan_json["resources"] = std::move(resources);
  plan_json["io_seconds"] = outlook.io_seconds;
  plan_json["tokens_to_hide_io"] = outlook.tokens_to_hide_io;
  plan_json["written"] = std::move(written);
  plan_json["help"] = std::move(help);
}

std::string forecast_text(const Plan& plan, const Forecast& forecast) {
  std::string text;
  resource_lines(text, plan, forecast.outlook);
  io_line(text, plan, forecast.outlook);
  writing_lines(text, forecast);
  help_lines(text, plan, forecast);
  return text;
}

}  // namespace fathom::engine
