// SPDX-License-Identifier: Apache-2.0
#include "config/resolve.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "config/batch.hpp"
#include "config/convert.hpp"
#include "config/key.hpp"

namespace fathom::config {
namespace {

using nlohmann::json;

template <class T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

// A key and the flag of the same meaning. `flag` and `stand_in` give null for "nothing".
struct Link {
  std::string_view path;
  std::string_view flag_name;
  json flag;
  json stand_in;
  bool must_match = true;
};

class Resolver {
 public:
  Resolver(Values& values, const Sources& sources, Report& report)
      : values_(values), sources_(sources), report_(report) {}

  void run() {
    precision();
    batch();
    link({"gradient_clipping", "--max-grad-norm", or_null(sources_.flags.max_grad_norm),
          or_null(sources_.stand_in.max_grad_norm)});
    link({"checkpoint.use_node_local_storage", "--save-on-each-node",
          or_null(sources_.flags.save_on_each_node),
          json(sources_.stand_in.save_on_each_node.value_or(false)), false});
    // As in Hugging Face, this flag wins over the file.
    if (sources_.flags.save_on_each_node == true)
      values_.set("checkpoint.use_node_local_storage", true);
    optimizer();
    scheduler();
    buckets();
    finish();
  }

 private:
  void link(const Link& link) {
    Value& value = values_.at(link.path);
    if (value.broken) return;
    if (link.flag.is_number() && !flag_in_range(link.path, link.flag_name, link.flag)) {
      value.broken = true;
      return;
    }
    if (value.automatic) {
      const json& found = link.flag.is_null() ? link.stand_in : link.flag;
      if (found.is_null()) return;  // stays automatic, and is listed at the end
      value.value = found;
      value.automatic = false;
    } else if (!link.flag.is_null()) {
      if (value.given && link.must_match && value.value != link.flag) {
        contradict(value, link.flag_name, link.flag);
      } else if (!value.given) {
        value.value = link.flag;
      }
    }
  }

  bool flag_in_range(std::string_view path, std::string_view flag, const json& said) {
    const Key* key = nullptr;
    for (const Key& row : all_keys())
      if (row.path == path) key = &row;
    FATHOM_ASSERT(key != nullptr, "a flag for a key that has no row");
    if (in_range(*key, said.get<double>())) return true;
    report_.problem(
        {}, flag,
        fmt::format("{} is not allowed here; write a number {}", said.dump(), range_text(*key)));
    return false;
  }

  void contradict(const Value& value, std::string_view flag, const json& said) {
    contradictions_ +=
        fmt::format("{}{} is {} in the file, {} says {}", contradictions_.empty() ? "" : "; ",
                    value.written, value.value.dump(), flag, said.dump());
    if (first_contradiction_.line == 0) first_contradiction_ = value.at;
  }

  // A precision flag also switches on a block that the file does not have.
  void precision() {
    link({"fp16.enabled", "--fp16", or_null(sources_.flags.fp16),
          json(sources_.stand_in.fp16.value_or(false))});
    link({"bf16.enabled", "--bf16", or_null(sources_.flags.bf16),
          json(sources_.stand_in.bf16.value_or(false))});
  }

  // `auto` sizes take the flag, else what the two others leave, else the stand-in.
  void batch() {
    Value& train = values_.at("train_batch_size");
    Value& micro = values_.at("train_micro_batch_size_per_gpu");
    Value& accumulation = values_.at("gradient_accumulation_steps");
    if (train.automatic) {
      train.automatic = false;
      train.given = false;  // computed
    }
    const bool train_given = values_.states("train_batch_size");
    const bool derivable = train_given && (micro.automatic != accumulation.automatic) &&
                           (micro.automatic ? values_.states("gradient_accumulation_steps")
                                            : values_.states("train_micro_batch_size_per_gpu"));
    batch_size(micro, "--per-device-train-batch-size", sources_.flags.per_device_train_batch_size,
               derivable ? std::nullopt : sources_.stand_in.per_device_train_batch_size);
    batch_size(accumulation, "--gradient-accumulation-steps",
               sources_.flags.gradient_accumulation_steps,
               derivable ? std::nullopt : sources_.stand_in.gradient_accumulation_steps);
    if (train.broken || micro.broken || accumulation.broken) return;
    GivenBatch given{.train = values_.optional_integer("train_batch_size"),
                     .micro = values_.optional_integer("train_micro_batch_size_per_gpu"),
                     .accumulation = values_.optional_integer("gradient_accumulation_steps")};
    // Generation and evaluation take their batches from elsewhere.
    if (sources_.purpose == Purpose::inference && !given.train && !given.micro) given.micro = 1;
    const auto complete = complete_batch(given, sources_.world_size);
    if (!complete) {
      const Value& first = train.given ? train : micro.given ? micro : accumulation;
      report_.problem(first.at, "", complete.error().why());
      return;
    }
    train.value = complete->train;
    micro.value = complete->micro;
    accumulation.value = complete->accumulation;
  }

