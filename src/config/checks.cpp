// SPDX-License-Identifier: Apache-2.0
#include "config/checks.hpp"

#include <algorithm>
#include <iterator>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace fathom::config {
namespace {

constexpr std::string_view offload_param = "zero_optimization.offload_param";
constexpr std::string_view offload_optimizer = "zero_optimization.offload_optimizer";

std::string key_of(std::string_view object, std::string_view name) {
  return fmt::format("{}.{}", object, name);
}

class Checker {
 public:
  Checker(const Values& values, const Sources& sources, Report& report)
      : values_(values), sources_(sources), report_(report) {}

  void run() {
    precision();
    if (sources_.purpose == Purpose::train) {
      optimizer();
      scheduler();
    }
    zero();
    offload(offload_param);
    offload(offload_optimizer);
    absent_paths();
    paths();
    aio();
    parallel_sizes();
  }

 private:
  // A later check that reads a broken value would only repeat its problem.
  bool usable(std::string_view path) const {
    const Value& value = values_.at(path);
    return !value.broken && !value.automatic;
  }
  bool is(std::string_view path, const nlohmann::json& wanted) const {
    return usable(path) && values_.at(path).value == wanted;
  }
  void problem(std::string_view path, std::string_view text) {
    const Value& value = values_.at(path);
    report_.problem(value.at, value.written, text);
  }
  void note(std::string_view path, std::string_view text) {
    const Value& value = values_.at(path);
    report_.note(value.at, value.written, text);
  }

  void precision() {
    const bool fp16 = is("fp16.enabled", true), bf16 = is("bf16.enabled", true);
    if (fp16 && bf16)
      problem("bf16.enabled", "fp16.enabled and bf16.enabled are both on; keep one of the two");
    if (!usable("data_types.param_dtype") || values_.is_null("data_types.param_dtype")) return;
    const std::string mode = fp16 ? "fp16" : bf16 ? "bf16" : "fp32";
    if (const std::string said = values_.text("data_types.param_dtype"); said != mode)
      problem("data_types.param_dtype",
              fmt::format("{} is named, but the enabled mode is {}; make them equal", said, mode));
  }

  void optimizer() {
    static constexpr std::string_view list = "use Adam, AdamW, Lion, Adagrad, SGD or Lamb";
    if (!usable("optimizer.type") || values_.is_null("optimizer.type")) return;
    const std::string type = values_.text("optimizer.type");
    if (type == "OneBitAdam" || type == "ZeroOneAdam" || type == "OneBitLamb")
      problem("optimizer.type",
              fmt::format("{} is not offered: there is no compressed reduction; {}", type, list));
    if (type == "Muon")
      problem(
          "optimizer.type",
          fmt::format("Muon is not offered: it needs whole matrices across partitions; {}", list));
    if (type == "MuAdam" || type == "MuAdamW" || type == "MuSGD")
      problem("optimizer.type", fmt::format("{} is not offered; {}", type, list));
    if (type == "AdamW" && is("optimizer.params.adam_w_mode", false))
      note("optimizer.params.adam_w_mode",
           "no effect: AdamW always decays apart from the gradient; name Adam for the L2 form");
    if (type == "SGD") nesterov();
    if (type == "Lamb") lamb();
  }

  void nesterov() {
    if (!is("optimizer.params.nesterov", true) || !usable("optimizer.params.momentum") ||
        !usable("optimizer.params.dampening"))
      return;
    if (values_.number("optimizer.params.momentum") == 0 ||
        values_.number("optimizer.params.dampening") != 0)
      problem("optimizer.params.nesterov",
              "Nesterov's form needs a momentum above 0 and a dampening of 0");
  }

  // Its ratio of norms needs every tensor whole, which only unlimited host or device memory gives.
  void lamb() {
    for (const std::string_view object : {offload_optimizer, offload_param}) {
      const std::string device = key_of(object, "device");
      const bool off = is(device, "none") || (object == offload_param && is(device, "cpu"));
      if (usable(device) && !off)
        problem(device, fmt::format("Lamb does not go with offloading: it needs the norms of whole "
                                    "tensors; set it to \"none\", or use AdamW"));
    }
    if (usable("optimizer.params.min_coeff") && usable("optimizer.params.max_coeff") &&
        values_.number("optimizer.params.min_coeff") > values_.number("optimizer.params.max_coeff"))
      problem("optimizer.params.min_coeff", "it is above max_coeff; exchange the two");
  }

