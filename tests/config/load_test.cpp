// SPDX-License-Identifier: Apache-2.0
//
// What a file may say: values, notes and errors, key by key.
#include "tests/config/support.hpp"

namespace fathom::config {
namespace {

TEST(Defaults, AreTheDocumentedOnes) {
  const Config config = must_load(with_batch(R"("optimizer": {"type": "Adam"})")).config;
  Config expected;
  expected.optimizer.type = OptimizerType::adam;
  EXPECT_TRUE(config == expected);
  EXPECT_EQ(config.gradient_clipping, 1.0);
  EXPECT_EQ(config.zero.chunk_elements, 16777216U);
}

TEST(Values, ReachTheirFields) {
  const Config config = must_load(with_batch(R"(
    "bf16": {"enabled": true, "check_grad_overflow": false}, "gradient_clipping": 0,
    "data_types": {"grad_accum_dtype": "bf16"}, "steps_per_print": 5, "dump_state": true,
    "wall_clock_breakdown": true, "memory_breakdown": true, "log_level": "warning",
    "dataloader_drop_last": true, "timers": {"throughput": {"enabled": false}},
    "communication_data_type": "fp32", "checkpoint": {"tag_validation": "fail"},
    "optimizer": {"type": "adamw", "params": {"lr": 1, "betas": [0, 0.5], "eps": 1e-3,
        "weight_decay": 2, "bias_correction": false}},
    "zero_optimization": {"stage": 3, "sub_group_size": 8192, "overlap_comm": false,
        "offload_param": {"device": "cpu", "pin_memory": false, "max_in_cpu": 5e3},
        "offload_optimizer": {"device": "nvme", "nvme_path": "/n", "cpuadam_cores_perc": 0.5}},
    "aio": {"block_size": 262144, "queue_depth": 32, "intra_op_parallelism": 4,
        "single_submit": true, "overlap_events": false},
    "activation_checkpointing": {"cpu_checkpointing": true},
    "fathom": {"device_memory": 1000, "host_memory": "2GiB", "verify": "off", "engine": "libaio",
        "activation_tier": "host", "commit_interval": 3})"))
                            .config;
  EXPECT_EQ(config.precision.compute, Precision::bf16);
  EXPECT_EQ(config.precision.grad_accum, Precision::bf16);
  EXPECT_FALSE(config.precision.check_grad_overflow);
  EXPECT_EQ(config.gradient_clipping, 0);
  EXPECT_EQ(config.steps_per_print, 5U);
  EXPECT_TRUE(config.dump_state && config.wall_clock_breakdown && config.memory_breakdown);
  EXPECT_EQ(config.log_level, "warning");
  EXPECT_TRUE(config.dataloader_drop_last);
  EXPECT_FALSE(config.throughput_timer);
  EXPECT_EQ(config.communication.dtype, Precision::fp32);
  EXPECT_EQ(config.checkpoint.tag_validation, TagValidation::fail);
  const OptimizerConfig adamw{.type = OptimizerType::adamw,
                              .lr = 1,
                              .beta1 = 0,
                              .beta2 = 0.5,
                              .eps = 1e-3,
                              .weight_decay = 2,
                              .decoupled = true,
                              .bias_correction = false};
  EXPECT_TRUE(config.optimizer == adamw);
  EXPECT_EQ(config.zero.stage, 3);
  EXPECT_EQ(config.zero.chunk_elements, 8192U);
  EXPECT_FALSE(config.zero.overlap_comm);
  EXPECT_EQ(config.zero.max_in_cpu, 5000U);
  EXPECT_EQ(config.zero.optimizer_cores, 0.5);
  const OffloadConfig param{.tier = Tier::cpu, .pin_memory = false};
  EXPECT_TRUE(config.zero.offload_param == param);
  const OffloadConfig states{.tier = Tier::nvme, .nvme_path = "/n"};
  EXPECT_TRUE(config.zero.offload_optimizer == states);
  EXPECT_TRUE((config.aio == AioConfig{262144, 32, 4, true, false}));
  EXPECT_TRUE(config.activation.cpu_checkpointing);
  const FathomConfig own{.device_memory = 1000,
                         .host_memory = 2147483648,
                         .nvme_paths = {{"/n", std::nullopt}},
                         .commit_interval = 3,
                         .verify = Verify::off,
                         .engine = IoEngine::libaio,
                         .activation_tier = ActivationTier::host};
  EXPECT_TRUE(config.fathom == own);
}

TEST(Values, OverlapIsOnAtStageThreeUnlessItIsSaid) {
  for (const int stage : {0, 1, 2, 3}) {
    const std::string text =
        with_batch("\"zero_optimization\": {\"stage\": " + std::to_string(stage) + "}");
    EXPECT_EQ(must_load(text).config.zero.overlap_comm, stage == 3);
  }
}

TEST(Values, AdamDecaysLikeAdamWUnlessItIsToldOtherwise) {
  const auto decoupled = [](std::string_view optimizer) {
    return must_load(with_batch("\"optimizer\": " + std::string(optimizer)))
        .config.optimizer.decoupled;
  };
  EXPECT_TRUE(decoupled(R"({"type": "Adam"})"));
  EXPECT_TRUE(decoupled(R"({"type": "Adam", "params": {"adam_w_mode": true}})"));
  EXPECT_FALSE(decoupled(R"({"type": "Adam", "params": {"adam_w_mode": false}})"));
  EXPECT_TRUE(decoupled(R"({"type": "AdamW", "params": {"adam_w_mode": false}})"));
}

TEST(Values, ChunksAreCappedAndRoundedUp) {
  const auto chunk = [](std::string_view value) {
    return must_load(with_batch(
                         "\"zero_optimization\": {\"sub_group_size\": " + std::string(value) + "}"))
        .config.zero.chunk_elements;
  };
  EXPECT_EQ(chunk("1e9"), 16777216U);
  EXPECT_EQ(chunk("1e14"), 16777216U);
  EXPECT_EQ(chunk("9223372036854775807"), 16777216U);
  EXPECT_EQ(chunk("4096"), 4096U);
  EXPECT_EQ(chunk("4097"), 8192U);
  EXPECT_EQ(chunk("1"), 4096U);
  EXPECT_EQ(chunk("0"), 16777216U);
}

TEST(Values, NullMeansAbsent) {
  const Loaded loaded = must_load(R"({"train_batch_size": 1, "gradient_clipping": null, "aio": null,
      "zero_optimization": {"stage": null, "offload_param": null, "zenflow": null}, "fp16": null,
      "optimizer": null, "scheduler": null, "amp": null, "bfloat16": null, "fathom": null})");
  EXPECT_TRUE(loaded.notes.empty()) << joined(loaded.notes);
  EXPECT_EQ(loaded.config.gradient_clipping, 1.0);
}

TEST(Paths, JoinOneStripeSet) {
  const Loaded loaded = must_load(with_batch(R"(
      "zero_optimization": {"stage": 3, "offload_param": {"device": "nvme", "nvme_path": "/a"},
                            "offload_optimizer": {"device": "nvme", "nvme_path": "/b"}},
      "fathom": {"nvme_paths": [{"path": "/c", "weight": 2}, "/a"]})"));
  const std::vector<NvmePath> expected = {{"/c", 2.0}, {"/a", std::nullopt}, {"/b", std::nullopt}};
  EXPECT_TRUE(loaded.config.fathom.nvme_paths == expected);
  EXPECT_TRUE(any_says(loaded.notes, "one stripe set"));
}

TEST(Paths, OfTheListServeADeviceThatNamesNone) {
  const Loaded loaded = must_load(with_batch(R"(
      "zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}},
      "fathom": {"nvme_paths": ["/c"]})"));
  EXPECT_EQ(loaded.config.zero.offload_param.tier, Tier::nvme);
  EXPECT_FALSE(loaded.config.zero.offload_param.nvme_fallback);
  EXPECT_TRUE(loaded.notes.empty()) << joined(loaded.notes);
}

TEST(Paths, ThatAreMissingMakeTheTierHostMemory) {
  const Loaded loaded = must_load(
      with_batch(R"("zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}})"));
  EXPECT_EQ(loaded.config.zero.offload_param.tier, Tier::cpu);
  EXPECT_TRUE(loaded.config.zero.offload_param.nvme_fallback);
  EXPECT_TRUE(any_says(loaded.notes, "zero_optimization.offload_param.nvme_path"));
  EXPECT_TRUE(any_says(loaded.notes, "bytes per parameter"));
}

TEST(Notes, NameTheKeyAndSayWhy) {
  const Row rows[] = {
      {R"("zero_optimization": {"contiguous_gradients": false})",
       {"zero_optimization.contiguous_gradients", "no effect"}},
      {R"("zero_optimization": {"stage": 1, "offload_optimizer": {"device": "cpu", "buffer_count": 9}})",
       {"offload_optimizer.buffer_count"}},
      {R"("zero_optimization": {"stage": "3"})", {"zero_optimization.stage", "read as 3"}},
      {R"("zero_optimization": {"overlap_comm": "true"})",
       {"zero_optimization.overlap_comm", "read as true"}},
      {R"("zero_optimization": {"stage3_prefetch_bucket_size": 10.75})", {"rounded down to 10"}},
      {R"("zero_optimization": {"reduce_bucket_size": 0})", {"no cap"}},
      {R"("zero_optimization": {"sub_group_size": 5000})", {"8192"}},
      {R"("zero_optimization": {"leaf_module": {"classes": ["X"]}})",
       {"zero_optimization.leaf_module"}},
      {R"("zero_optimization": true)", {"zero_optimization", "\"stage\": 1"}},
      {R"("zero_optimization": false)", {"\"stage\": 0"}},
      {R"("zero_optimization": {"stage": 1, "cpu_offload": true})",
       {"zero_optimization.cpu_offload", "offload_optimizer"}},
      {R"("zero_optimization": {"aio": {"num_threads": 2}})",
       {"zero_optimization.aio.num_threads"}},
      {R"("aio": {"thread_count": 2, "intra_op_parallelism": 2})", {"aio.thread_count"}},
      {R"("gradient_clipping": "0.5")", {"gradient_clipping", "0.5"}},
      {R"("amp": {"enabled": "auto", "opt_level": "O1"})", {"amp"}},
      {R"("vocabulary_size": 50)", {"vocabulary_size"}},
      {R"("checkpoint": {"writer": {"type": "FAST"}})", {"checkpoint.writer"}},
      {R"("optimizer": {"type": "AdamW", "params": {"torch_adam": true}})",
       {"optimizer.params.torch_adam"}},
      {R"("bf16": {"check_overflow": true})", {"bf16.check_overflow", "check_grad_overflow"}},
      {R"("wandb": {"enabled": false, "whatever": 1},)", {"trailing comma"}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.members);
    const Loaded loaded = must_load(with_batch(row.members));
    EXPECT_EQ(loaded.notes.size(),
              row.members == std::string_view(R"("zero_optimization": {"aio": {"num_threads": 2}})")
                  ? 2U
                  : 1U)
        << joined(loaded.notes);
    for (const char* part : row.says)
      EXPECT_TRUE(any_says(loaded.notes, part)) << joined(loaded.notes);
  }
}

TEST(Notes, AreAbsentWhereAKeyHasItsDefault) {
  const Loaded loaded = must_load(with_batch(R"(
      "zero_optimization": {"stage": 3, "contiguous_gradients": true, "round_robin_gradients": false,
          "zero_hpz_partition_size": 1, "offload_param": {"device": "cpu", "buffer_count": 5,
          "buffer_size": 1e8}, "stage3_max_reuse_distance": 1e9, "grad_hooks": null},
      "fp16": {"enabled": false, "loss_scale_window": 3}, "tensorboard": {"enabled": false},
      "fathom": {"store": "scratch", "parity": false}, "elasticity": {"enabled": false},
      "tensor_parallel": {"autotp_size": 1}, "sparse_gradients": false)"));
  EXPECT_TRUE(loaded.notes.empty()) << joined(loaded.notes);
}

TEST(Inference, IgnoresTrainingBlocksAndPartitionsNothingBelowStageThree) {
  const Sources sources{.purpose = Purpose::inference};
  const Loaded loaded = must_load(R"({"optimizer": {"type": "Lion", "params": {"lr": "auto"}},
      "scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": "auto"}},
      "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}})",
                                  sources);
  EXPECT_EQ(loaded.config.zero.stage, 0);
  ASSERT_EQ(loaded.notes.size(), 1U) << joined(loaded.notes);
  EXPECT_SAYS(loaded.notes[0], "zero_optimization.stage");
  EXPECT_SAYS(
      problems_of(R"({"zero_optimization": {"stage": 1, "offload_param": {"device": "cpu"}}})",
                  sources),
      "offload_param.device");
}

TEST(Objects, LoadLikeTexts) {
  const nlohmann::json object = {{"train_batch_size", 4}, {"bf16", {{"enabled", true}}}};
  const auto loaded = load_object(object, {});
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(loaded->config.batch.train, 4U);
  EXPECT_EQ(loaded->config.precision.compute, Precision::bf16);
  EXPECT_FALSE(load_object(nlohmann::json::array(), {}));
  const auto bad = load_object({{"train_batch_size", 4}, {"bf61", 1}}, {});
  ASSERT_FALSE(bad);
  EXPECT_SAYS(bad.error().message(), "bf16");
}

}  // namespace
}  // namespace fathom::config
