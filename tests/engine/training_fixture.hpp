// SPDX-License-Identifier: Apache-2.0
//
// Small training runs at the level of plan, residence and executor, and what they leave behind.
#pragma once

#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include "base/random.hpp"
#include "engine/executor.hpp"
#include "engine/initial_state.hpp"
#include "engine/optimizer_rule.hpp"
#include "model_specs.hpp"

namespace fathom::engine::testing_runs {

// A directory that is gone when the test is.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "fathom-engine-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Everything that defines the numbers of a run …
struct Job {
  models::ModelSpec spec = testing_specs::llama_spec(3, 64, 96, false);
  bool fp32 = false;   // precision of training
  bool widen = false;  // bf16 weights computed in fp32
  bool fp16 = false;   // fp16 weights beside an fp32 master, computed in fp32
  double loss_scale = 1;
  double clipping = 0.5;
  std::uint64_t micro_batch = 2, accumulation = 2, length = 16;
  std::uint64_t target_length = 0;  // encoder-decoder
  std::uint64_t steps = 4;
  std::uint64_t seed = 7;
  kernels::AdamHyper hyper{.lr = 3e-3, .weight_decay = 0.1};
  std::optional<config::OptimizerConfig> optimizer = {};  // another than hyper's; the rate is
                                                          // hyper's

  kernels::Hyper rule() const { return optimizer ? hyper_of(*optimizer) : kernels::Hyper(hyper); }
  swap::SectionBytes sections() const {
    const auto precision = fp32   ? config::Precision::fp32
                           : fp16 ? config::Precision::fp16
                                  : config::Precision::bf16;
    return training_sections(precision, optimizer.value_or(config::OptimizerConfig{}));
  }
};

// … and what must not change them.
struct Where {
  std::uint64_t host_memory = 0;  // 0: no limit
  std::uint32_t slots = 0;        // 0: chosen
  std::uint64_t chunk_elements = 16 * MiB;
  aio::Engine engine = aio::Engine::automatic;
  std::uint64_t flush_after = 0;  // also flush in the middle, after this step
  bool evaluate = false;          // before each step but the first, on its rows
  std::function<std::vector<std::unique_ptr<aio::Queue>>(const aio::QueueOptions&)> queues = {};
  // Opens or creates the files of a durable store for the plan; without, the store is scratch.
  std::function<Result<swap::DurableFiles>(const Plan&)> durable = {};
  // One rank of several, which takes its rows of every micro-batch; its job's micro-batch is its
  // own.
  comm::Communicator* ranks = nullptr;
  int stage = 3;
  ComputeType reduce = ComputeType::fp32;
};

struct Outcome {
  std::vector<double> losses, norms;
  std::vector<double> evaluated;  // with Where::evaluate
  std::vector<StepResult> steps;
  // Every unit's sections, elements only: W | lo | m | v as bytes.
  std::vector<std::vector<std::byte>> units;
  swap::StoreCounters counters;
};

inline PlanInput plan_input(const Job& job, const Where& where) {
  PlanInput input;
  input.model = job.spec;
  input.sections = job.sections();
  if (job.fp32) {
    input.compute = ComputeType::fp32;
    input.gradient_bytes = 4;
  } else if (job.widen || job.fp16) {
    input.compute = ComputeType::fp32;
    input.widen = true;
  }
  input.micro_batch = job.micro_batch;
  input.accumulation = job.accumulation;
  input.length = job.length;
  input.target_length = job.target_length;
  input.lazy = job.clipping > 0 || job.fp16;
  if (job.optimizer && job.optimizer->type == config::OptimizerType::lamb)
    input.weights_lowest = input.states_lowest = Tier::host;
  input.landing_slots = input.ring_slots = where.slots;
  input.chunk_elements = where.chunk_elements;
  if (where.host_memory != 0) input.host_memory = where.host_memory;
  if (where.ranks != nullptr) {
    input.world = static_cast<std::uint32_t>(where.ranks->size());
    input.rank = static_cast<std::uint32_t>(where.ranks->rank());
    input.stage = where.stage;
    input.reduce = where.reduce;
    if (where.stage < 3) input.weights_lowest = Tier::host;
  }
  return input;
}

// The smallest budget that plans.
inline std::uint64_t smallest_memory(const Job& job, Where where = {}) {
  where.host_memory = 1;
  const auto refused = make_plan(plan_input(job, where));
  const std::string text = refused.error().message();
  const auto open = text.rfind('(', text.find(" bytes)"));
  return std::stoull(text.substr(open + 1));
}

// A batch for an encoder-decoder model: the second half of every source is padding in odd rows.
inline MicroBatch pairs_of(const Job& job, const CounterRandom& random, std::uint64_t& at) {
  const auto type = at::TensorOptions().dtype(c10::ScalarType::Long);
  const auto rows = static_cast<std::int64_t>(job.micro_batch);
  const auto make = [&](std::uint64_t columns) {
    at::Tensor ids = at::empty({rows, static_cast<std::int64_t>(columns)}, type);
    auto* id = static_cast<std::int64_t*>(ids.data_ptr());
    for (std::int64_t i = 0; i < ids.numel(); ++i)
      id[i] = static_cast<std::int64_t>(random.bits(at++) % (job.spec.vocabulary / 4));
    return ids;
  };
  MicroBatch batch{make(job.length), make(job.target_length), make(job.length),
                   make(job.target_length)};
  auto* keep = static_cast<std::int64_t*>(batch.attention_mask.data_ptr());
  const auto length = static_cast<std::int64_t>(job.length);
  for (std::int64_t i = 0; i < batch.attention_mask.numel(); ++i)
    keep[i] = i / length % 2 == 0 || i % length < length / 2;
  return batch;
}

// Token ids that depend on (step, micro-batch, element) only.
inline std::vector<MicroBatch> batches_of(const Job& job, std::uint64_t step) {
  const CounterRandom random(job.seed, "tokens");
  const auto type = at::TensorOptions().dtype(c10::ScalarType::Long);
  const auto rows = static_cast<std::int64_t>(job.micro_batch),
             columns = static_cast<std::int64_t>(job.length);
  std::vector<MicroBatch> batches;
  std::uint64_t at = step * job.accumulation * job.micro_batch * (job.length + 1);
  for (std::uint64_t i = 0; i < job.accumulation; ++i) {
    if (job.spec.encoder_decoder) {
      batches.push_back(pairs_of(job, random, at));
      continue;
    }
    MicroBatch batch{at::empty({rows, columns}, type), at::empty({rows, columns}, type)};
    auto* ids = static_cast<std::int64_t*>(batch.input_ids.data_ptr());
    auto* targets = static_cast<std::int64_t*>(batch.targets.data_ptr());
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c <= columns; ++c) {
        // Few distinct tokens, so that there is something to learn.
        const auto id = static_cast<std::int64_t>(random.bits(at++) % (job.spec.vocabulary / 4));
        if (c < columns) ids[r * columns + c] = id;
        if (c > 0) targets[r * columns + c - 1] = id;
      }
    }
    batches.push_back(std::move(batch));
  }
  return batches;
}