  void scheduler() {
    if (!values_.at("scheduler").given || !usable("scheduler.type")) return flag_scheduler();
    if (values_.is_null("scheduler.type")) return;
    const std::string type = values_.text("scheduler.type");
    if (type == "OneCycle") one_cycle();
    const bool needs_total = type == "WarmupDecayLR" || type == "WarmupCosineLR";
    if (!needs_total || !usable("scheduler.params.total_num_steps")) return;
    if (values_.is_null("scheduler.params.total_num_steps")) {
      report_.problem(
          values_.at("scheduler").at, "scheduler.params.total_num_steps",
          fmt::format("{} needs it; write the number of steps, or give --max-steps", type));
      return;
    }
    if (!usable("scheduler.params.warmup_num_steps")) return;
    const auto total = values_.integer("scheduler.params.total_num_steps");
    const auto warmup = values_.integer("scheduler.params.warmup_num_steps");
    if (total < warmup)
      note("scheduler.params.total_num_steps",
           fmt::format("{} is less than warmup_num_steps {}: the warm-up never ends", total,
                       warmup));
  }

  void one_cycle() {
    for (const char* name : {"cycle_min_lr", "cycle_max_lr"}) {
      const std::string path = key_of("scheduler.params", name);
      if (usable(path) && values_.is_null(path))
        report_.problem(values_.at("scheduler").at, path,
                        "OneCycle needs it; write the rate at that end of the cycle");
    }
    if (!is("scheduler.params.cycle_momentum", true) || !usable("optimizer.type")) return;
    const std::string type = values_.text_or_empty("optimizer.type");
    if (type == "SGD" || type == "Adagrad")
      note("scheduler.params.cycle_momentum",
           fmt::format("no effect: {} has no betas whose first could cycle", type));
  }

  // Without a scheduler block the flag decides alone.
  void flag_scheduler() {
    static constexpr std::string_view names[] = {"constant", "constant_with_warmup", "linear",
                                                 "cosine",   "cosine_with_restarts", "polynomial"};
    const auto& flag = sources_.flags.lr_scheduler_type;
    if (!flag || values_.at("scheduler").given) return;
    if (std::ranges::find(names, *flag) == std::end(names))
      report_.problem(
          {}, "--lr-scheduler-type",
          fmt::format("\"{}\" is not known; write one of {}", *flag, fmt::join(names, ", ")));
    else if (!flag->starts_with("constant") && values_.is_null("scheduler.params.total_num_steps"))
      report_.problem({}, "--lr-scheduler-type",
                      fmt::format("{} needs the number of steps; give --max-steps", *flag));
    else if (*flag == "polynomial" && usable("optimizer.params.lr") &&
             values_.number("optimizer.params.lr") <= 1e-7)
      report_.problem({}, "--lr-scheduler-type",
                      "polynomial falls to a rate of 1e-7 and has to begin above it");
  }

  void zero() {
    if (!usable("zero_optimization.stage")) return;
    const auto stage = values_.integer("zero_optimization.stage");
    if (sources_.purpose == Purpose::inference && (stage == 1 || stage == 2))
      note("zero_optimization.stage",
           fmt::format(
               "no effect: stage {} partitions what inference does not have; runs as stage 0",
               stage));
    if (is("zero_optimization.reduce_bucket_size", 0))
      note("zero_optimization.reduce_bucket_size", "0 means no cap on a reduction");
    if (is("zero_optimization.compute_grad_norm", false) && usable("gradient_clipping") &&
        values_.number("gradient_clipping") > 0)
      problem(
          "zero_optimization.compute_grad_norm",
          fmt::format("gradient_clipping is {} and needs the norm; set it to 0, or this to true",
                      values_.number("gradient_clipping")));
    if (usable("zero_optimization.sub_group_size")) {
      const auto elements = values_.integer("zero_optimization.sub_group_size");
      if (elements == 0)
        note("zero_optimization.sub_group_size", "0 means the default, 16777216");
      else if (elements < (16U << 20) && elements % 4096 != 0)
        note("zero_optimization.sub_group_size",
             fmt::format("{} is rounded up to {}, a multiple of 4096", elements,
                         (elements + 4095) / 4096 * 4096));
    }
  }

