// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <utility>

#include <fmt/format.h>

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
  json["ratio_to_default"] = candidate.score();
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

Result<void> write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  if (file) return {};
  return fail(Error(Errc::io, "write a report")
                  .on(path)
                  .because_errno(errno)
                  .remedy("choose a directory you may write to with --out"));
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

std::string summary_text(const Preflight& preflight, const Outcome& outcome) {
  const Candidate& pick = outcome.chosen();
  const Rates rates = pick.rates();
  const Decision& decision = outcome.decision;
  std::string text = aio_block(pick.arm).dump() + "\n";
  text +=
      fmt::format("{}: {}, {} in flight{}\n", decision.keeps_default ? "keep the default" : "use",
                  to_string(pick.arm), format_bytes(pick.arm.in_flight()),
                  decision.keeps_default ? "; nothing was found that is clearly better" : "");
  text += fmt::format("rates      read {}, write {}; both at once: duplex factor {:.2f}\n",
                      format_rate(rates.read),
                      rates.write > 0 ? format_rate(rates.write) : "not measured", outcome.duplex);
  const Interval& ratio = decision.intervals[decision.chosen];
  if (!decision.keeps_default)
    text += fmt::format(
        "gain       {} for a training step's bytes against the default (95 %: {} "
        "to {})\n",
        percent(ratio.middle), percent(ratio.low), percent(ratio.high));
  if (decision.best != decision.chosen) {
    const Interval& top = decision.intervals[decision.best];
    text += fmt::format("fastest    {} was {} faster: within {:.0f} %, and dearer\n",
                        to_string(outcome.best().arm), percent(top.middle / ratio.middle),
                        100 * tolerance);
  }
  text += fmt::format(
      "noise      {:.1f} % (CV), {:.1f} % (MAD), drift {:+.1f} %{}\n",
      100 * outcome.noise.variation, 100 * outcome.noise.deviation, 100 * outcome.noise.drift,
      decision.noisy
          ? fmt::format("; NOISY: differences below {:.0f} % mean nothing", 100 * decision.claimed)
          : "");
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
  for (const PathRates& path : outcome.paths)
    text += fmt::format("path       {}: read {}, write {}\n", path.path,
                        format_rate(path.rates.read), format_rate(path.rates.write));
  if (outcome.cliff)
    text += fmt::format("writing    fell from {} to {} after {} of the first pass: a cache ended\n",
                        format_rate(outcome.preparation.front()),
                        format_rate(outcome.preparation.back()),
                        format_bytes(*outcome.cliff * preflight.largest_in_flight));
  if (outcome.device_share)
    text += fmt::format("proof      the device moved {:.0f} % of the bytes asked for\n",
                        100 * *outcome.device_share);
  text +=
      fmt::format("effort     {}, {} measurements, {} written\n", format_seconds(outcome.seconds),
                  outcome.rows.size(), format_bytes(outcome.written));
  for (const std::string& note : outcome.notes) text += "note       " + note + "\n";
  return text;
}

Json report_json(const Options& options, const Preflight& preflight, const Outcome& outcome) {
  Json arms = Json::array(), finalists = Json::array(), paths = Json::array();
  for (const Candidate& candidate : outcome.halving.all) arms.push_back(candidate_json(candidate));
  for (std::size_t i = 0; i < outcome.rounds.size(); ++i) {
    finalists.push_back(candidate_json(outcome.rounds[i]));
    finalists.back()["ratio_95"] = interval_json(outcome.decision.intervals[i]);
  }
  for (const PathRates& path : outcome.paths)
    paths.push_back({{"path", path.path},
                     {"read_bytes_per_second", path.rates.read},
                     {"write_bytes_per_second", path.rates.write}});
  const Candidate& pick = outcome.chosen();
  const Rates rates = pick.rates();
  return {{"aio", aio_block(pick.arm)["aio"]},
          {"engine", to_string(pick.arm.engine)},
          {"keep_default", outcome.decision.keeps_default},
          {"noisy", outcome.decision.noisy},
          {"profile",
           {{"read_bytes_per_second", rates.read},
            {"write_bytes_per_second", rates.write},
            {"duplex", outcome.duplex}}},
          {"noise",
           {{"trials", outcome.noise.trials},
            {"cv", outcome.noise.variation},
            {"mad", outcome.noise.deviation},
            {"drift", outcome.noise.drift},
            {"differences_below_mean_nothing", outcome.decision.claimed}}},
          {"fio", fio_json(outcome.fio)},
          {"finalists", finalists},
          {"arms", arms},
          {"paths", paths},
          {"preparation_bytes_per_second", outcome.preparation},
          {"device_share", outcome.device_share ? Json(*outcome.device_share) : Json(nullptr)},
          {"bytes_written", outcome.written},
          {"seconds", outcome.seconds},
          {"pages", to_string(preflight.pages)},
          {"notes", outcome.notes},
          {"options",
           {{"max_write_gib", options.max_write_gib},
            {"time", options.seconds},
            {"engine", to_string(options.engine)}}},
          {"preflight", preflight_json(preflight)}};
}

std::string trials_csv(const Outcome& outcome) {
  std::string text =
      "phase,engine,block_size,queue_depth,intra_op_parallelism,single_submit,overlap_events,"
      "read_share,read_bytes,write_bytes,seconds,cpu_seconds\n";
  for (const Row& row : outcome.rows)
    text += fmt::format("{},{},{},{},{},{},{},{:.4f},{},{},{:.6f},{:.6f}\n", row.phase,
                        to_string(row.arm.engine), row.arm.block, row.arm.depth, row.arm.threads,
                        row.arm.single_submit, row.arm.overlap_events, row.read_share,
                        row.trial.read_bytes, row.trial.write_bytes, row.trial.seconds,
                        row.trial.cpu_seconds);
  return text;
}

Result<void> write_files(const std::string& directory, const Json& report,
                         const Preflight& preflight, const Outcome& outcome) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    return fail(Error(Errc::io, "create a directory")
                    .on(directory)
                    .because(error.message())
                    .remedy("choose a directory you may write to with --out"));
  FATHOM_CHECK(write_file(directory + "/aio.json", aio_block(outcome.chosen().arm).dump(2) + "\n"));
  FATHOM_CHECK(write_file(directory + "/report.json", report.dump(2) + "\n"));
  FATHOM_CHECK(write_file(directory + "/trials.csv", trials_csv(outcome)));
  return write_file(directory + "/report.svg", report_svg(preflight, outcome));
}

}  // namespace fathom::aio_bench