// The rank's rows of the batches that all ranks have together.
inline std::vector<MicroBatch> batches_of_rank(Job job, std::uint64_t step,
                                               const comm::Communicator* ranks) {
  if (ranks == nullptr) return batches_of(job, step);
  const auto rows = static_cast<std::int64_t>(job.micro_batch);
  job.micro_batch *= static_cast<std::uint64_t>(ranks->size());
  std::vector<MicroBatch> batches = batches_of(job, step);
  for (MicroBatch& batch : batches)
    for (at::Tensor* tensor :
         {&batch.input_ids, &batch.targets, &batch.attention_mask, &batch.decoder_input_ids})
      if (tensor->defined()) *tensor = tensor->narrow(0, ranks->rank() * rows, rows).clone();
  return batches;
}

// A planned and loaded model, ready to be stepped.
class TrainingRun {
 public:
  TrainingRun(const Job& job, const Where& where, std::string directory,
              const ParameterSource& source = {})
      : job_(job), ranks_(where.ranks), pool_(2), directory_(std::move(directory)) {
    auto plan = make_plan(plan_input(job, where));
    if (!plan) throw std::runtime_error(plan.error().message());
    plan_ = std::make_unique<Plan>(std::move(*plan));
    model_ = std::move(*models::make_model(job.spec));
    swap::StoreOptions options;
    options.paths = {directory_};
    options.queue.engine = where.engine;
    for (const auto& unit : job.spec.units) options.unit_names.push_back(unit.name);
    std::vector<std::unique_ptr<aio::Queue>> queues;
    std::optional<swap::DurableFiles> files;
    if (where.durable) {
      auto opened = where.durable(*plan_);
      if (!opened) {
        error_ = opened.error();
        return;
      }
      files.emplace(std::move(*opened));
    }
    if (where.queues && (files || plan_->bytes_on_nvme() != 0))
      queues = where.queues(options.queue);
    residence_ = Residence::create(*plan_, options, pool_, std::move(queues), std::move(files));
    if (!residence_) {
      error_ = residence_.error();
      return;
    }
    swap::Store* const store = (*residence_)->store();
    const bool resumes = store != nullptr && store->committed() != nullptr;
    if (auto filled = resumes
                          ? (*residence_)->read_pinned()
                          : fill_residence(**residence_, source ? source : random_source(job.seed),
                                           false, pool_);
        !filled) {
      error_ = filled.error();
      return;
    }
    if (where.ranks != nullptr)
      if (auto whole = make_weights_whole(**residence_, *where.ranks); !whole) {
        error_ = whole.error();
        return;
      }
    executor_ = std::make_unique<TrainingExecutor>(
        *plan_, **residence_, model_, pool_,
        UpdateRule{.hyper = job.rule(), .clipping = job.clipping}, nullptr, where.ranks);
  }

