// SPDX-License-Identifier: Apache-2.0
//
// Estimator: what the states of a model need, from its size alone. Pure.
//
// Purpose      Two answers before any configuration exists. The classic one: ZeRO-2 and ZeRO-3
//              memory needs per GPU and per CPU for each choice of offloading, by the formulas and
//              in the layout that the field knows (bytes.md §6), to the last digit. And Fathom's
//              own, which adds what the classic one lacks: bytes on NVMe, pinned bytes, traffic.
// Covers       Parameters, gradients, optimizer states and the buffers they pass through. Neither
//              counts activations; `fathom plan` with a configuration does.
// Ownership    Values.
// Units        Bytes. "Per CPU" is per node. The texts print 2^30 bytes as GB, as the classic does.
//
//   const EstimateInput input = estimate_input(spec, {.gpus = 8, .nodes = 2});
//   std::fputs(estimate_text(input).c_str(), stdout);
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "models/spec.hpp"

namespace fathom::engine {

struct Setup {
  std::uint32_t gpus = 1;  // of each node
  std::uint32_t nodes = 1;
  std::uint32_t total() const { return gpus * nodes; }
};

struct EstimateInput {
  std::uint64_t parameters = 0;     // shared tensors once
  std::uint64_t largest_layer = 0;  // largest sum of one module's direct parameters
  std::uint64_t largest_unit = 0;   // elements fetched together: a decoder layer, the embedding
  Setup setup;
};

// The largest sum of the parameters that one module holds itself. Modules are read off the names:
// "….q_proj.weight" and "….q_proj.bias" belong to "….q_proj".
std::uint64_t largest_module_parameters(const models::ModelSpec& spec);

EstimateInput estimate_input(const models::ModelSpec& spec, Setup setup);

// One choice of offloading in the classic table.
struct ClassicRow {
  std::uint8_t stage = 3;
  bool offload_param = false, offload_optimizer = false;  // to the CPU
  bool zero_init = true;                                  // stage 3: built as partitions
  std::uint64_t per_cpu = 0, per_gpu = 0;
  std::string options() const;  // "offload_param=cpu , offload_optimizer=cpu , zero_init=1"
};

// In the order of the classic table: six rows of stage 3, two of stage 2.
std::vector<ClassicRow> classic_zero3(const EstimateInput& input);
std::vector<ClassicRow> classic_zero2(const EstimateInput& input);

// One placement of Fathom's, at stage 3.
struct PlacementRow {
  const char* weights = "nvme";         // where W lies: device | cpu | nvme
  const char* states = "nvme";          // where lo, m and v lie
  std::uint64_t per_gpu = 0;            // device memory
  std::uint64_t pinned = 0;             // host memory of a node
  std::uint64_t nvme = 0;               // of a node, one slot; a durable store takes twice that
  std::uint64_t read = 0, written = 0;  // NVMe bytes of a node in one optimizer step
};

// Fastest first: everything on the device … everything on nvme.
std::vector<PlacementRow> placements(const EstimateInput& input);

// The classic tables, Fathom's, and how the needs fall from one GPU a node to setup.gpus.
std::string estimate_text(const EstimateInput& input);

// Keys are a contract: total_params, largest_layer_params, largest_unit_params, and `setups`, one
// for each number of GPUs from 1 to setup.gpus, with `zero2`, `zero3`, `fathom`.
nlohmann::json estimate_json(const EstimateInput& input);

}  // namespace fathom::engine
