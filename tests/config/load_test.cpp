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
        "activation_tier": "nvme", "commit_interval": 3})"))
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
                         .activation_tier = ActivationTier::nvme};
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

struct Row {
  const char* members;  // beside a batch size
  std::vector<const char*> says;
};

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
      {R"("aio": {"use_gds": true})", {"aio.use_gds", "GPUDirect"}},
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

TEST(Errors, NameTheKeyTheReasonAndTheWayOut) {
  const Row rows[] = {
      // Names.
      {R"("gradient_cliping": 1)", {":2:1: gradient_cliping", "did you mean gradient_clipping?"}},
      {R"("zero_optimization": {"offload_parm": {}})",
       {"zero_optimization.offload_parm", "offload_param?"}},
      {R"("aio": {"block_sise": 1})", {"aio.block_sise", "block_size"}},
      {R"("stage": 3)", {"stage: unknown key here", "zero_optimization.stage"}},
      {R"("qwertyuiop": 3)", {"qwertyuiop: unknown key"}},
      {R"("fathom": {"host_memroy": 3})", {"fathom.host_memroy", "host_memory"}},
      {R"("optimizer": {"type": "AdamW", "params": {"momentum": 3}})",
       {"optimizer.params.momentum: unknown"}},
      {R"("scheduler": {"type": "WarmupLR", "params": {"total_num_steps": 3}})",
       {"scheduler.params.total_num_steps: unknown"}},
      {R"("allgather_size": 5)", {"allgather_size: unknown"}},
      {R"("gradient_clipping": 1, "gradient_clipping": 1)", {"gradient_clipping", "second time"}},
      // Types and ranges.
      {R"("zero_optimization": {"stage": 4})",
       {"zero_optimization.stage", "at least 0 and at most 3"}},
      {R"("zero_optimization": {"stage": 2.5})", {"zero_optimization.stage", "2.5"}},
      {R"("zero_optimization": {"stage": true})", {"zero_optimization.stage", "true"}},
      {R"("zero_optimization": {"reduce_bucket_size": -1})",
       {"zero_optimization.reduce_bucket_size"}},
      {R"("zero_optimization": {"reduce_bucket_size": 1e300})",
       {"zero_optimization.reduce_bucket_size"}},
      {R"("zero_optimization": 3)", {"zero_optimization", "write an object"}},
      {R"("zero_optimization": {"overlap_comm": 1})",
       {"zero_optimization.overlap_comm", "true or false"}},
      {R"("zero_optimization": {"stage": 3, "offload_param": {"device": "CPU"}})",
       {"offload_param.device", "did you mean \"cpu\""}},
      {R"("zero_optimization": {"stage": 3, "offload_param": {"device": "disk"}})",
       {"none, cpu, nvme"}},
      {R"("zero_optimization": {"stage": 3, "offload_param": {"device": "nvme", "nvme_path": ["/a"]}})",
       {"nvme_path", "fathom.nvme_paths"}},
      {R"("gradient_clipping": -1)", {"gradient_clipping", "at least 0"}},
      {R"("gradient_clipping": "NaN")", {"gradient_clipping"}},
      {R"("gradient_clipping": NaN)", {":2:", "gradient_clipping"}},
      {R"("gradient_clipping": 1e999)", {"gradient_clipping", "out of range"}},
      {R"("fp16": {"loss_scale": true})", {"fp16.loss_scale"}},
      {R"("fp16": {"loss_scale_window": 0})", {"fp16.loss_scale_window"}},
      {R"("optimizer": {"type": "AdamW", "params": {"betas": [0.9]}})",
       {"optimizer.params.betas", "two numbers"}},
      {R"("optimizer": {"type": "AdamW", "params": {"betas": [0.9, 1]}})",
       {"optimizer.params.betas[1]", "below 1"}},
      {R"("optimizer": {"type": "AdamW", "params": {"eps": 0}})",
       {"optimizer.params.eps", "above 0"}},
      {R"("optimizer": {"type": "AdamW", "params": {"lr": -1}})", {"optimizer.params.lr"}},
      {R"("communication_data_type": "bfp16")", {"communication_data_type", "bf16"}},
      {R"("aio": {"block_size": 5000})", {"aio.block_size", "4096"}},
      {R"("aio": {"queue_depth": 0})", {"aio.queue_depth"}},
      {R"("fathom": {"host_memory": "12 apples"})", {"fathom.host_memory", "12GiB"}},
      {R"("fathom": {"host_memory": 0})", {"fathom.host_memory"}},
      {R"("fathom": {"device_memory": -5})", {"fathom.device_memory"}},
      {R"("fathom": {"nvme_paths": ["/a", "/a"]})", {"fathom.nvme_paths[1]", "twice"}},
      {R"("fathom": {"nvme_paths": [3]})", {"fathom.nvme_paths[0]"}},
      {R"("fathom": {"nvme_paths": [""]})", {"fathom.nvme_paths[0]"}},
      {R"("fathom": {"nvme_paths": [{"path": "/a", "weight": 0}]})",
       {"fathom.nvme_paths[0].weight"}},
      {R"("fathom": {"nvme_paths": [{"path": "/a", "wieght": 1}]})", {"did you mean weight"}},
      {R"("fathom": {"verify": "some"})", {"full, sampled, off"}},
      {R"("fathom": {"state_format": "8bit"})", {"fathom.state_format", "\"exact\""}},
      {R"("train_batch_size": 0)", {"train_batch_size"}},
      {R"("train_batch_size": 7, "gradient_accumulation_steps": 2)", {"7", "is not"}},
      // Types of blocks.
      {R"("optimizer": {"type": "AdamV"})", {"optimizer.type", "AdamW"}},
      {R"("optimizer": {})", {"optimizer.type is missing"}},
      {R"("scheduler": {"params": {}})", {"scheduler.type is missing"}},
      {R"("scheduler": {"type": "WarmupLr"})", {"scheduler.type", "\"WarmupLR\""}},
      {R"("scheduler": {"type": "WarmupDecayLR"})",
       {"scheduler.params.total_num_steps", "--max-steps"}},
      {R"("scheduler": {"type": "WarmupLR", "params": {"warmup_type": "exp"}})", {"log, linear"}},
      {R"("scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 0}})",
       {"warmup_num_steps"}},
      // Combinations.
      {R"("fp16": {"enabled": true}, "bf16": {"enabled": true})",
       {"fp16.enabled and bf16.enabled"}},
      {R"("bf16": {"enabled": true}, "data_types": {"param_dtype": "fp32"})",
       {"data_types.param_dtype"}},
      {R"("zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}})",
       {"offload_param.device", "stage"}},
      {R"("zero_optimization": {"stage": 2, "offload_optimizer": {"device": "nvme", "nvme_path": "/a"}})",
       {"offload_optimizer.device"}},
      {R"("zero_optimization": {"offload_optimizer": {"device": "cpu"}})",
       {"offload_optimizer.device"}},
      {R"("zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu", "ratio": 0.5}})",
       {"offload_optimizer.ratio"}},
      {R"("zero_optimization": {"compute_grad_norm": false})",
       {"compute_grad_norm", "gradient_clipping"}},
      {R"("zero_optimization": {"cpu_offload": true, "offload_optimizer": {"device": "cpu"}})",
       {"zero_optimization.cpu_offload"}},
      {R"("zero_optimization": {"aio": {}}, "aio": {})", {"zero_optimization.aio"}},
      {R"("aio": {"thread_count": 2, "intra_op_parallelism": 3})", {"aio.thread_count"}},
      {R"("zero_optimization": {"prefetch_bucket_size": 1, "stage3_prefetch_bucket_size": 1})",
       {"prefetch_bucket_size"}},
      {R"("bf16": {}, "bfloat16": {})", {"bfloat16"}},
      {R"("data_parallel_size": 3)", {"data_parallel_size"}},
      {R"("sequence_parallel_size": 2)", {"sequence_parallel_size"}},
      // Not offered.
      {R"("amp": {"enabled": true})", {"amp.enabled", "bf16"}},
      {R"("amp": true)", {"amp"}},
      {R"("torch_autocast": {"enabled": "true"})", {"torch_autocast.enabled"}},
      {R"("tensor_parallel": {"autotp_size": 4})", {"tensor_parallel.autotp_size"}},
      {R"("compile": {"deepcompile": true})", {"compile.deepcompile"}},
      {R"("sparse_gradients": true)", {"sparse_gradients", "only false"}},
      {R"("zero_optimization": {"zero_hpz_partition_size": 2})", {"zero_hpz_partition_size"}},
      {R"("zero_optimization": {"zenflow": {"topk_ratio": 0.1}})",
       {"zero_optimization.zenflow", "not offered"}},
      {R"("optimizer": {"type": "Muon", "params": {"whatever": 1}})", {"optimizer.type", "Muon"}},
      {R"("optimizer": {"type": "OneBitAdam"})", {"optimizer.type", "compressed"}},
      {R"("optimizer": {"type": "AdamW", "params": {"amsgrad": true}})",
       {"optimizer.params.amsgrad"}},
      {R"("optimizer": {"type": "AdamW", "params": {"max_grad_norm": 1}})",
       {"optimizer.params.max_grad_norm", "gradient_clipping"}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.members);
    const std::string message = problems_of(with_batch(row.members));
    EXPECT_SAYS(message, "one problem");
    for (const char* part : row.says) EXPECT_SAYS(message, part);
  }
}

