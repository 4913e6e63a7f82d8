// SPDX-License-Identifier: Apache-2.0
#include "engine/metrics.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/units.hpp"

namespace fathom::engine {
namespace {

// JSON has no NaN and no infinity.
std::string number(double value, int digits) {
  return std::isfinite(value) ? fmt::format("{:.{}g}", value, digits) : "null";
}

std::string bytes_text(const StepBytes& bytes) {
  return fmt::format(R"({{"nvme_read":{},"nvme_write":{},"h2d":{},"d2h":{},"network":{}}})",
                     bytes.nvme_read, bytes.nvme_write, bytes.h2d, bytes.d2h, bytes.network);
}

}  // namespace

std::string metrics_line(const StepMetrics& m, const EvalMetrics* evaluation) {
  const std::string evaluated =
      evaluation == nullptr ? ""
                            : fmt::format(R"(,"eval_loss":{},"eval_tokens":{},"eval_seconds":{})",
                                          number(evaluation->loss, 9), evaluation->tokens,
                                          number(evaluation->seconds, 6));
  return fmt::format(
      R"({{"step":{},"loss":{},"lr":{},"grad_norm":{},"loss_scale":{},"skipped":{},"tokens":{},)"
      R"("seconds":{},"lower_bound_seconds":{},"bytes":{},"planned_bytes":{},)"
      R"("peak":{{"host":{},"device":{}}}{}}})",
      m.step, number(static_cast<float>(m.loss), 9), number(m.lr, 17), number(m.grad_norm, 9),
      number(m.loss_scale, 17), m.skipped, m.tokens, number(m.seconds, 6),
      number(m.lower_bound_seconds, 6), bytes_text(m.bytes), bytes_text(m.planned), m.peak_host,
      m.peak_device, evaluated);
}

std::string evaluation_line(const EvalMetrics& m) {
  return fmt::format(R"({{"step":{},"eval_loss":{},"tokens":{},"seconds":{}}})", m.step,
                     number(m.loss, 17), m.tokens, number(m.seconds, 6));
}

Result<MetricsFile> MetricsFile::open(const std::string& path, bool append) {
  MetricsFile file;
  file.path_ = path;
  if (path.empty()) return file;
  file.out_.open(path, append ? std::ios::app : std::ios::trunc);
  if (!file.out_)
    return fail(Error(Errc::io, "open the metrics file")
                    .on(path)
                    .because_errno(errno)
                    .remedy("choose a path you may write to with --metrics"));
  return file;
}

void MetricsFile::add(const StepMetrics& metrics, const EvalMetrics* evaluation) {
  if (path_.empty()) return;
  out_ << metrics_line(metrics, evaluation) << std::endl;  // whole lines, so that a reader may
                                                           // follow the file
  if (!out_) {
    log::warning("cannot write {}: the disk may be full; training goes on without metrics", path_);
    path_.clear();
  }
}

ProgressLine::ProgressLine(std::int64_t first_step, std::int64_t last_step, std::uint64_t every,
                           bool quiet)
    : first_(first_step),
      last_(last_step),
      every_(every != 0 ? every
                        : std::max<std::uint64_t>(
                              1, static_cast<std::uint64_t>(last_step - first_step + 1) / 10)),
      quiet_(quiet),
      terminal_(::isatty(STDERR_FILENO) == 1),
      begin_(now_seconds()) {}

ProgressLine::~ProgressLine() {
  if (open_) std::fputc('\n', stderr);
}

void ProgressLine::update(const StepMetrics& m) {
  if (quiet_) return;
  const bool due =
      m.step == first_ || m.step == last_ || static_cast<std::uint64_t>(m.step) % every_ == 0;
  if (!terminal_ && !due) return;
  const double done = static_cast<double>(m.step - first_ + 1);
  const double left = static_cast<double>(last_ - m.step) * (now_seconds() - begin_) / done;
  const std::string line = fmt::format(
      "step {}/{}  loss {:.4f}{}  {:.0f} tokens/s  nvme {} r {} w  {:.0f} % of bound  ETA {}",
      m.step, last_, m.loss, m.skipped ? " (skipped)" : "",
      static_cast<double>(m.tokens) / m.seconds,
      format_rate(static_cast<double>(m.bytes.nvme_read) / m.seconds),
      format_rate(static_cast<double>(m.bytes.nvme_write) / m.seconds),
      100 * m.lower_bound_seconds / m.seconds, format_seconds(left));
  if (terminal_) {
    std::fprintf(stderr, "\r\x1b[2K%s", line.c_str());
    std::fflush(stderr);
    open_ = true;
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
}

void ProgressLine::evaluated(const EvalMetrics& m, bool best) {
  if (quiet_) return;
  std::fprintf(stderr, "%s%s\n", terminal_ && open_ ? "\n" : "",
               fmt::format("step {}  eval loss {:.4f} over {} tokens in {}{}", m.step, m.loss,
                           m.tokens, format_seconds(m.seconds), best ? ", the best so far" : "")
                   .c_str());
  open_ = false;
}

}  // namespace fathom::engine
