// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "base/text_file.hpp"
#include "base/units.hpp"
#include "svg.hpp"

namespace fathom::aio_bench {
namespace {

using Json = nlohmann::ordered_json;

Json arm_json(const Arm& arm) {
  return {{"engine", to_string(arm.engine)},    {"block_size", arm.block},
          {"queue_depth", arm.depth},           {"intra_op_parallelism", arm.threads},
          {"single_submit", arm.single_submit}, {"overlap_events", arm.overlap_events},
          {"in_flight_bytes", arm.in_flight()}};
}

Json candidate_json(const Candidate& candidate) {
  Json json = arm_json(candidate.arm);
  const Rates rates = candidate.rates();
  json["read_bytes_per_second"] = rates.read;
  json["write_bytes_per_second"] = rates.write;
  json["cpu_seconds_per_gib"] = candidate.cpu_per_gib();
  json["ratio_to_default"] = candidate.ratios.empty() ? Json(nullptr) : Json(candidate.score());
  json["measurements"] = candidate.samples.size();
  return json;
}

Json interval_json(const Interval& interval) {
  return {{"low", interval.low}, {"median", interval.middle}, {"high", interval.high}};
}

Json fio_json(const Comparison& comparison) {
  if (!comparison.skipped.empty()) return {{"skipped", comparison.skipped}};
  Json json{{"version", comparison.version}, {"buffers", comparison.pages}};
  if (!comparison.cut_short.empty()) json["cut_short"] = comparison.cut_short;
  for (const Versus& versus : comparison.modes)
    json[versus.mode] = {{"ratio", versus.ratio.middle},
                         {"ratio_low", versus.ratio.low},
                         {"ratio_high", versus.ratio.high},
                         {"pairs", versus.ours.size()},
                         {"ours_gbps", median(versus.ours) / 1e9},
                         {"fio_gbps", median(versus.fio) / 1e9},
                         {"ours_cpu_seconds_per_gib", median(versus.ours_cpu)},
                         {"fio_cpu_seconds_per_gib", median(versus.fio_cpu)}};
  return json;
}

std::string percent(double share) { return fmt::format("{:+.1f} %", 100 * (share - 1)); }

constexpr std::size_t most_lines = 20;

std::size_t lines_of(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

std::string noise_line(const Noise& noise, double claimed) {
  return fmt::format(
      "noise      {:.1f} % (CV), {:.1f} % (MAD), drift {:+.1f} %{}\n", 100 * noise.variation,
      100 * noise.deviation, 100 * noise.drift,
      noise.noisy() ? fmt::format("; NOISY: differences below {:.0f} % mean nothing", 100 * claimed)
                    : "");
}

std::string proof_line(const Outcome& outcome) {
  if (!outcome.device_share)
    return "proof      none: the kernel does not count what the device moves here\n";
  return fmt::format("proof      the device moved {:.0f} % of the bytes asked for{}\n",
                     100 * *outcome.device_share,
                     outcome.unproven > 0
                         ? fmt::format("; in {} of {} trials less than 95 %: a cache answered",
                                       outcome.unproven, outcome.rows.size())
                         : "");
}

std::string effort_line(const Outcome& outcome) {
  return fmt::format("effort     {}, {} trials, {} written\n", format_seconds(outcome.seconds),
                     outcome.rows.size(), format_bytes(outcome.written));
}

// Interrupted before anything was decided: what there is.
std::string undecided_text(const Outcome& outcome) {
  std::string text = "interrupted before a setting was decided; nothing is left in the path\n";
  const auto step = [](const Candidate& candidate) {
    std::vector<double> seconds;
    for (const Sample& sample : candidate.samples) seconds.push_back(sample.seconds);
    return median(std::move(seconds));
  };
  const auto best = std::ranges::min_element(outcome.seen, {}, step);
  if (best != outcome.seen.end())
    text +=
        fmt::format("so far     {} was the fastest of {}: read {}, write {}\n",
                    to_string(best->arm), outcome.seen.size(), format_rate(best->rates().read),
                    best->rates().write > 0 ? format_rate(best->rates().write) : "not measured");
  if (outcome.noise.trials > 0) text += noise_line(outcome.noise, 2 * outcome.noise.deviation);
  return text + effort_line(outcome);
}

}  // namespace

Json aio_block(const Arm& arm) {
  return {{"aio",
           {{"block_size", arm.block},
            {"queue_depth", arm.depth},
            {"intra_op_parallelism", arm.threads},
            {"single_submit", arm.single_submit},
            {"overlap_events", arm.overlap_events},
            {"use_gds", false}}}};
}

std::string summary_text(const Preflight& preflight, const Outcome& outcome,
                         const std::vector<std::string>& files) {
  std::string text;
  if (!outcome.decided) {
    text = undecided_text(outcome);
    for (const std::string& file : files) text += file + "\n";
    return text;
  }
  const Candidate& pick = outcome.chosen();
  const Rates rates = pick.rates();
  const Decision& decision = outcome.decision;
  text = aio_block(pick.arm).dump() + "\n";
  text +=
      fmt::format("{}: {}, {} in flight{}\n", decision.keeps_default ? "keep the default" : "use",
                  to_string(pick.arm), format_bytes(pick.arm.in_flight()),
                  decision.keeps_default ? "; nothing was found that is clearly better" : "");
  text += fmt::format(
      "rates      read {}, write {}; both at once: duplex factor {:.2f}; latency {}\n",
      format_rate(rates.read), rates.write > 0 ? format_rate(rates.write) : "not measured",
      outcome.duplex, format_seconds(outcome.latency));
  const Interval& ratio = decision.intervals[decision.chosen];
  if (!decision.keeps_default)
    text += fmt::format("gain       {} for a step's bytes against the default (95 %: {} to {})\n",
                        percent(ratio.middle), percent(ratio.low), percent(ratio.high));
  if (decision.best != decision.chosen) {
    const Interval& top = decision.intervals[decision.best];
    text += fmt::format("fastest    {} was {} faster: within {:.0f} %, and dearer\n",
                        to_string(outcome.best().arm), percent(top.middle / ratio.middle),
                        100 * tolerance);
  }
  text += noise_line(outcome.noise, decision.claimed);
  for (const Versus& versus : outcome.fio.modes)
    text += fmt::format(
        "vs fio     {:<6}{:.2f}x ({:.2f} to {:.2f}): {} against {}; cpu {:.3f} against {:.3f} "
        "s/GiB\n",
        versus.mode, versus.ratio.middle, versus.ratio.low, versus.ratio.high,
        format_rate(median(versus.ours)), format_rate(median(versus.fio)), median(versus.ours_cpu),
        median(versus.fio_cpu));
  if (!outcome.fio.skipped.empty()) text += "vs fio     " + outcome.fio.skipped + "\n";
  if (!outcome.fio.pages.empty())
    text += fmt::format("buffers    ours: {}; fio's: {}\n", to_string(preflight.pages),
                        outcome.fio.pages);
  if (outcome.cliff) {
    const auto at = outcome.preparation.begin() + static_cast<std::ptrdiff_t>(*outcome.cliff);
    text += fmt::format("writing    fell from {} to {} after {} of the first pass: a cache ended\n",
                        format_rate(median({outcome.preparation.begin(), at})),
                        format_rate(median({at, outcome.preparation.end()})),
                        format_bytes(*outcome.cliff * preflight.largest_in_flight));
  }
  text += proof_line(outcome) + effort_line(outcome);
  std::vector<std::string> more;
  for (const PathRates& path : outcome.paths)
    more.push_back(fmt::format("path       {}: read {}, write {}", path.path,
                               format_rate(path.rates.read), format_rate(path.rates.write)));
  if (!outcome.fio.cut_short.empty()) more.push_back("note       " + outcome.fio.cut_short);
  if (outcome.interrupted)
    more.emplace_back("note       interrupted: the comparison with fio is not complete");
  for (const std::string& note : outcome.notes) more.push_back("note       " + note);
  for (std::size_t i = 0; i < more.size(); ++i) {
    if (lines_of(text) + 2 > most_lines && i + 1 < more.size()) {
      text += fmt::format("more       {} lines more in report.json\n", more.size() - i);
      break;
    }
    text += more[i] + "\n";
  }
  for (const std::string& file : files) text += file + "\n";
  return text;
}

aio::DeviceProfile profile_of(const Outcome& outcome) {
  const Rates rates = outcome.chosen().rates();
  aio::DeviceProfile profile{.read = rates.read,
                             .write = rates.write,
                             .duplex = outcome.duplex,
                             .latency = outcome.latency,
                             .paths = {}};
  for (const PathRates& path : outcome.paths)
    profile.paths.push_back({path.path, path.rates.read, path.rates.write});
  return profile;
}

Json report_json(const Options& options, const Preflight& preflight, const Outcome& outcome) {
  Json arms = Json::array(), finalists = Json::array();
  // Undecided, nothing has ratios: what was measured stands without them.
  for (const Candidate& candidate : outcome.decided ? outcome.halving.all : outcome.seen)
    arms.push_back(candidate_json(candidate));
  for (std::size_t i = 0; i < outcome.rounds.size(); ++i) {
    finalists.push_back(candidate_json(outcome.rounds[i]));
    finalists.back()["ratio_95"] = interval_json(outcome.decision.intervals[i]);
  }
  Json report = Json::object();
  if (outcome.decided) {
    const Candidate& pick = outcome.chosen();
    report = {{"aio", aio_block(pick.arm)["aio"]},
              {"engine", to_string(pick.arm.engine)},
              {"keep_default", outcome.decision.keeps_default},
              {"noisy", outcome.decision.noisy},
              {"profile", Json::parse(to_json(profile_of(outcome)))}};
  }
  report["interrupted"] = outcome.interrupted;
  report["noise"] = {{"trials", outcome.noise.trials},
                     {"cv", outcome.noise.variation},
                     {"mad", outcome.noise.deviation},
                     {"drift", outcome.noise.drift},
                     {"differences_below_mean_nothing", 2 * outcome.noise.deviation}};
  report["fio"] = fio_json(outcome.fio);
  report["finalists"] = finalists;
  report["arms"] = arms;
  report["preparation_bytes_per_second"] = outcome.preparation;
  report["device_share"] = outcome.device_share ? Json(*outcome.device_share) : Json(nullptr);
  report["trials_the_device_did_not_make"] = outcome.unproven;
  report["bytes_written"] = outcome.written;
  report["seconds"] = outcome.seconds;
  report["pages"] = to_string(preflight.pages);
  report["notes"] = outcome.notes;
  report["options"] = {{"max_write_gib", options.max_write_gib},
                       {"time", options.seconds},
                       {"engine", to_string(options.engine)},
                       {"mix", {options.mix.read, options.mix.write}}};
  report["preflight"] = preflight_json(preflight);
  return report;
}

std::string trials_csv(const Outcome& outcome) {
  std::string text =
      "phase,program,engine,block_size,queue_depth,intra_op_parallelism,single_submit,"
      "overlap_events,read_share,read_bytes,write_bytes,seconds,cpu_seconds,device_share\n";
  for (const Row& row : outcome.rows)
    text += fmt::format("{},{},{},{},{},{},{},{},{:.4f},{},{},{:.6f},{:.6f},{}\n", row.phase,
                        row.fio ? "fio" : "fathom", to_string(row.arm.engine), row.arm.block,
                        row.arm.depth, row.arm.threads, row.arm.single_submit,
                        row.arm.overlap_events, row.read_share, row.trial.read_bytes,
                        row.trial.write_bytes, row.trial.seconds, row.trial.cpu_seconds,
                        row.device_share ? fmt::format("{:.4f}", *row.device_share) : "unknown");
  return text;
}

Result<std::vector<std::string>> write_files(const std::string& directory, const Json& report,
                                             const Preflight& preflight, const Outcome& outcome) {
  FATHOM_CHECK(make_directories(directory));
  std::vector<std::pair<std::string, std::string>> files;
  if (outcome.decided) {
    files.emplace_back("aio.json", aio_block(outcome.chosen().arm).dump(2) + "\n");
    files.emplace_back("profile.json", to_json(profile_of(outcome)));
  }
  files.emplace_back("report.json", report.dump(2) + "\n");
  files.emplace_back("trials.csv", trials_csv(outcome));
  if (outcome.decided) files.emplace_back("report.svg", report_svg(preflight, outcome));
  std::vector<std::string> names;
  for (const auto& [name, text] : files) {
    names.push_back((std::filesystem::path(directory) / name).string());
    FATHOM_CHECK(write_text_file(names.back(), text));
  }
  return names;
}

}  // namespace fathom::aio_bench
