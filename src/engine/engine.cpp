// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.hpp"

#include <algorithm>
#include <utility>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "engine/checkpoint.hpp"
#include "engine/initial_state.hpp"
#include "engine/model_files.hpp"
#include "engine/plan/render.hpp"
#include "engine/stepper.hpp"
#include "models/loss.hpp"

namespace fathom {

using namespace engine;

// What the engine keeps between calls. Not moved: its parts refer to each other.
struct Engine::State {
  State(TrainOptions given, TrainingSetup made, std::optional<models::Model> model)
      : options(std::move(given)), setup(std::move(made)), run(options, setup, std::move(model)) {}

  struct Place {
    std::uint32_t unit = 0;
    std::size_t parameter = 0;
  };
  Result<Place> find(const std::string& name, std::uint64_t first, std::uint64_t count) const;
  // Calls use(view, chunk, offset in the chunk, offset in the range, count) for each piece.
  template <class Use>
  Result<void> for_pieces(const Place& place, std::uint64_t first, std::uint64_t count,
                          const Use& use);
  Result<std::vector<MicroBatch>> batches(const Rows& rows, std::uint64_t from) const;
  std::uint64_t rows_in(const Rows& rows) const { return rows.input_ids.size() / setup.length; }
  Result<void> check(const Rows& rows) const;

  TrainOptions options;
  TrainingSetup setup;
  RunState run;
  std::unique_ptr<Stepper> stepper;
  std::vector<Parameter> parameters;
  bool settled = true;
};

namespace {

Error bad_rows(std::string_view what, const std::string& why) {
  return Error(Errc::bad_input, "take rows of tokens")
      .on(what)
      .because(why)
      .remedy("give whole rows of Shape's lengths, row after row");
}

TrainOptions train_options(const EngineOptions& options) {
  TrainOptions made;
  made.model = options.model;
  made.config = options.config;
  made.device = options.device;
  made.seed = options.seed;
  made.resume_from = options.resume_from;
  if (options.length != 0) made.seq_len = options.length;
  if (options.target_length != 0) made.target_len = options.target_length;
  if (options.total_steps != 0) made.flags.max_steps = options.total_steps;
  if (options.flops > 0) made.rates.flops = options.flops * 1e12;
  return made;
}

constexpr double own_flops = 1e11;  // blocks that nothing is known of

}  // namespace

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

Result<Engine> Engine::create(const EngineOptions& options) {
  return create_with(options, nullptr);
}

Result<Engine> Engine::create(const EngineOptions& options, models::Model model) {
  return create_with(options, std::make_unique<models::Model>(std::move(model)));
}

Result<Engine> Engine::create_with(const EngineOptions& options,
                                   std::unique_ptr<models::Model> own_model) {
  TrainOptions made = train_options(options);
  std::optional<models::Model> model;
  std::optional<models::ModelSpec> own;
  if (own_model) {
    model = std::move(*own_model);
    own = model->spec;
    if (!made.rates.flops) made.rates.flops = own_flops;
    if (made.device == "cuda")
      return fail(Error(Errc::unsupported, "open an engine")
                      .on("device cuda")
                      .because("a program's own blocks run on the CPU only yet")
                      .remedy("use device \"cpu\", or a family's model"));
    made.device = "cpu";
  }
  FATHOM_ASSIGN(TrainingSetup setup, prepare_training(made, DataNeed::brought, std::move(own)));
  if (setup.config.config.fathom.store == config::StoreMode::durable)
    return fail(Error(Errc::unsupported, "open an engine")
                    .on("fathom.store durable")
                    .because("a durable store belongs to the --out of `fathom train`")
                    .remedy("use \"scratch\" here, and save()"));
  FATHOM_CHECK(refuse_shortfalls(setup.shortfalls));
  auto state = std::make_unique<State>(std::move(made), std::move(setup), std::move(model));
  FATHOM_CHECK(state->run.find_start());
  FATHOM_CHECK(state->run.load());
  FATHOM_ASSIGN(state->stepper, Stepper::create(state->setup, state->run, nullptr));
  for (const models::UnitSpec& unit : state->setup.spec.units)
    for (const models::ParameterSpec& parameter : unit.parameters)
      state->parameters.push_back({parameter.name, parameter.shape, parameter.elements()});
  return Engine(std::move(state));
}

Shape Engine::shape() const {
  return {.rows = state_->setup.config.config.batch.train,
          .length = state_->setup.length,
          .target_length = state_->setup.target_length};
}

std::int64_t Engine::steps() const { return state_->stepper->progress().step; }

std::string Engine::plan() const { return plan_text(state_->setup.plan, state_->setup.shortfalls); }

std::string Engine::config() const { return state_->setup.config.resolved.dump(2); }

const std::vector<Parameter>& Engine::parameters() const { return state_->parameters; }

Result<void> Engine::State::check(const Rows& rows) const {
  const std::uint64_t length = setup.length, count = rows_in(rows);
  const bool pairs = setup.spec.encoder_decoder;
  const std::uint64_t target = pairs ? setup.target_length : length;
  if (rows.input_ids.empty() || rows.input_ids.size() % length != 0)
    return fail(bad_rows(
        "input_ids", fmt::format("{} ids are no whole rows of {}", rows.input_ids.size(), length)));
  const auto sized = [&](std::string_view name, std::span<const std::int64_t> values,
                         std::uint64_t wanted) -> Result<void> {
    if (values.size() == wanted) return {};
    return fail(bad_rows(name, fmt::format("{} values where {} belong", values.size(), wanted)));
  };
  FATHOM_CHECK(sized("targets", rows.targets, count * target));
  FATHOM_CHECK(sized("attention_mask", rows.attention_mask, pairs ? count * length : 0));
  FATHOM_CHECK(sized("decoder_input_ids", rows.decoder_input_ids, pairs ? count * target : 0));
  const auto known = [&](std::string_view name, std::span<const std::int64_t> ids,
                         bool ignored) -> Result<void> {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ignored && ids[i] == models::ignored_target) continue;
      if (ids[i] < 0 || static_cast<std::uint64_t>(ids[i]) >= setup.spec.vocabulary)
        return fail(bad_rows(name, fmt::format("{} at {} is not below the vocabulary's {}", ids[i],
                                               i, setup.spec.vocabulary)));
    }
    return {};
  };
  FATHOM_CHECK(known("input_ids", rows.input_ids, false));
  FATHOM_CHECK(known("decoder_input_ids", rows.decoder_input_ids, false));
  FATHOM_CHECK(known("targets", rows.targets, true));
  if (std::ranges::all_of(rows.targets, [](std::int64_t t) { return t == models::ignored_target; }))
    return fail(bad_rows("targets", "none of them is learned"));
  return {};
}