  const std::optional<Error>& error() const { return error_; }
  const Plan& plan() const { return *plan_; }
  Residence& residence() { return **residence_; }
  TrainingExecutor& executor() { return *executor_; }
  ThreadPool& pool() { return pool_; }

  Result<Outcome> train(const Where& where = {}) {
    Outcome outcome;
    for (std::uint64_t step = 0; step < job_.steps; ++step) {
      if (where.evaluate && step != 0) {
        FATHOM_CHECK(executor_->flush());
        // Twice, so that one may read ahead for the other.
        FATHOM_CHECK(executor_->evaluate(batches_of(job_, step - 1), true));
        FATHOM_ASSIGN(const Evaluation seen, executor_->evaluate(batches_of(job_, step), false));
        outcome.evaluated.push_back(seen.loss_sum / seen.predictions);
      }
      FATHOM_ASSIGN(const StepResult result,
                    executor_->step(batches_of_rank(job_, step, ranks_), job_.hyper.lr,
                                    step + 1 < job_.steps, {.loss_scale = job_.loss_scale}));
      outcome.losses.push_back(result.loss);
      outcome.norms.push_back(result.grad_norm);
      outcome.steps.push_back(result);
      if (step + 1 == where.flush_after) FATHOM_CHECK(executor_->flush());
    }
    FATHOM_CHECK(executor_->flush());
    if (residence().store() != nullptr) outcome.counters = residence().store()->counters();
    FATHOM_ASSIGN(outcome.units, read_units());
    return outcome;
  }

  Result<std::vector<std::vector<std::byte>>> read_units() {
    std::vector<std::vector<std::byte>> units(plan_->units.size());
    for (const swap::Section section : swap::all_sections) {
      const std::uint64_t width = plan_->layout.sections().of(section);
      if (width == 0) continue;
      for (swap::ChunkId c = 0; c < plan_->chunks.size(); ++c) {
        FATHOM_ASSIGN(const ChunkView view, residence().visit(c, true));
        const std::byte* address[] = {view.weights, reinterpret_cast<std::byte*>(view.low),
                                      reinterpret_cast<std::byte*>(view.m),
                                      reinterpret_cast<std::byte*>(view.v)};
        const std::byte* from = address[swap::index(section)];
        auto& unit = units[plan_->layout.chunk(c).unit];
        unit.insert(unit.end(), from, from + view.elements * width);
      }
    }
    return units;
  }

 private:
  Job job_;
  comm::Communicator* ranks_;
  ThreadPool pool_;
  std::string directory_;
  std::unique_ptr<Plan> plan_;
  models::Model model_;
  Result<std::unique_ptr<Residence>> residence_ = fail(Error(Errc::internal, "not created"));
  std::unique_ptr<TrainingExecutor> executor_;
  std::optional<Error> error_;
};

inline Outcome outcome_of(const Job& job, const Where& where) {
  const ScratchDirectory directory;
  TrainingRun run(job, where, directory.path());
  if (run.error()) throw std::runtime_error(run.error()->message());
  auto outcome = run.train(where);
  if (!outcome) throw std::runtime_error(outcome.error().message());
  return std::move(*outcome);
}

}  // namespace fathom::engine::testing_runs
