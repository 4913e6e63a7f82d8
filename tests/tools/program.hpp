// SPDX-License-Identifier: Apache-2.0
//
// The `fathom` program as its users meet it: command lines, small models and data, expectations.
//
// Purpose      Nothing here sees LibTorch or the program's sources: a contract is what a process
//              reads, prints, writes and returns.
//
//   Training run{.out = new_scratch_name("out")};
//   run.config["fathom"]["host_memory"] = "8MiB";
//   const Outcome done = fathom(run.arguments());
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "files.hpp"
#include "process.hpp"
#include "scratch.hpp"

namespace fathom::tools {

using nlohmann::json;
using Arguments = std::vector<std::string>;

const std::string& program();  // FATHOM in the environment, else where the build put it
Outcome fathom(const Arguments& arguments, const Launch& launch = {});
std::vector<std::string> command_line(const Arguments& arguments);
Arguments operator+(Arguments first, const Arguments& second);

// Rates are given, so that no run measures the disk and every plan is the same everywhere.
const Arguments& fixed_rates();

// A model directory with a config.json alone: weights are random.
struct Shape {
  std::uint64_t hidden = 64, intermediate = 128, layers = 3, vocabulary = 256, positions = 128;
  bool tied = false;
};
std::string make_model(const Shape& shape);
const std::string& small_model();    // 144 k parameters
const std::string& layered_model();  // 952 k: its states do not fit the smallest budget

const std::string& words();  // a text file of some 20 kB
std::string scratch_file(const std::string& name, std::string_view text);

// bf16, AdamW, W and states on nvme at `nvme`.
json ds_config(const std::string& nvme);

struct Training {
  std::string model = layered_model();
  std::string data = words();
  std::string nvme = new_scratch_directory("nvme");
  std::string out = new_scratch_name("out");
  json config = ds_config(nvme);
  std::uint64_t steps = 4, length = 32;
  Arguments more = {};

  Arguments arguments() const;       // of train
  Arguments plan_arguments() const;  // of plan --json
  std::string metrics() const { return out + "/metrics.jsonl"; }
};

// `plan --json` of the run.
json plan_of(const Training& run);
std::uint64_t smallest_host_memory(const Training& run);

// Every section of every unit of a run's checkpoint, "unit/section" to bytes, however it is cut
// into chunks: read from the files as docs/checkpoint-format.md describes them.
std::map<std::string, std::string> state_of(const std::string& out);
json manifest_of(const std::string& out);

// Exports a run's checkpoint; the directory. `more`: flags.
std::string exported(const std::string& out, const Arguments& more = {});
// The exported fp32 weights, byte for byte.
std::map<std::string, std::string> weights_of(const std::string& out);
std::string step_directory(const std::string& out);  // OUT/step-N that `latest` names

// I/O engines that work here, as `fathom env` says.
const std::vector<std::string>& working_engines();

// Ended with 0 and said nothing about failures.
testing::AssertionResult succeeded(const Outcome& outcome);

// Ended with `code`, nothing on stdout, one message on stderr that holds every text of `says`, no
// trace of a crash.
testing::AssertionResult refused(const Outcome& outcome, int code,
                                 const std::vector<std::string>& says);

// Neither the run's --out nor its nvme directory holds a file.
testing::AssertionResult left_nothing(const Training& run);

// The directory of reference models, and the skip of tests that need it.
std::string shared(const std::string& name);

}  // namespace fathom::tools

#define FATHOM_NEEDS_SHARED(name)                                                             \
  if (!std::filesystem::exists(::fathom::tools::shared(name)))                                \
  GTEST_SKIP() << ::fathom::tools::shared(name) << " is not there; set FATHOM_SHARED to the " \
               << "directory of reference models"
