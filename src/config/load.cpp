// SPDX-License-Identifier: Apache-2.0
//
// The order of work: read, parse, rename, bind, resolve, check, build. Each step adds to one
// report.
#include <fmt/format.h>

#include "base/assert.hpp"
#include "config/bind.hpp"
#include "config/build.hpp"
#include "config/checks.hpp"
#include "config/config.hpp"
#include "config/not_in_this_version.hpp"
#include "config/resolve.hpp"
#include "config/rewrite.hpp"
#include "config/source.hpp"

namespace fathom::config {
namespace {

Result<Loaded> load_document(Document document, const Sources& sources) {
  FATHOM_ASSERT(sources.world_size > 0, "a world has at least one rank");
  Report report(document.origin);
  for (const Remark& remark : document.departures)
    report.note(remark.at, "", fmt::format("not strict JSON: {}, {}", remark.path, remark.text));
  for (const Remark& remark : document.problems)
    report.problem(remark.at, remark.path, remark.text);
  if (sources.purpose == Purpose::inference) {
    // A file that was written for training serves here too; nothing in these blocks matters.
    document.root.remove("optimizer");
    document.root.remove("scheduler");
  }
  rewrite_old_names(document.root, report);
  Values values = bind(document.root, report);
  resolve(values, sources, report);
  check_combinations(values, sources, report);
  refuse_what_is_missing(values, report);
  if (report.failed()) return fail(report.error());

  Loaded loaded;
  loaded.config = build_config(values, sources);
  loaded.resolved = resolved_json(values, loaded.config, sources);
  loaded.notes = report.notes();
  return loaded;
}

}  // namespace

Result<Loaded> load(std::string_view source, const Sources& sources) {
  FATHOM_ASSIGN(SourceText text, read_source(source));
  FATHOM_ASSIGN(Document document, parse_document(text.text, text.origin));
  return load_document(std::move(document), sources);
}

Result<Loaded> load_object(const nlohmann::json& object, const Sources& sources) {
  FATHOM_ASSIGN(Document document, document_from_json(object, "configuration object"));
  return load_document(std::move(document), sources);
}

const char* to_string(Precision precision) {
  switch (precision) {
    case Precision::fp32: return "fp32";
    case Precision::bf16: return "bf16";
    case Precision::fp16: return "fp16";
  }
  return "?";
}

const char* to_string(Tier tier) {
  switch (tier) {
    case Tier::none: return "none";
    case Tier::cpu: return "cpu";
    case Tier::nvme: return "nvme";
  }
  return "?";
}

const char* to_string(OptimizerType type) {
  switch (type) {
    case OptimizerType::adam: return "Adam";
    case OptimizerType::adamw: return "AdamW";
    case OptimizerType::lion: return "Lion";
    case OptimizerType::adagrad: return "Adagrad";
    case OptimizerType::sgd: return "SGD";
    case OptimizerType::lamb: return "Lamb";
  }
  return "?";
}

const char* to_string(IoEngine engine) {
  switch (engine) {
    case IoEngine::automatic: return "auto";
    case IoEngine::io_uring: return "io_uring";
    case IoEngine::libaio: return "libaio";
    case IoEngine::posix: return "posix";
  }
  return "?";
}

}  // namespace fathom::config
