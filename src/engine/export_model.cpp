// SPDX-License-Identifier: Apache-2.0
#include "engine/export_model.hpp"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/text_file.hpp"
#include "engine/checkpoint.hpp"
#include "engine/model_files.hpp"
#include "kernels/convert.hpp"
#include "models/safetensors_writer.hpp"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t tile_elements = 256 * KiB;

struct Target {
  models::Dtype dtype;
  const char* torch_name;
};

Result<Target> target_of(const std::string& name) {
  if (name == "fp32") return Target{models::Dtype::f32, "float32"};
  if (name == "bf16") return Target{models::Dtype::bf16, "bfloat16"};
  if (name == "fp16") return Target{models::Dtype::f16, "float16"};
  return fail(Error(Errc::bad_config, "export")
                  .on("--dtype " + name)
                  .because("it is none of fp32, bf16, fp16")
                  .remedy("use one of them"));
}

// Elements of the master in the asked type, tile by tile.
class MasterReader {
 public:
  explicit MasterReader(const Checkpoint& checkpoint)
      : weights_(checkpoint, "W"),
        low_(checkpoint, "lo"),
        split_(low_.element_bytes() == 2),
        half_(low_.element_bytes() == 4) {}

  // The bytes of elements [first, first + count) of a unit.
  Result<std::span<const std::byte>> read(std::uint32_t unit, std::uint64_t first,
                                          std::uint64_t count, models::Dtype dtype) {
    if (split_) {
      FATHOM_CHECK(
          weights_.read(unit, first, std::as_writable_bytes(std::span(w_.data(), count)), 2));
      if (dtype == models::Dtype::bf16) return std::as_bytes(std::span(w_.data(), count));
      FATHOM_CHECK(low_.read(unit, first, std::as_writable_bytes(std::span(lo_.data(), count)), 2));
      kernels::join_master(nullptr, x_.data(), w_.data(), lo_.data(), count);
    } else if (half_) {
      // W is the master rounded to fp16: the master says it all.
      FATHOM_CHECK(low_.read(unit, first, std::as_writable_bytes(std::span(x_.data(), count)), 4));
    } else {
      FATHOM_CHECK(
          weights_.read(unit, first, std::as_writable_bytes(std::span(x_.data(), count)), 4));
    }
    if (dtype == models::Dtype::f32) return std::as_bytes(std::span(x_.data(), count));
    if (dtype == models::Dtype::bf16)
      kernels::fp32_to_bf16(nullptr, w_.data(), x_.data(), count);
    else
      kernels::fp32_to_fp16(nullptr, w_.data(), x_.data(), count);
    return std::as_bytes(std::span(w_.data(), count));
  }

 private:
  SectionReader weights_, low_;
  bool split_, half_;
  std::vector<std::uint16_t> w_ = std::vector<std::uint16_t>(tile_elements);
  std::vector<std::uint16_t> lo_ = std::vector<std::uint16_t>(tile_elements);
  std::vector<float> x_ = std::vector<float>(tile_elements);
};

std::uint64_t elements_of(const std::vector<std::int64_t>& shape) {
  std::uint64_t product = 1;
  for (const std::int64_t size : shape) product *= static_cast<std::uint64_t>(size);
  return product;
}

// The run's config.json, saying which type the weights are in.
Result<std::string> config_with_dtype(const fs::path& config, const char* name) {
  FATHOM_ASSIGN(const std::string text, read_text_file(config.string()));
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    return fail(Error(Errc::bad_input, "export")
                    .on(config.string())
                    .because("it is no JSON object")
                    .remedy("restore the checkpoint's config.json"));
  json[json.contains("dtype") ? "dtype" : "torch_dtype"] = name;
  return json.dump(2) + "\n";
}

}  // namespace

Result<ExportSummary> export_model(const ExportOptions& options) {
  FATHOM_ASSIGN(const Target target, target_of(options.dtype));
  FATHOM_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(options.checkpoint));
  // The model's small files lie beside the step directories.
  const fs::path parent = fs::path(checkpoint.path()).parent_path();
  const fs::path run = parent.empty() ? fs::path(".") : parent;
  FATHOM_ASSIGN(const std::string config,
                config_with_dtype(run / "config.json", target.torch_name));
  std::vector<models::TensorDeclaration> tensors;
  for (const Checkpoint::Unit& unit : checkpoint.units())
    for (const Checkpoint::Parameter& parameter : unit.parameters)
      tensors.push_back({parameter.name, target.dtype, parameter.shape});
  FATHOM_CHECK(make_directories(options.out));
  ExportSummary summary{.tensors = tensors.size(), .step = checkpoint.progress().step};
  FATHOM_ASSIGN(models::SafetensorsWriter writer,
                models::SafetensorsWriter::create_directory(options.out, std::move(tensors),
                                                            options.max_shard_bytes));
  MasterReader master(checkpoint);
  for (std::uint32_t u = 0; u < checkpoint.units().size(); ++u)
    for (const Checkpoint::Parameter& parameter : checkpoint.units()[u].parameters) {
      const std::uint64_t count = elements_of(parameter.shape);
      for (std::uint64_t at = 0; at < count; at += tile_elements) {
        FATHOM_ASSIGN(const std::span<const std::byte> bytes,
                      master.read(u, parameter.offset + at, std::min(tile_elements, count - at),
                                  target.dtype));
        FATHOM_CHECK(writer.append(bytes));
      }
    }
  FATHOM_CHECK(writer.finish());
  summary.bytes = writer.total_bytes();
  FATHOM_CHECK(copy_model_files(run.string(), options.out));
  FATHOM_CHECK(write_text_file((fs::path(options.out) / "config.json").string(), config));
  return summary;
}

}  // namespace fathom::engine
