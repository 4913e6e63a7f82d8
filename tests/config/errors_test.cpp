// SPDX-License-Identifier: Apache-2.0
//
// What a file may not say: for each wrong member the key, the reason and the way out.
#include <random>

#include "tests/config/support.hpp"

namespace fathom::config {
namespace {

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
       {"fp16.enabled and bf16.enabled are both on"}},
      {R"("bf16": {"enabled": true}, "data_types": {"param_dtype": "fp32"})",
       {"data_types.param_dtype"}},
      {R"("zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}})",
       {"offload_param.device", "stage"}},
      {R"("zero_optimization": {"stage": 2, "offload_optimizer": {"device": "nvme", "nvme_path": "/a"}})",
       {"offload_optimizer.device"}},
      {R"("zero_optimization": {"offload_optimizer": {"device": "cpu"}})",
       {"offload_optimizer.device"}},
      {R"("zero_optimization": {"compute_grad_norm": false})",
       {"compute_grad_norm", "gradient_clipping"}},
      {R"("zero_optimization": {"stage": 2, "cpu_offload": true, "offload_optimizer": {"device": "cpu"}})",
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
      {R"("optimizer": {"type": "AdamW", "params": {"fp32_optimizer_states": false}})",
       {"fp32_optimizer_states"}},
      {R"("fathom": {"parity": true})", {"fathom.parity"}},
      {R"("fathom": {"activation_tier": "nvme"})", {"fathom.activation_tier"}},
      {R"("comms_logger": {"enabled": true})", {"comms_logger.enabled", "--metrics"}},
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

TEST(Errors, OfACombinationStandBesideThoseOfThisVersion) {
  const Row rows[] = {
      {R"("zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu", "ratio": 0.5}})",
       {"offload_optimizer.ratio: a ratio below 1 needs stage 3", "not in this version"}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.members);
    const std::string message = problems_of(with_batch(row.members));
    EXPECT_SAYS(message, "2 problems");
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

TEST(Errors, AnObjectOfThousandsOfMembersIsRefusedAtOnce) {
  std::string members;
  for (int i = 0; i < 5000; ++i)
    members += (i > 0 ? "," : "") + ("\"key" + std::to_string(i)) + "\": 1";
  EXPECT_SAYS(problems_of("{" + members + "}"), "1000 members");
  EXPECT_SAYS(problems_of("{\"aio\": [" + std::string(5000, '[') + "]}"), "64 levels");
}

// A loader of other people's files must end with an answer whatever they hold.
TEST(Errors, AnyDamageToAFileEndsInAResult) {
  const std::string text =
      R"({"train_batch_size": 8, "bf16": {"enabled": true}, "aio": {"queue_depth": 4},
      "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "betas": [0.9, 0.999]}},
      "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": "auto"}},
      "zero_optimization": {"stage": 3, "cpu_offload": null, "prefetch_bucket_size": 1e6,
          "offload_param": {"device": "nvme", "nvme_path": "/a"}, "aio": null},
      "fathom": {"nvme_paths": ["/a", {"path": "/b", "weight": 2}], "host_memory": "1GiB"}})";
  ASSERT_TRUE(load(text, {}));
  static constexpr std::string_view letters = "{}[]\",:0123456789-.eE+nulltrefasxyz_\\/#'\n \xC3";
  std::mt19937_64 random(7);
  int good = 0, bad = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = text;
    for (std::uint64_t edits = 1 + random() % 3; edits > 0; --edits) {
      const std::size_t at = 1 + random() % (damaged.size() - 1);
      const char letter = letters[random() % letters.size()];
      switch (random() % 4) {
        case 0: damaged[at] = letter; break;
        case 1: damaged.insert(at, 1, letter); break;
        case 2: damaged.erase(at, 1 + random() % 9); break;
        default:
          damaged.insert(at, damaged.substr(random() % damaged.size(), random() % 30));
          break;
      }
      if (damaged.size() < 2) damaged = text;
    }
    const auto loaded = load(damaged, {});
    if (!loaded) {
      ++bad;
      EXPECT_EQ(loaded.error().code(), Errc::bad_config) << damaged;
      continue;
    }
    ++good;
    // What was accepted is complete: its resolved form loads to the same.
    const auto again = load_object(loaded->resolved, {});
    ASSERT_TRUE(again) << damaged << "\n" << again.error().message();
    EXPECT_TRUE(again->config == loaded->config) << damaged;
  }
  EXPECT_GT(good, 20);
  EXPECT_GT(bad, 1000);
}

}  // namespace
}  // namespace fathom::config
