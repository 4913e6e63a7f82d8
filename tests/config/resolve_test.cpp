// SPDX-License-Identifier: Apache-2.0
//
// `auto`, flags and what they may not contradict.
#include "tests/config/support.hpp"

namespace fathom::config {
namespace {

constexpr std::string_view all_auto = R"({
  "train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto",
  "gradient_accumulation_steps": "auto", "gradient_clipping": "auto",
  "fp16": {"enabled": "auto"}, "bf16": {"enabled": "auto"},
  "optimizer": {"type": "AdamW", "params":
      {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"}},
  "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_min_lr": "auto", "warmup_max_lr": "auto",
      "warmup_num_steps": "auto", "total_num_steps": "auto"}},
  "zero_optimization": {"stage": 3, "reduce_bucket_size": "auto",
      "stage3_prefetch_bucket_size": "auto", "stage3_param_persistence_threshold": "auto"},
  "checkpoint": {"use_node_local_storage": "auto"}})";

TEST(Auto, TakesTheFlags) {
  Sources sources{.world_size = 2, .hidden_size = 2048};
  sources.flags = {.per_device_train_batch_size = 3,
                   .gradient_accumulation_steps = 5,
                   .learning_rate = 0.25,
                   .weight_decay = 0.125,
                   .adam_beta1 = 0.5,
                   .adam_beta2 = 0.75,
                   .adam_epsilon = 1e-5,
                   .max_grad_norm = 0.0,
                   .warmup_steps = 7,
                   .warmup_ratio = {},
                   .max_steps = 70,
                   .lr_scheduler_type = {},
                   .bf16 = true,
                   .fp16 = {},
                   .tf32 = true,
                   .save_on_each_node = true};
  const Loaded loaded = must_load(all_auto, sources);
  EXPECT_TRUE(loaded.notes.empty()) << joined(loaded.notes);
  const Config& config = loaded.config;
  EXPECT_TRUE((config.batch == BatchConfig{30, 3, 5, 2}));
  EXPECT_EQ(config.gradient_clipping, 0.0);
  EXPECT_EQ(config.precision.compute, Precision::bf16);
  EXPECT_TRUE(config.precision.tf32);
  const OptimizerConfig adamw{.type = OptimizerType::adamw,
                              .lr = 0.25,
                              .beta1 = 0.5,
                              .beta2 = 0.75,
                              .eps = 1e-5,
                              .weight_decay = 0.125};
  EXPECT_TRUE(config.optimizer == adamw);
  EXPECT_EQ(config.scheduler.warmup_min_lr, 0.0);
  EXPECT_EQ(config.scheduler.warmup_max_lr, 0.25);
  EXPECT_EQ(config.scheduler.warmup_num_steps, 7U);
  EXPECT_EQ(config.scheduler.total_num_steps, 70U);
  EXPECT_EQ(config.zero.reduce_bucket_elements, 2048U * 2048U);
  EXPECT_EQ(config.zero.prefetch_elements, 3774873U);
  EXPECT_EQ(config.zero.param_persistence_elements, 20480U);
  EXPECT_TRUE(config.checkpoint.use_node_local_storage);
}

TEST(Auto, TakesHuggingFacesDefaultsWithoutFlags) {
  const Config config = must_load(all_auto, {.hidden_size = 8, .total_steps = 40}).config;
  EXPECT_TRUE((config.batch == BatchConfig{8, 8, 1, 1}));
  EXPECT_EQ(config.gradient_clipping, 1.0);
  EXPECT_EQ(config.precision.compute, Precision::fp32);
  EXPECT_EQ(config.optimizer.lr, 5e-5);
  EXPECT_EQ(config.scheduler.warmup_max_lr, 5e-5);
  EXPECT_EQ(config.scheduler.total_num_steps, 40U);
}

TEST(Auto, DerivesABatchSizeFromTheTwoOthers) {
  const Config config = must_load(R"({"train_batch_size": 12, "gradient_accumulation_steps": 3,
      "train_micro_batch_size_per_gpu": "auto"})")
                            .config;
  EXPECT_EQ(config.batch.micro, 4U);
  EXPECT_EQ(must_load(R"({"train_batch_size": 12, "gradient_accumulation_steps": "auto",
      "train_micro_batch_size_per_gpu": 2})")
                .config.batch.accumulation,
            6U);
}

