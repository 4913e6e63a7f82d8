// SPDX-License-Identifier: Apache-2.0
//
// EventFile: scalars as TensorBoard reads them.
//
// Format       A file of records: length (8 bytes, little-endian), masked crc32c of the length,
//              the record, masked crc32c of the record. A record is a protocol-buffer message
//              Event: wall_time (1, double), step (2, varint), then file_version (3, text) in the
//              first record and summary (5) in the others: one Value (1) per scalar with tag (1,
//              text) and simple_value (2, float).
// Threads      One thread at a time.
//
//   FATHOM_ASSIGN(auto events, EventFile::create("runs/job"));
//   FATHOM_CHECK(events->add(512, points));
#pragma once

#include <cstdint>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/monitor.hpp"

namespace fathom::engine {

class EventFile final : public Monitor {
 public:
  // A new file DIRECTORY/events.out.tfevents.SECONDS.HOST.PID.
  static Result<std::unique_ptr<EventFile>> create(const std::string& directory);
  Result<void> add(std::int64_t step, std::span<const MonitorPoint> points) override;
  const std::string& path() const { return path_; }

 private:
  Result<void> write(const std::string& record);
  std::string path_;
  std::ofstream out_;
};

// A record with its lengths and checksums, as it stands in the file. Pure.
std::string framed_record(std::string_view record);
// CRC-32C (Castagnoli), and TensorFlow's mask over it.
std::uint32_t crc32c(std::string_view bytes);
std::uint32_t masked_crc32c(std::string_view bytes);

}  // namespace fathom::engine
