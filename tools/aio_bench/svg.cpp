// SPDX-License-Identifier: Apache-2.0
#include "svg.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "base/units.hpp"

namespace fathom::aio_bench {
namespace {

constexpr double left = 90, top = 70, cell_width = 58, cell_height = 30;

std::string label(std::uint64_t block) {
  return block >= MiB ? fmt::format("{} MiB", block / MiB) : fmt::format("{} KiB", block / KiB);
}

// Pale to deep blue, by the share of the best.
std::string colour(double share) {
  const double t = std::clamp((share - 0.4) / 0.6, 0.0, 1.0);
  const auto mix = [t](double pale, double deep) { return std::lround(std::lerp(pale, deep, t)); };
  return fmt::format("rgb({},{},{})", mix(240, 18), mix(244, 84), mix(250, 138));
}

std::string text_at(double x, double y, const std::string& words, const char* more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, more, words);
}

double step_rate(const Candidate& candidate) {
  return candidate.score();  // in units of the default
}

struct Heat {
  std::string body;
  double width = 0, height = 0;
};

Heat heat_map(const Preflight& preflight, const Outcome& outcome) {
  std::set<std::uint64_t> blocks;
  std::set<unsigned> depths;
  double best = 1;
  const auto on_map = [&](const Candidate& candidate) {
    return candidate.arm.engine == preflight.control.engine && !candidate.arm.single_submit &&
           candidate.arm.overlap_events && !candidate.ratios.empty();
  };
  for (const Candidate& candidate : outcome.halving.all) {
    if (!on_map(candidate)) continue;
    blocks.insert(candidate.arm.block);
    depths.insert(candidate.arm.operations());
    best = std::max(best, step_rate(candidate));
  }
  blocks.insert(preflight.control.block);
  depths.insert(preflight.control.operations());
  Heat heat;
  const auto column = [&](unsigned depth) {
    return left +
           cell_width * static_cast<double>(std::distance(depths.begin(), depths.find(depth)));
  };
  const auto row = [&](std::uint64_t block) {
    return top +
           cell_height * static_cast<double>(std::distance(blocks.begin(), blocks.find(block)));
  };
  const auto cell = [&](const Arm& arm, double ratio) {
    const double x = column(arm.operations()), y = row(arm.block), share = ratio / best;
    const bool chosen = arm == outcome.chosen().arm;
    heat.body += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"{}/>\n", x,
        y, cell_width - 2, cell_height - 2, colour(share),
        chosen ? " stroke=\"#d2691e\" stroke-width=\"3\"" : "");
    heat.body += text_at(x + cell_width / 2 - 1, y + 19, fmt::format("{:.2f}", ratio),
                         share > 0.75 ? "class=\"m\" fill=\"#fff\"" : "class=\"m\" fill=\"#123\"");
  };
  for (const Candidate& candidate : outcome.halving.all)
    if (on_map(candidate)) cell(candidate.arm, step_rate(candidate));
  cell(preflight.control, 1);
  for (const unsigned depth : depths)
    heat.body +=
        text_at(column(depth) + cell_width / 2 - 1, top - 8, std::to_string(depth), "class=\"m\"");
  for (const std::uint64_t block : blocks)
    heat.body += text_at(left - 8, row(block) + 19, label(block), "class=\"e\"");
  heat.width = left + cell_width * static_cast<double>(depths.size());
  heat.height = top + cell_height * static_cast<double>(blocks.size());
  return heat;
}

// Ours and fio's rate of each mode as bars; the line across ours is the 95 % interval of the ratio,
// where fio's rate is 1.
std::string bars(const Outcome& outcome, double y, double width) {
  std::string body;
  double roof = 1;
  for (const Versus& versus : outcome.fio.modes)
    roof = std::max({roof, median(versus.ours), median(versus.fio)});
  const double room = width - left - 210;
  for (const Versus& versus : outcome.fio.modes) {
    const double ours = median(versus.ours), fio = median(versus.fio);
    body += text_at(left - 8, y + 20, versus.mode, "class=\"e\"");
    body += fmt::format(
        "<rect x=\"{0:.1f}\" y=\"{1:.1f}\" width=\"{2:.1f}\" height=\"13\" fill=\"#12548a\"/>\n"
        "<rect x=\"{0:.1f}\" y=\"{3:.1f}\" width=\"{4:.1f}\" height=\"13\" fill=\"#b8c4ce\"/>\n",
        left, y, room * ours / roof, y + 15, room * fio / roof);
    const auto across = [&](double ratio) {
      return left + room * std::clamp(ratio * fio / roof, 0.0, 1.1);
    };
    body += fmt::format(
        "<path d=\"M{0:.1f} {2:.1f}H{1:.1f}M{0:.1f} {3:.1f}v8M{1:.1f} {3:.1f}v8\" "
        "stroke=\"#d2691e\" stroke-width=\"2\" fill=\"none\"/>\n",
        across(versus.ratio.low), across(versus.ratio.high), y + 6.5, y + 2.5);
    body +=
        text_at(across(std::max({1.0, ours / fio, versus.ratio.high})) + 8, y + 19,
                fmt::format("{:.2f} and {:.2f} GB/s: {:.2f}x ({:.2f} to {:.2f})", ours / 1e9,
                            fio / 1e9, versus.ratio.middle, versus.ratio.low, versus.ratio.high));
    y += 40;
  }
  return body;
}

