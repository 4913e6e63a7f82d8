// SPDX-License-Identifier: Apache-2.0
//
// Every kind of family trains, and gives the same bits wherever its state lives.
#include <ostream>

#include <gtest/gtest.h>

#include "training_fixture.hpp"

namespace fathom::engine {
namespace {

using namespace testing_runs;

struct Case {
  const char* name;
  const char* config;
};
void PrintTo(const Case& test, std::ostream* out) { *out << test.name; }

class TrainingOfFamilies : public ::testing::TestWithParam<Case> {
 protected:
  static Job job() {
    Job job;
    auto spec = models::parse_config(GetParam().config, GetParam().name);
    if (!spec) throw std::runtime_error(spec.error().message());
    job.spec = std::move(*spec);
    job.steps = 3;
    // Targets that depend on nothing: it takes a few steps to learn which tokens there are.
    if (job.spec.encoder_decoder) {
      job.target_length = 6;
      job.steps = 6;
    }
    return job;
  }
  static void expect_same(const Outcome& got, const Outcome& wanted, const char* where) {
    EXPECT_EQ(got.losses, wanted.losses) << where;
    EXPECT_EQ(got.norms, wanted.norms) << where;
    EXPECT_TRUE(got.units == wanted.units) << where;
  }
};

// In bf16 lazily with clipping, in fp32 eagerly without.
TEST_P(TrainingOfFamilies, LearnsAndGivesTheSameBitsFromDiskAsFromMemory) {
  for (const bool fp32 : {false, true}) {
    Job job = this->job();
    job.fp32 = fp32;
    job.clipping = fp32 ? 0 : 0.5;
    const Outcome wanted = outcome_of(job, {});
    EXPECT_LT(wanted.losses.back(), wanted.losses.front()) << "it learns";
    const Outcome on_disk = outcome_of(job, {.host_memory = smallest_memory(job)});
    expect_same(on_disk, wanted, "as much as possible on disk");
    EXPECT_GT(on_disk.counters.total_read(), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Training, TrainingOfFamilies,
    ::testing::Values(
        Case{"gpt2", R"({"model_type":"gpt2","vocab_size":96,"n_embd":48,"n_layer":2,"n_head":3,
                         "n_positions":32,"initializer_range":0.05})"},
        Case{"opt", R"({"model_type":"opt","vocab_size":96,"hidden_size":48,"ffn_dim":80,
                        "num_hidden_layers":2,"num_attention_heads":4,"init_std":0.05,
                        "max_position_embeddings":32,"tie_word_embeddings":false})"},
        Case{"mixtral", R"({"model_type":"mixtral","vocab_size":96,"hidden_size":32,
                            "intermediate_size":48,"num_hidden_layers":2,"num_attention_heads":4,
                            "num_key_value_heads":2,"num_local_experts":3,"num_experts_per_tok":2,
                            "initializer_range":0.05})"},
        Case{"t5", R"({"model_type":"t5","vocab_size":96,"d_model":32,"d_kv":12,"d_ff":56,
                       "num_layers":3,"num_decoder_layers":2,"num_heads":3,
                       "initializer_factor":0.1})"},
        Case{"t5_untied", R"({"model_type":"t5","vocab_size":96,"d_model":32,"d_kv":8,"d_ff":56,
                              "num_layers":1,"num_decoder_layers":3,"num_heads":4,
                              "feed_forward_proj":"gated-gelu","tie_word_embeddings":false,
                              "initializer_factor":0.1})"}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace fathom::engine