// The micro-batches of a step's size from row `from` on; rows beyond the last have no targets.
Result<std::vector<MicroBatch>> Engine::State::batches(const Rows& rows, std::uint64_t from) const {
  const config::BatchConfig& shape = setup.config.config.batch;
  const std::uint64_t have = rows_in(rows);
  const auto take = [&](std::span<const std::int64_t> values, std::uint64_t columns,
                        std::uint64_t first, std::int64_t filler) {
    at::Tensor tensor =
        at::empty({static_cast<std::int64_t>(shape.micro), static_cast<std::int64_t>(columns)},
                  at::TensorOptions().dtype(c10::ScalarType::Long));
    auto* out = static_cast<std::int64_t*>(tensor.data_ptr());
    for (std::uint64_t r = 0; r < shape.micro; ++r, out += columns) {
      // What fills up is a row that exists, so that every id is one.
      const std::uint64_t row = std::min(first + r, have - 1);
      if (first + r < have || filler == 0)
        std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(row * columns), columns, out);
      else
        std::fill_n(out, columns, filler);
    }
    return tensor;
  };
  const bool pairs = setup.spec.encoder_decoder;
  const std::uint64_t target = pairs ? setup.target_length : setup.length;
  std::vector<MicroBatch> list;
  for (std::uint64_t i = 0; i < shape.accumulation; ++i) {
    const std::uint64_t first = models::first_row(from, i, shape.micro, 0, 1);
    MicroBatch batch{take(rows.input_ids, setup.length, first, 0),
                     take(rows.targets, target, first, models::ignored_target)};
    if (pairs) {
      batch.attention_mask = take(rows.attention_mask, setup.length, first, 0);
      batch.decoder_input_ids = take(rows.decoder_input_ids, target, first, 0);
    }
    list.push_back(std::move(batch));
  }
  return list;
}

Result<Step> Engine::step(const Rows& rows) {
  FATHOM_CHECK(state_->check(rows));
  if (state_->rows_in(rows) != shape().rows)
    return fail(bad_rows("input_ids", fmt::format("{} rows, and a step has train_batch_size {}",
                                                  state_->rows_in(rows), shape().rows)));
  FATHOM_ASSIGN(const std::vector<MicroBatch> batches, state_->batches(rows, 0));
  state_->settled = false;
  FATHOM_ASSIGN(const StepMetrics metrics, state_->stepper->step(batches, /*more_follow=*/true));
  FATHOM_CHECK(state_->stepper->conclude());
  return Step{.step = metrics.step,
              .loss = metrics.loss,
              .lr = metrics.lr,
              .grad_norm = metrics.grad_norm,
              .loss_scale = metrics.loss_scale,
              .skipped = metrics.skipped,
              .seconds = metrics.seconds};
}