  void offload(std::string_view object) {
    const std::string device_key = key_of(object, "device"), path_key = key_of(object, "nvme_path");
    if (!usable(device_key) || !usable(path_key)) return;
    const std::string device = values_.text(device_key);
    const bool has_path = !values_.text_or_empty(path_key).empty();
    const bool is_param = object == offload_param;
    if (usable("zero_optimization.stage")) {
      const auto stage = values_.integer("zero_optimization.stage");
      const bool inference = sources_.purpose == Purpose::inference;
      if (is_param && device != "none" && stage != 3)
        problem(
            device_key,
            fmt::format("weights can leave the device at stage 3 only, and the stage is {}; set "
                        "\"stage\": 3 or \"device\": \"none\"",
                        stage));
      if (!is_param && device == "nvme" && stage != 3 && !inference)
        problem(device_key,
                fmt::format("states can go to nvme at stage 3 only, and the stage is {}; set "
                            "\"stage\": 3 or \"device\": \"cpu\"",
                            stage));
      if (!is_param && device == "cpu" && stage == 0 && !inference)
        problem(
            device_key,
            "states can leave the device at stages 1 to 3, and the stage is 0; set \"stage\": 1 "
            "or \"device\": \"none\"");
      const std::string ratio = key_of(object, "ratio");
      if (!is_param && stage != 3 && usable(ratio) && values_.number(ratio) < 1)
        problem(ratio, fmt::format("a ratio below 1 needs stage 3, and the stage is {}", stage));
    }
    if (device != "nvme" && has_path)
      note(path_key, fmt::format("no effect: the device is \"{}\"", device));
  }

  // One line, whatever it concerns.
  void absent_paths() {
    const bool listed =
        usable("fathom.nvme_paths") && !values_.at("fathom.nvme_paths").value.empty();
    const auto absent = [&](std::string_view object) {
      const std::string path_key = key_of(object, "nvme_path");
      return is(key_of(object, "device"), "nvme") && usable(path_key) && !listed &&
             values_.text_or_empty(path_key).empty();
    };
    const bool weights = absent(offload_param);
    const bool states = sources_.purpose == Purpose::train && absent(offload_optimizer);
    if (!weights && !states) return;
    const std::string_view first = weights ? offload_param : offload_optimizer;
    report_.note(values_.at(key_of(first, "device")).at,
                 weights && states ? "zero_optimization.offload_param.nvme_path, "
                                     "zero_optimization.offload_optimizer.nvme_path"
                                   : key_of(first, "nvme_path"),
                 fmt::format("absent with device nvme, so {} in pinned host memory ({}); name a "
                             "directory to use nvme",
                             weights && states ? "weights and optimizer states stay"
                             : weights         ? "the weights stay"
                                               : "the optimizer states stay",
                             bytes_text(weights, states)));
  }

  // What stays, in each precision: weights 2 or 4 bytes, the rest of the master (bf16 2, fp16 4),
  // and the optimizer's states.
  std::string bytes_text(bool weights, bool states) const {
    if (!states) return "2 bytes per parameter in 16-bit types, 4 in fp32";
    int kept = 8;
    const std::string type =
        usable("optimizer.type") ? values_.text_or_empty("optimizer.type") : "";
    if (type == "Lion" || type == "Adagrad") kept = 4;
    if (type == "SGD")
      kept = usable("optimizer.params.momentum") && values_.number("optimizer.params.momentum") == 0
                 ? 0
                 : 4;
    const int w = weights ? 2 : 0;
    return fmt::format("{} bytes per parameter in bf16, {} in fp16, {} in fp32", w + 2 + kept,
                       w + 4 + kept, 2 * w + kept);
  }

  void paths() {
    const auto used = [&](std::string_view object) {
      return is(key_of(object, "device"), "nvme") && usable(key_of(object, "nvme_path"))
                 ? values_.text_or_empty(key_of(object, "nvme_path"))
                 : std::string();
    };
    const std::string first = used(offload_param), second = used(offload_optimizer);
    if (!first.empty() && !second.empty() && first != second)
      note(key_of(offload_optimizer, "nvme_path"),
           fmt::format("differs from offload_param's {}: both join one stripe set", first));
  }

  void aio() {
    if (usable("aio.block_size") && values_.integer("aio.block_size") % 4096 != 0)
      problem("aio.block_size", fmt::format("{} is not a multiple of 4096; direct I/O needs one",
                                            values_.integer("aio.block_size")));
  }

  void parallel_sizes() {
    if (usable("sequence_parallel_size") &&
        values_.optional_integer("sequence_parallel_size").value_or(1) != 1)
      problem("sequence_parallel_size",
              "only 1 is accepted: there is no sequence parallelism; leave the key out");
    const auto data = usable("data_parallel_size") ? values_.optional_integer("data_parallel_size")
                                                   : std::nullopt;
    if (data && *data != 1 && *data != sources_.world_size)
      problem("data_parallel_size",
              fmt::format("{} is named, but the world has {} ranks; leave the "
                          "key out",
                          *data, sources_.world_size));
  }

  const Values& values_;
  const Sources& sources_;
  Report& report_;
};

}  // namespace

void check_combinations(const Values& values, const Sources& sources, Report& report) {
  Checker(values, sources, report).run();
}

}  // namespace fathom::config