// Every setting's reads over its bytes in flight, both in powers of two, under the roof: bytes in
// flight over the latency of one transfer, and the fastest seen.
std::string roofline(const Outcome& outcome, double y, double width) {
  constexpr double height = 180;
  double least = 1e18, most = 1, fastest = 1, slowest = 1e18;
  for (const Candidate& candidate : outcome.seen) {
    const double rate = candidate.rates().read;
    const auto flight = static_cast<double>(candidate.arm.in_flight());
    if (rate <= 0) continue;
    least = std::min(least, flight);
    most = std::max(most, flight);
    fastest = std::max(fastest, rate);
    slowest = std::min(slowest, rate);
  }
  if (least > most) return "";
  const double octaves = std::max(1.0, std::log2(most / least));
  const double levels = std::max(1.0, std::log2(fastest / slowest) + 0.5);
  const auto across = [&](double flight) {
    return left + (width - left - 40) * std::log2(flight / least) / octaves;
  };
  const auto up = [&](double rate) {
    return y + std::clamp(height * std::log2(fastest / rate) / levels, 0.0, height);
  };
  std::string body =
      fmt::format("<path d=\"M{:.1f} {:.1f}", across(least),
                  up(outcome.latency > 0 ? std::min(fastest, least / outcome.latency) : fastest));
  const double knee = std::clamp(fastest * outcome.latency, least, most);
  body += fmt::format(
      "L{:.1f} {:.1f}H{:.1f}\" stroke=\"#d2691e\" stroke-width=\"2\" "
      "fill=\"none\"/>\n",
      across(knee), up(fastest), across(most));
  for (const Candidate& candidate : outcome.seen) {
    const double rate = candidate.rates().read;
    if (rate <= 0) continue;
    const bool chosen = candidate.arm == outcome.chosen().arm;
    body += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\"/>\n",
                        across(static_cast<double>(candidate.arm.in_flight())), up(rate),
                        chosen ? 6 : 3, chosen ? "#d2691e" : "#12548a");
  }
  for (double flight = least; flight <= most; flight *= 4)
    body += text_at(across(flight), y + height + 18, label(static_cast<std::uint64_t>(flight)),
                    "class=\"m\"");
  body +=
      text_at(left - 8, up(fastest) + 4, fmt::format("{:.1f} GB/s", fastest / 1e9), "class=\"e\"");
  return body + text_at(left - 8, up(slowest) + 4, fmt::format("{:.1f} GB/s", slowest / 1e9),
                        "class=\"e\"");
}

}  // namespace

std::string report_svg(const Preflight& preflight, const Outcome& outcome) {
  const Heat heat = heat_map(preflight, outcome);
  const double width = std::max(heat.width + 30, 640.0);
  const double below = heat.height + 50;
  const double roof = below + 40 * static_cast<double>(outcome.fio.modes.size()) + 40;
  const double height = roof + 220;
  std::string body = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\">\n"
      "<style>text{{font:12px sans-serif;fill:#123}} .m{{text-anchor:middle}} "
      ".e{{text-anchor:end}} .h{{font-size:15px;font-weight:bold}}</style>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      width, height);
  body += text_at(20, 26, "Speed of a training step's I/O, in units of the default setting",
                  "class=\"h\"");
  body += text_at(20, 46,
                  fmt::format("{}: block size down, operations in flight across; framed: the "
                              "recommendation",
                              to_string(preflight.control.engine)));
  body += heat.body;
  if (!outcome.fio.modes.empty()) {
    body += text_at(20, below - 14, "Ours (dark) and fio (light), same file, block and depth",
                    "class=\"h\"");
    body += bars(outcome, below, width);
  }
  body += text_at(20, roof - 14,
                  "Roofline of reads: bytes in flight across, the line is what latency and the "
                  "device allow",
                  "class=\"h\"");
  return body + roofline(outcome, roof, width) + "</svg>\n";
}

}  // namespace fathom::aio_bench