  void batch_size(Value& value, std::string_view flag_name,
                  const std::optional<std::uint64_t>& flag,
                  const std::optional<std::uint64_t>& stand_in) {
    if (value.broken) return;
    if (flag && *flag == 0) {
      report_.problem({}, flag_name, "0 is not a batch size; write 1 or more");
      value.broken = true;
      return;
    }
    if (value.given && !value.automatic) {
      if (flag && value.value != json(*flag)) contradict(value, flag_name, json(*flag));
      return;
    }
    if (flag)
      value.value = *flag;
    else if (value.automatic && stand_in)
      value.value = *stand_in;
    value.automatic = false;
  }

  void optimizer() {
    const bool absent = !values_.at("optimizer").given;
    const CommandLine& flags = sources_.flags;
    const CommandLine& stand_in = sources_.stand_in;
    if (absent) values_.set("optimizer.type", "AdamW");
    const auto number = [&](std::string_view path, std::string_view name,
                            const std::optional<double>& flag, const std::optional<double>& other) {
      link({path, name, or_null(flag), or_null(other)});
      if (absent && !flag && other) values_.set(path, *other);
    };
    number("optimizer.params.lr", "--learning-rate", flags.learning_rate, stand_in.learning_rate);
    number("optimizer.params.eps", "--adam-epsilon", flags.adam_epsilon, stand_in.adam_epsilon);
    number("optimizer.params.weight_decay", "--weight-decay", flags.weight_decay,
           stand_in.weight_decay);
    betas(absent);
  }

  // One key, two flags.
  void betas(bool absent) {
    Value& value = values_.at("optimizer.params.betas");
    if (value.broken) return;
    const std::optional<double> flags[] = {sources_.flags.adam_beta1, sources_.flags.adam_beta2};
    const std::optional<double> others[] = {sources_.stand_in.adam_beta1,
                                            sources_.stand_in.adam_beta2};
    static constexpr std::string_view names[] = {"--adam-beta1", "--adam-beta2"};
    for (const std::size_t i : {0U, 1U}) {
      if (flags[i] && !flag_in_range("optimizer.params.betas", names[i], *flags[i])) continue;
      if (values_.states("optimizer.params.betas")) {
        if (flags[i] && value.value[i] != json(*flags[i]))
          contradict(value, names[i], json(*flags[i]));
      } else if (flags[i]) {
        value.value[i] = *flags[i];
      } else if ((absent || value.automatic) && others[i]) {
        value.value[i] = *others[i];
      }
    }
    value.automatic = false;
  }

  void scheduler() {
    const CommandLine& flags = sources_.flags;
    scheduler_type();
    if (const auto& ratio = flags.warmup_ratio; ratio && !(*ratio >= 0 && *ratio <= 1))
      report_.problem(
          {}, "--warmup-ratio",
          fmt::format("{} is not allowed here; write a share of the steps, 0 to 1", *ratio));
    const std::optional<std::uint64_t> all_steps = total_steps(sources_);
    const json total = or_null(all_steps);
    Value& steps = values_.at("scheduler.params.total_num_steps");
    const bool had_total = steps.given;
    link({"scheduler.params.total_num_steps", "--max-steps", or_null(flags.max_steps), total});
    if (!had_total && steps.value.is_null()) steps.value = total;
    link({"scheduler.params.warmup_min_lr", "", nullptr, json(0.0)});
    const json warmup = raised(warmup_steps(flags, all_steps));
    const json fallback = raised(warmup_steps(sources_.stand_in, all_steps));
    if (Value& steps_given = values_.at("scheduler.params.warmup_num_steps");
        values_.states("scheduler.params.warmup_num_steps"))
      steps_given.value = std::max(steps_given.value.get<std::uint64_t>(), fewest_warmup_steps);
    link({"scheduler.params.warmup_num_steps",
          flags.warmup_steps ? "--warmup-steps" : "--warmup-ratio", warmup,
          fallback.is_null() ? json(fewest_warmup_steps) : fallback});
    Value& peak = values_.at("scheduler.params.warmup_max_lr");
    const json lr = values_.at("optimizer.params.lr").value;
    link({"scheduler.params.warmup_max_lr", "--learning-rate", or_null(flags.learning_rate), lr});
    if (peak.value.is_null()) peak.value = lr;
  }

