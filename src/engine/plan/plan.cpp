// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/plan.hpp"

#include <numeric>

namespace fathom::engine {

const char* to_string(BufferKind kind) {
  switch (kind) {
    case BufferKind::pinned_weights: return "weights held in memory";
    case BufferKind::pinned_states: return "optimizer states held in memory";
    case BufferKind::landing: return "landing slots";
    case BufferKind::widened: return "fp32 copies of landed weights";
    case BufferKind::ring: return "optimizer-state ring";
    case BufferKind::accumulator: return "gradient accumulators";
    case BufferKind::gradient: return "gradients at rest";
    case BufferKind::block_input: return "block inputs";
    case BufferKind::staging: return "weights on their way through host memory";
    case BufferKind::carry: return "block inputs on their way";
    case BufferKind::network: return "gradients on their way to other ranks";
  }
  return "?";
}

const char* to_string(Tier tier) {
  switch (tier) {
    case Tier::device: return "device";
    case Tier::host: return "host";
    case Tier::nvme: return "nvme";
  }
  return "?";
}

const char* to_string(DeviceKind device) { return device == DeviceKind::cuda ? "cuda" : "cpu"; }

const char* to_string(ComputeType type) {
  switch (type) {
    case ComputeType::fp32: return "fp32";
    case ComputeType::bf16: return "bf16";
    case ComputeType::fp16: return "fp16";
  }
  return "?";
}

std::uint64_t Plan::bytes_on_nvme() const {
  const auto files = layout.file_bytes();
  return std::accumulate(files.begin(), files.end(), std::uint64_t{0});
}

std::uint64_t Plan::bytes_of(BufferKind kind) const {
  std::uint64_t sum = 0;
  for (const Buffer& buffer : buffers)
    if (buffer.kind == kind) sum += buffer.bytes;
  return sum;
}

std::uint64_t Plan::bytes_of(BufferKind kind, Tier tier) const {
  std::uint64_t sum = 0;
  for (const Buffer& buffer : buffers)
    if (buffer.kind == kind && buffer.tier == tier) sum += buffer.bytes;
  return sum;
}

std::uint64_t Plan::weights_offset(BufferId buffer, swap::ChunkId chunk) const {
  if (buffers[buffer].kind == BufferKind::staging) return 0;
  const bool partition =
      buffers[buffer].kind == BufferKind::pinned_weights && input.partitions_weights();
  const std::uint64_t element = partition ? layout.chunk(chunk).first : first_element(chunk);
  return element * layout.sections().of(swap::Section::W);
}

std::uint64_t Plan::pinned_bytes(swap::SectionMask set) const {
  return resident_bytes(set, Tier::host) + resident_bytes(set, Tier::device);
}

std::uint64_t Plan::resident_bytes(swap::SectionMask set, Tier tier) const {
  std::uint64_t sum = 0;
  for (swap::ChunkId c = 0; c < chunks.size(); ++c)
    for (const swap::Section section : swap::all_sections) {
      if (!swap::has(set, section)) continue;
      Tier lives = chunks[c].states_on_device ? Tier::device : Tier::host;
      if (section == swap::Section::W)
        lives = units[layout.chunk(c).unit].weights();
      else if (swap::has(chunks[c].streamed, section))
        lives = Tier::nvme;
      if (lives == tier) sum += layout.payload_bytes(c, section);
    }
  return sum;
}

}  // namespace fathom::engine
