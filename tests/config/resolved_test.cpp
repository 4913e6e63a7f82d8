// SPDX-License-Identifier: Apache-2.0
#include "config/key.hpp"
#include "tests/config/support.hpp"

namespace fathom::config {
namespace {

// Loading what was resolved, as an object and as text, changes nothing.
void expect_fixed_point(std::string_view text, const Sources& sources) {
  SCOPED_TRACE(text);
  const Loaded first = must_load(text, sources);
  const auto second = load_object(first.resolved, sources);
  ASSERT_TRUE(second) << second.error().message();
  EXPECT_TRUE(second->config == first.config) << first.resolved.dump(2);
  EXPECT_EQ(second->resolved, first.resolved);
  const Loaded third = must_load(first.resolved.dump(), sources);
  EXPECT_TRUE(third.config == first.config);
}

TEST(Resolved, LoadedAgainGivesTheSameConfig) {
  Sources sources{.world_size = 2, .hidden_size = 64, .total_steps = 100};
  sources.flags.warmup_steps = 1;
  const char* rows[] = {
      R"({"train_batch_size": 8})",
      R"({"train_batch_size": 8, "bf16": {"enabled": true}, "gradient_clipping": 0.1,
          "data_types": {"grad_accum_dtype": "bf16"}, "communication_data_type": "bf16",
          "log_level": "debug", "steps_per_print": 7, "dump_state": true})",
      R"({"train_batch_size": 8, "optimizer": {"type": "Adam", "params": {"adam_w_mode": false,
          "lr": 0.1, "betas": [0.7, 0.8], "eps": 1e-3, "weight_decay": 0.3, "bias_correction": false}},
          "scheduler": {"type": "WarmupLR", "params": {"warmup_type": "linear"}}})",
      R"({"train_batch_size": 8, "scheduler": {"type": "WarmupDecayLR",
          "params": {"total_num_steps": "auto", "warmup_num_steps": "auto", "warmup_max_lr": "auto"}}})",
      R"({"train_batch_size": 8, "scheduler": {"type": "WarmupCosineLR",
          "params": {"total_num_steps": 50, "last_batch_iteration": 3}}})",
      R"({"train_batch_size": 8, "scheduler": {"type": "LRRangeTest",
          "params": {"lr_range_test_step_size": 9, "lr_range_test_staircase": true}}})",
      R"({"train_batch_size": 8, "zero_optimization": {"stage": 3, "sub_group_size": 5000,
          "reduce_bucket_size": "auto", "offload_param": {"device": "nvme", "nvme_path": "/a"},
          "offload_optimizer": {"device": "nvme", "nvme_path": "/b"}},
          "aio": {"block_size": 8192, "queue_depth": 3, "single_submit": true},
          "fathom": {"host_memory": "12GiB", "nvme_paths": [{"path": "/c", "weight": 2.5}, "/d"],
                     "verify": "sampled", "engine": "posix", "activation_tier": "host"}})",
      R"({"train_batch_size": 8, "zero_optimization": {"stage": 3,
          "offload_optimizer": {"device": "nvme"}, "enable_sanity_checks": true}})",
  };
  for (const char* text : rows) expect_fixed_point(text, sources);
  sources.purpose = Purpose::inference;
  for (const char* text : rows) expect_fixed_point(text, sources);
}

TEST(Resolved, HoldsDefaultsAndAutosUnderTheirOwnNames) {
  const Loaded loaded = must_load(
      R"({"train_micro_batch_size_per_gpu": 2, "gradient_clipping": "auto",
          "zero_optimization": {"stage": 3, "reduce_bucket_size": "auto"}})",
      {.hidden_size = 10});
  const nlohmann::json& out = loaded.resolved;
  EXPECT_EQ(out["train_batch_size"], 2);
  EXPECT_EQ(out["gradient_clipping"], 1.0);
  EXPECT_EQ(out["zero_optimization"]["reduce_bucket_size"], 100);
  EXPECT_EQ(out["zero_optimization"]["overlap_comm"], true);
  EXPECT_EQ(out["optimizer"]["type"], "AdamW");
  EXPECT_EQ(out["aio"]["queue_depth"], 8);
  EXPECT_EQ(out["fathom"]["host_memory"], "auto");
  EXPECT_FALSE(says(out.dump(), "\"scheduler\""));
}

TEST(KeyTable, RowsAreWellFormed) {
  for (const Key& key : all_keys()) {
    SCOPED_TRACE(std::string(key.path));
    EXPECT_TRUE(nlohmann::json::accept(key.fallback));
    EXPECT_EQ(key.reason.empty(), key.effect == Effect::implemented);
    const bool chooses = key.type == Type::choice || key.type == Type::any_case;
    EXPECT_EQ(chooses, !key.choices.empty());
    const auto dot = key.path.rfind('.');
    if (dot == std::string_view::npos) continue;
    const Key* parent = find_key(key.path.substr(0, dot), "");
    ASSERT_NE(parent, nullptr);
    EXPECT_EQ(parent->type, Type::object);
  }
}

TEST(KeyTable, NoPathHasTwoRowsForOneType) {
  const auto keys = all_keys();
  for (std::size_t a = 0; a < keys.size(); ++a)
    for (std::size_t b = a + 1; b < keys.size(); ++b) {
      if (keys[a].path != keys[b].path) continue;
      EXPECT_FALSE(keys[a].variants.empty() || keys[b].variants.empty()) << keys[a].path;
      for (const auto type : split_names(keys[a].variants))
        for (const auto other : split_names(keys[b].variants))
          EXPECT_NE(type, other) << keys[a].path;
    }
}

TEST(KeyTable, AliasesLeadToRowsAndAreNone) {
  for (const Alias& alias : aliases()) {
    EXPECT_NE(find_key(alias.to, ""), nullptr) << alias.to;
    EXPECT_EQ(find_key(alias.from, ""), nullptr) << alias.from;
  }
}

}  // namespace
}  // namespace fathom::config
