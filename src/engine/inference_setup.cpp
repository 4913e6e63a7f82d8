// SPDX-License-Identifier: Apache-2.0
#include "engine/inference_setup.hpp"

#include <algorithm>

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "aio/memory_limits.hpp"
#include "base/log.hpp"
#include "engine/host_allocator.hpp"
#include "engine/initial_state.hpp"
#include "engine/model_files.hpp"
#include "engine/plan/render.hpp"
#include "engine/tensors.hpp"
#include "models/hf_config.hpp"

namespace fathom::engine {
namespace {

Result<ComputeType> compute_type(const std::string& asked, const models::ModelSpec& spec,
                                 const config::Config& config, bool has_config) {
  const std::string name =
      !asked.empty()                                                      ? asked
      : has_config && config.precision.compute == config::Precision::bf16 ? "bf16"
      : has_config && config.precision.compute == config::Precision::fp16 ? "fp16"
      : spec.dtype == "bfloat16"                                          ? "bf16"
      : spec.dtype == "float16"                                           ? "fp16"
                                                                          : "fp32";
  if (name == "fp32") return ComputeType::fp32;
  if (name == "bf16") return ComputeType::bf16;
  if (name == "fp16") return ComputeType::fp16;
  return fail(Error(Errc::bad_config, "choose the compute type")
                  .on("--dtype " + name)
                  .because("it is none of fp32, bf16, fp16")
                  .remedy("use one of them"));
}

}  // namespace

Result<std::unique_ptr<InferenceSetup>> InferenceSetup::read(const InferenceOptions& options) {
  FATHOM_CHECK(check_inference_device(options.device));
  auto setup = std::unique_ptr<InferenceSetup>(new InferenceSetup(options));
  FATHOM_ASSIGN(setup->spec_, models::load_config(options.model));
  FATHOM_ASSIGN(setup->config_,
                load_run_config(options, config::Purpose::inference, setup->spec_, 1));
  FATHOM_ASSIGN(setup->compute_, compute_type(options.dtype, setup->spec_, setup->config(),
                                              !options.config.empty()));
  return setup;
}

Result<void> InferenceSetup::open(const SweepShape& shape) {
  shape_ = shape;
  if (!has_weights(options_.model))
    return fail(Error(Errc::not_found, "load the weights")
                    .on(options_.model)
                    .because("there is neither model.safetensors nor model.safetensors.index.json")
                    .remedy("give a Hugging Face directory with weights"));
  FATHOM_ASSIGN(const models::SafetensorsReader reader,
                models::SafetensorsReader::open(options_.model));
  FATHOM_ASSIGN(const ParameterSource source, safetensors_source(reader, spec_));
  PlanInput input;
  input.model = spec_;
  input.mode = Mode::inference;
  input.compute = compute_;
  input.sections =
      compute_ == ComputeType::fp32 ? swap::weights32_sections : swap::weights16_sections;
  input.micro_batch = shape.rows;
  input.accumulation = shape.batches;
  // A decoding sweep has few tokens but attends to the whole cache: bounding both by one length is
  // safe.
  const bool two = spec_.encoder_decoder;
  input.length = two ? shape.length : std::max(shape.length, shape.capacity);
  input.target_length = two ? shape.target : 0;
  const bool nvme = config().zero.offload_param.tier == config::Tier::nvme;
  input.weights_lowest = nvme ? Tier::nvme : Tier::host;
  input.states_lowest = Tier::host;
  input.chunk_elements = config().zero.chunk_elements;
  input.path_weights = path_weights(config());
  const std::uint64_t cache_bytes =
      shape.batches * shape.rows * cache_elements() * input.compute_bytes();
  // A padded batch has a mask, made in fp32 and rounded to the compute type; an encoder's is a row.
  const std::uint64_t mask_columns = two ? 1 : std::max(shape.length, shape.capacity);
  const std::uint64_t mask_bytes =
      shape.rows * shape.length * mask_columns * (4 + input.compute_bytes());
  input.fixed_bytes = cache_bytes + mask_bytes;
  input.threads = worker_pool().size();
  input.host_memory = config().fathom.host_memory ? *config().fathom.host_memory
                                                  : aio::memory_limit().available / 5 * 4;
  FATHOM_ASSIGN(const RateOverrides rates, given_rates(options_));
  input.rates = measure_machine(input, nvme ? store_paths(config()) : std::vector<std::string>{},
                                queue_options(config()), rates, worker_pool());
  FATHOM_ASSIGN(plan_, make_plan(input));
  FATHOM_CHECK(refuse_shortfalls(find_shortfalls(config(), *plan_)));
  log::debug("\n{}", plan_text(*plan_, {}));
  FATHOM_ASSIGN(model_, models::make_model(spec_));
  FATHOM_ASSIGN(residence_,
                Residence::create(*plan_, store_options(config(), *plan_), worker_pool()));
  FATHOM_CHECK(fill_residence(*residence_, source, compute_ == ComputeType::fp16, worker_pool()));
  install_host_allocator();
  set_host_allocator_cap(plan_->activation_bytes + plan_->input.fixed_bytes);
  if (!options_.trace.empty()) trace_.emplace().plan(*plan_);
  executor_ =
      std::make_unique<InferenceExecutor>(*plan_, *residence_, model_, trace_ ? &*trace_ : nullptr);
  return {};
}

std::uint64_t InferenceSetup::cache_elements() const {
  if (shape_.capacity == 0) return 0;
  const std::uint64_t position = 2 * spec_.kv_heads * spec_.head_dim;
  if (!spec_.encoder_decoder) return spec_.layers * position * shape_.capacity;
  return spec_.t5.decoder_layers * position * (shape_.capacity + shape_.length);
}

std::vector<models::LayerCache> InferenceSetup::make_caches(std::uint64_t rows,
                                                            std::uint64_t source) const {
  std::vector<models::LayerCache> caches(spec_.layers);
  const auto make = [&](std::uint64_t positions) {
    return at::empty(
        {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(spec_.kv_heads),
         static_cast<std::int64_t>(positions), static_cast<std::int64_t>(spec_.head_dim)},
        at::TensorOptions().dtype(scalar_type(compute_)));
  };
  const std::uint64_t first = spec_.encoder_decoder ? spec_.t5.encoder_layers : 0;
  for (std::uint64_t i = first; i < caches.size(); ++i) {
    caches[i].keys = make(shape_.capacity);
    caches[i].values = make(shape_.capacity);
    if (!spec_.encoder_decoder) continue;
    caches[i].cross_keys = make(source);
    caches[i].cross_values = make(source);
  }
  return caches;
}

Result<void> InferenceSetup::finish() {
  if (trace_) return trace_->write(options_.trace);
  return {};
}

}  // namespace fathom::engine