TEST(Auto, WithoutASourceIsOneErrorThatListsEveryKey) {
  const std::string message = problems_of(all_auto);
  EXPECT_SAYS(message, "one problem");
  for (const char* key :
       {"scheduler.params.total_num_steps", "zero_optimization.reduce_bucket_size",
        "zero_optimization.stage3_prefetch_bucket_size",
        "zero_optimization.stage3_param_persistence_threshold"})
    EXPECT_SAYS(message, key);
}

TEST(Auto, OfAKeyThatHasNoSourceIsAnError) {
  EXPECT_SAYS(problems_of(with_batch(R"("aio": {"queue_depth": "auto"})")), "aio.queue_depth");
  EXPECT_SAYS(problems_of(with_batch(R"("zero_optimization": {"stage": "auto"})")),
              "zero_optimization.stage");
  EXPECT_SAYS(problems_of(with_batch(R"("steps_per_print": "auto")")), "steps_per_print");
  EXPECT_SAYS(problems_of(with_batch(R"("bf16": "auto")")), "bf16");
}

TEST(Auto, WarmupStepsComeFromTheRatioWhenThereAreNone) {
  const char* text = R"({"train_batch_size": 1, "scheduler": {"type": "WarmupLR",
      "params": {"warmup_num_steps": "auto"}}})";
  Sources sources{.total_steps = 95};
  sources.flags.warmup_ratio = 0.1;
  EXPECT_EQ(must_load(text, sources).config.scheduler.warmup_num_steps, 10U);
  sources.flags.warmup_steps = 0;
  EXPECT_EQ(must_load(text, sources).config.scheduler.warmup_num_steps, 10U);
  sources.flags.warmup_steps = 4;
  EXPECT_EQ(must_load(text, sources).config.scheduler.warmup_num_steps, 4U);
  EXPECT_EQ(must_load(text).config.scheduler.warmup_num_steps, 2U) << "0 is raised to 2";
}

TEST(Flags, SetKeysThatTheFileLeavesOut) {
  Sources sources;
  sources.flags.per_device_train_batch_size = 2;
  sources.flags.bf16 = true;
  sources.flags.max_grad_norm = 0.5;
  sources.flags.learning_rate = 0.25;
  sources.flags.adam_beta2 = 0.5;
  const Config bare = must_load("{}", sources).config;
  EXPECT_EQ(bare.batch.train, 2U);
  EXPECT_EQ(bare.precision.compute, Precision::bf16);
  EXPECT_EQ(bare.gradient_clipping, 0.5);
  EXPECT_EQ(bare.optimizer.lr, 0.25);
  EXPECT_EQ(bare.optimizer.beta1, 0.9);
  EXPECT_EQ(bare.optimizer.beta2, 0.5);
  const Config block = must_load(R"({"optimizer": {"type": "AdamW"}})", sources).config;
  EXPECT_EQ(block.optimizer.lr, 0.25);
}

TEST(Flags, AnAbsentOptimizerIsHuggingFacesAndABareOneThePeers) {
  EXPECT_EQ(must_load(with_batch("")).config.optimizer.lr, 5e-5);
  EXPECT_EQ(must_load(with_batch(R"("optimizer": {"type": "AdamW"})")).config.optimizer.lr, 1e-3);
}

TEST(Flags, ThatContradictTheFileAreOneErrorThatListsAll) {
  Sources sources{.hidden_size = 8};
  sources.flags.per_device_train_batch_size = 2;
  sources.flags.learning_rate = 0.25;
  sources.flags.adam_beta1 = 0.5;
  sources.flags.max_grad_norm = 0.5;
  sources.flags.bf16 = false;
  sources.flags.max_steps = 9;
  const std::string message = problems_of(R"({
      "train_micro_batch_size_per_gpu": 1, "gradient_clipping": 1.0, "bf16": {"enabled": true},
      "optimizer": {"type": "AdamW", "params": {"lr": 0.125, "betas": [0.9, 0.999]}},
      "scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": 10,
                    "warmup_max_lr": 0.75}}})",
                                          sources);
  EXPECT_SAYS(message, "one problem");
  for (const char* part :
       {"train_micro_batch_size_per_gpu is 1", "gradient_clipping", "bf16.enabled", "0.125",
        "--adam-beta1", "--max-steps", "warmup_max_lr", "\"auto\""})
    EXPECT_SAYS(message, part);
}

