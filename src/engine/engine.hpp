// SPDX-License-Identifier: Apache-2.0
//
// Engine: training as a library. What `fathom train` does, a step at a time.
//
// Purpose      A model (a Hugging Face directory, a config.json, or the program's own blocks) and a
//              ds_config.json become a training state that may be larger than device and host
//              memory. The caller brings rows of tokens; a step is forward, backward and update in
//              one call, because the engine plans the three together.
//              Nothing of this header needs LibTorch; own blocks do, narrowly (models/block.hpp).
// Ownership    An Engine owns its state and files; scratch files go with it. Spans are borrowed for
//              the call.
// Threads      One engine at a time, one thread at a time.
// Units        Token ids; losses are means over the predictions that count.
// Errors       Result<T>: what was tried, on what, why, one remedy. After an Error of step() the
//              state is unusable: open the last checkpoint again.
//
//   fathom::EngineOptions options{.model = "my-model", .config = R"({"train_batch_size": 4, …})"};
//   FATHOM_ASSIGN(fathom::Engine engine, fathom::Engine::create(options));
//   while (…) FATHOM_ASSIGN(const fathom::Step step, engine.step({ids, targets}));
//   FATHOM_ASSIGN(const double loss, engine.evaluate({ids, targets}));
//   FATHOM_ASSIGN(const std::string path, engine.save("out"));
//   FATHOM_ASSIGN(const std::vector<float> weight, engine.read("lm_head.weight"));
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace fathom {

namespace models {
struct Model;  // models/block.hpp
}

struct EngineOptions {
  // Hugging Face directory (with weights: they are loaded) or a config.json (random by seed). With
  // own blocks: a directory of safetensors with their parameters' names, or empty.
  std::string model = {};
  std::string config = {};      // ds_config: a path or JSON text; empty: defaults
  std::string device = "auto";  // auto | cpu | cuda
  std::uint64_t seed = 42;
  std::uint64_t length = 0;         // tokens of a row; 0: the model's positions, at most 1024
  std::uint64_t target_length = 0;  // encoder-decoder: of a row of targets; 0: as length
  std::uint64_t total_steps = 0;    // what a schedule that ends counts with; 0: none does
  std::string resume_from = {};     // a checkpoint: of `fathom train` or of save()
  double flops = 0;                 // TFLOP/s that plans count with; 0: measured, own blocks: 0.1
};

// Rows of a batch, row after row. A step takes Shape::rows of them, an evaluation any multiple of
// what Shape says, or fewer.
struct Rows {
  std::span<const std::int64_t> input_ids;
  std::span<const std::int64_t> targets;  // what each position should predict; -100: nothing
  // Encoder-decoder models: 1 where input_ids is a token, and what the decoder reads. Their targets
  // have target_length a row.
  std::span<const std::int64_t> attention_mask = {}, decoder_input_ids = {};
};

struct Shape {
  std::uint64_t rows = 0;  // of a step: train_batch_size
  std::uint64_t length = 0, target_length = 0;
};

struct Step {
  std::int64_t step = 0;  // from 1
  double loss = 0, lr = 0, grad_norm = 0, loss_scale = 1;
  bool skipped = false;  // a gradient was not finite; nothing was updated
  double seconds = 0;
};

struct Parameter {
  std::string name = {};
  std::vector<std::int64_t> shape = {};
  std::uint64_t elements = 0;
};

class Engine {
 public:
  static Result<Engine> create(const EngineOptions& options);
  // The program's own blocks: model.spec describes them, see models/spec.hpp.
  static Result<Engine> create(const EngineOptions& options, models::Model model);

  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();

  Shape shape() const;
  std::int64_t steps() const;  // taken so far, those before a resume included
  std::string plan() const;    // what was decided, for people
  std::string config() const;  // the configuration as resolved, JSON

  Result<Step> step(const Rows& rows);
  // The mean loss over the rows' targets. Changes nothing that a later step computes.
  Result<double> evaluate(const Rows& rows);
  // Writes DIRECTORY/step-N and DIRECTORY/latest; what `fathom export`, `inspect` and --resume
  // read. Earlier steps stay.
  Result<std::string> save(const std::string& directory);

  // Parameters exist as a whole only for the call: the engine keeps them in slices on the tiers.
  const std::vector<Parameter>& parameters() const;
  Result<std::vector<float>> read(const std::string& name);  // the fp32 master
  Result<void> read(const std::string& name, std::uint64_t first, std::span<float> out);
  // Replaces elements [first, …) of a parameter; optimizer states stay.
  Result<void> write(const std::string& name, std::uint64_t first, std::span<const float> values);

 private:
  struct State;
  explicit Engine(std::unique_ptr<State> state);
  static Result<Engine> create_with(const EngineOptions& options,
                                    std::unique_ptr<models::Model> own);
  Result<void> settle();  // applies updates that wait for the next step
  std::unique_ptr<State> state_;
};

}  // namespace fathom