TEST(Errors, SayWhatIsNotInThisVersion) {
  const Row rows[] = {
      {R"("fp16": {"enabled": true})", {"fp16.enabled", "use bf16"}},
      {R"("optimizer": {"type": "Lion", "params": {"lr": 1}})",
       {"optimizer.type", "Lion", "AdamW"}},
      {R"("optimizer": {"type": "sgd", "params": {"momentum": 1}})", {"SGD"}},
      {R"("optimizer": {"type": "AdamW", "params": {"fp32_optimizer_states": false}})",
       {"fp32_optimizer_states"}},
      {R"("scheduler": {"type": "OneCycle", "params": {"cycle_min_lr": 1}})",
       {"scheduler.type", "OneCycle"}},
      {R"("fathom": {"store": "durable"})", {"fathom.store", "scratch"}},
      {R"("fathom": {"parity": true})", {"fathom.parity"}},
      {R"("csv_monitor": {"enabled": true})", {"csv_monitor.enabled", "--metrics"}},
      {R"("tensorboard": {"enabled": true})", {"tensorboard.enabled"}},
      {R"("prescale_gradients": true)", {"prescale_gradients"}},
      {R"("gradient_allreduce_op": "SUM")", {"gradient_allreduce_op"}},
      {R"("weight_quantization": {"post_init_quant": {}})", {"weight_quantization"}},
      {R"("zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu", "ratio": 0.5}})",
       {"ratio"}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.members);
    const std::string message = problems_of(with_batch(row.members));
    EXPECT_SAYS(message, "one problem");
    EXPECT_SAYS(message, "not in this version");
    for (const char* part : row.says) EXPECT_SAYS(message, part);
  }
}

TEST(Errors, AreAllReportedAtOnceEachInItsLine) {
  const std::string message = problems_of(R"({
  "train_batch_size": 33, "train_micro_batch_size_per_gpu": 17,
  "gradient_cliping": 1,
  "zero_optimization": {"stage": 9,
    "overlap_comm": 3},
  "aio": {"block_sise": 1}
})");
  EXPECT_SAYS(message, "5 problems");
  for (const char* part : {":2:", ":3:3: gradient_cliping", ":4:25: zero_optimization.stage",
                           ":5:5: zero_optimization.overlap_comm", ":6:11: aio.block_sise"})
    EXPECT_SAYS(message, part);
  EXPECT_EQ(std::ranges::count(message, '\n'), 5);
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