TEST(Flags, ThatAgreeWithTheFileAreFine) {
  Sources sources;
  sources.flags.learning_rate = 0.125;
  sources.flags.warmup_steps = 1;
  sources.flags.lr_scheduler_type = "constant_with_warmup";
  const char* text = R"({"train_batch_size": 1,
      "optimizer": {"type": "AdamW", "params": {"lr": 0.125}},
      "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 1}}})";
  EXPECT_TRUE(must_load(text, sources).notes.empty());
}

TEST(Flags, ToSaveOnEachNodeWinOverTheFile) {
  Sources sources;
  sources.flags.save_on_each_node = true;
  const char* text = R"({"train_batch_size": 1, "checkpoint": {"use_node_local_storage": false}})";
  EXPECT_TRUE(must_load(text, sources).config.checkpoint.use_node_local_storage);
  EXPECT_FALSE(must_load(text).config.checkpoint.use_node_local_storage);
}

TEST(Flags, OutOfRangeAreErrorsThatNameTheFlag) {
  const auto with = [](auto set) {
    Sources sources;
    set(sources.flags);
    return problems_of(with_batch(""), sources);
  };
  EXPECT_SAYS(with([](CommandLine& f) { f.learning_rate = -1; }), "--learning-rate: -1");
  EXPECT_SAYS(with([](CommandLine& f) { f.adam_beta2 = 1.0; }), "--adam-beta2");
  EXPECT_SAYS(with([](CommandLine& f) { f.adam_epsilon = 0.0; }), "--adam-epsilon");
  EXPECT_SAYS(with([](CommandLine& f) { f.max_grad_norm = -0.5; }), "--max-grad-norm");
  EXPECT_SAYS(with([](CommandLine& f) { f.warmup_ratio = 1.5; }), "--warmup-ratio");
  EXPECT_SAYS(with([](CommandLine& f) { f.gradient_accumulation_steps = 0; }),
              "--gradient-accumulation-steps");
}

TEST(Flags, OfTheSchedulerDecideWhereTheFileHasNone) {
  Sources sources{.total_steps = 10};
  sources.flags.warmup_steps = 1;
  const std::pair<const char*, SchedulerType> rows[] = {
      {"constant", SchedulerType::constant},
      {"constant_with_warmup", SchedulerType::hf_constant_with_warmup},
      {"linear", SchedulerType::hf_linear},
      {"cosine", SchedulerType::hf_cosine},
      {"cosine_with_restarts", SchedulerType::hf_cosine_with_restarts},
      {"polynomial", SchedulerType::hf_polynomial}};
  for (const auto& [name, type] : rows) {
    sources.flags.lr_scheduler_type = name;
    const SchedulerConfig scheduler = must_load(with_batch(""), sources).config.scheduler;
    EXPECT_EQ(scheduler.type, type);
    if (type == SchedulerType::constant) continue;
    EXPECT_EQ(scheduler.warmup_num_steps, 1U);
    EXPECT_EQ(scheduler.total_num_steps, 10U);
  }
  sources.flags.lr_scheduler_type = "linear";
  sources.flags.warmup_steps = {};
  sources.flags.warmup_ratio = 0.05;
  EXPECT_EQ(must_load(with_batch(""), sources).config.scheduler.warmup_num_steps, 1U);
  sources.flags.lr_scheduler_type = "inverse_sqrt";
  EXPECT_SAYS(problems_of(with_batch(""), sources), "--lr-scheduler-type");
  sources = {};
  sources.flags.lr_scheduler_type = "linear";
  EXPECT_SAYS(problems_of(with_batch(""), sources), "--max-steps");
  EXPECT_SAYS(problems_of(with_batch(R"("scheduler": {"type": "WarmupLR"})"), sources),
              "contradicts");
}

}  // namespace
}  // namespace fathom::config