Result<void> Engine::settle() {
  if (!std::exchange(state_->settled, true)) return state_->stepper->settle();
  return {};
}

Result<double> Engine::evaluate(const Rows& rows) {
  FATHOM_CHECK(state_->check(rows));
  FATHOM_CHECK(settle());
  Evaluation sum;
  for (std::uint64_t from = 0; from < state_->rows_in(rows); from += shape().rows) {
    FATHOM_ASSIGN(const std::vector<MicroBatch> batches, state_->batches(rows, from));
    FATHOM_ASSIGN(const Evaluation part,
                  state_->stepper->evaluate(batches, from + shape().rows < state_->rows_in(rows)));
    sum.loss_sum += part.loss_sum;
    sum.predictions += part.predictions;
  }
  return sum.loss_sum / sum.predictions;
}

Result<std::string> Engine::save(const std::string& directory) {
  FATHOM_CHECK(settle());
  FATHOM_ASSIGN(std::string path,
                write_checkpoint(directory, state_->run.residence(), state_->stepper->progress(),
                                 state_->setup.config.resolved));
  if (!state_->options.model.empty())
    FATHOM_CHECK(copy_model_files(state_->options.model, directory));
  return path;
}

Result<Engine::State::Place> Engine::State::find(const std::string& name, std::uint64_t first,
                                                 std::uint64_t count) const {
  for (std::uint32_t u = 0; u < setup.spec.units.size(); ++u)
    for (std::size_t p = 0; p < setup.spec.units[u].parameters.size(); ++p) {
      const models::ParameterSpec& parameter = setup.spec.units[u].parameters[p];
      if (parameter.name != name) continue;
      if (first <= parameter.elements() && count <= parameter.elements() - first)
        return Place{u, p};
      return fail(Error(Errc::bad_input, "look at a parameter")
                      .on(name)
                      .because(fmt::format("it has {} elements, not [{}, {})", parameter.elements(),
                                           first, first + count))
                      .remedy("see parameters()"));
    }
  return fail(Error(Errc::not_found, "look at a parameter")
                  .on(name)
                  .because("the model has no parameter of this name")
                  .remedy("see parameters(); a tied head is the embedding's"));
}

template <class Use>
Result<void> Engine::State::for_pieces(const Place& place, std::uint64_t first, std::uint64_t count,
                                       const Use& use) {
  const Plan& plan = setup.plan;
  const std::uint64_t begin = plan.units[place.unit].flat.offsets[place.parameter] + first;
  for (swap::ChunkId c = plan.layout.first_chunk(place.unit); c < plan.layout.end_chunk(place.unit);
       ++c) {
    const swap::Chunk& chunk = plan.layout.chunk(c);
    const std::uint64_t from = std::max(begin, chunk.first);
    const std::uint64_t to = std::min(begin + count, chunk.first + chunk.elements);
    if (from >= to) continue;
    FATHOM_ASSIGN(const ChunkView view, run.residence().visit(c, /*read=*/true));
    FATHOM_CHECK(use(view, c, from - chunk.first, from - begin, to - from));
  }
  run.residence().end_visits();
  return {};
}

Result<std::vector<float>> Engine::read(const std::string& name) {
  std::vector<float> values;
  for (const Parameter& parameter : parameters())
    if (parameter.name == name) values.resize(parameter.elements);
  FATHOM_CHECK(read(name, 0, values));
  return values;
}

Result<void> Engine::read(const std::string& name, std::uint64_t first, std::span<float> out) {
  FATHOM_ASSIGN(const State::Place place, state_->find(name, first, out.size()));
  FATHOM_CHECK(settle());
  return state_->for_pieces(place, first, out.size(),
                            [&](const ChunkView& view, swap::ChunkId, std::uint64_t at,
                                std::uint64_t offset, std::uint64_t count) -> Result<void> {
                              get_master(state_->run.residence(), view, at,
                                         out.subspan(offset, count), worker_pool());
                              return {};
                            });
}

Result<void> Engine::write(const std::string& name, std::uint64_t first,
                           std::span<const float> values) {
  FATHOM_ASSIGN(const State::Place place, state_->find(name, first, values.size()));
  FATHOM_CHECK(settle());
  return state_->for_pieces(place, first, values.size(),
                            [&](const ChunkView& view, swap::ChunkId chunk, std::uint64_t at,
                                std::uint64_t offset, std::uint64_t count) -> Result<void> {
                              put_weights(state_->run.residence(), view, at,
                                          values.subspan(offset, count), false, worker_pool());
                              return state_->run.residence().store_chunk(chunk);
                            });
}

}  // namespace fathom