  // Every warm-up has at least two steps; applied before values are compared.
  static constexpr std::uint64_t fewest_warmup_steps = 2;

  static json raised(const std::optional<std::uint64_t>& steps) {
    return steps ? json(std::max(*steps, fewest_warmup_steps)) : json(nullptr);
  }

  // A file and a flag that both name a schedule must name the same one.
  void scheduler_type() {
    static constexpr std::array same = {std::pair("WarmupLR", "constant_with_warmup"),
                                        std::pair("WarmupDecayLR", "linear"),
                                        std::pair("WarmupCosineLR", "cosine")};
    const auto& flag = sources_.flags.lr_scheduler_type;
    const Value& type = values_.at("scheduler.type");
    if (!flag || !values_.states("scheduler.type")) return;
    for (const auto& [mine, theirs] : same)
      if (type.value == mine && *flag == theirs) return;
    contradict(type, "--lr-scheduler-type", json(*flag));
  }

  void buckets() {
    static constexpr std::string_view zero = "zero_optimization.";
    const auto from_hidden = [&](std::string_view name, auto rule) {
      Value& value = values_.at(fmt::format("{}{}", zero, name));
      if (!value.automatic) return;
      if (sources_.hidden_size) {
        value.value = rule(*sources_.hidden_size);
        value.automatic = false;
      }
    };
    from_hidden("reduce_bucket_size", [](std::uint64_t h) { return h * h; });
    from_hidden("stage3_prefetch_bucket_size", [](std::uint64_t h) { return h * h * 9 / 10; });
    from_hidden("stage3_param_persistence_threshold", [](std::uint64_t h) { return 10 * h; });
  }

  void finish() {
    if (!contradictions_.empty())
      report_.problem(
          first_contradiction_, "",
          fmt::format("the command line contradicts the file: {}; write \"auto\" in the "
                      "file to let the command line decide",
                      contradictions_));
    std::string open;
    Position first;
    for (const auto& [path, value] : values_.all()) {
      if (!value.automatic || value.broken) continue;
      open += fmt::format("{}{}", open.empty() ? "" : ", ", path);
      if (first.line == 0) first = value.at;
    }
    if (!open.empty())
      report_.problem(
          first, "",
          fmt::format("nothing gives a value for \"auto\" of {}; write values, or give the "
                      "model and --max-steps",
                      open));
  }

  Values& values_;
  const Sources& sources_;
  Report& report_;
  std::string contradictions_;
  Position first_contradiction_;
};

}  // namespace

std::optional<std::uint64_t> total_steps(const Sources& sources) {
  return sources.flags.max_steps ? sources.flags.max_steps : sources.total_steps;
}

std::optional<std::uint64_t> warmup_steps(const CommandLine& flags,
                                          const std::optional<std::uint64_t>& total) {
  if (flags.warmup_steps && (*flags.warmup_steps > 0 || !flags.warmup_ratio))
    return flags.warmup_steps;
  if (!flags.warmup_ratio || !total) return std::nullopt;
  const double share = std::clamp(*flags.warmup_ratio, 0.0, 1.0);
  return static_cast<std::uint64_t>(std::ceil(static_cast<double>(*total) * share));
}

CommandLine hugging_face_defaults() {
  CommandLine defaults;
  defaults.per_device_train_batch_size = 8;
  defaults.gradient_accumulation_steps = 1;
  defaults.learning_rate = 5e-5;
  defaults.weight_decay = 0.0;
  defaults.adam_beta1 = 0.9;
  defaults.adam_beta2 = 0.999;
  defaults.adam_epsilon = 1e-8;
  defaults.max_grad_norm = 1.0;
  defaults.warmup_steps = 0;
  defaults.bf16 = false;
  defaults.fp16 = false;
  defaults.tf32 = false;
  defaults.save_on_each_node = false;
  return defaults;
}

void resolve(Values& values, const Sources& sources, Report& report) {
  Resolver(values, sources, report).run();
}

}  // namespace fathom::config
