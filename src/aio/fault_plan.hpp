// SPDX-License-Identifier: Apache-2.0
//
// FaultPlan: which operations fail, and how.
//
// Purpose      A rule names a fault and when it strikes: the n-th operation, a burst from there on,
//              everything from there on, or a seeded share of all operations; of reads or writes
//              alone, or of those that touch a range of a file (a bad sector, an extent).
// Threads      A value; used by one thread at a time.
// Units        Operations are counted from 1, per rule; ranges are bytes of a file.
//
//   FaultPlan plan({{.fault = Fault::device_error, .at = 3},             // the third operation
//                   {.fault = Fault::busy, .at = 5, .burst = 4},         // the fifth to eighth
//                   {.fault = Fault::flip_on_read, .probability = 0.01},  // one read in a hundred
//                   {.fault = Fault::device_error, .at = 1, .for_ever = true,
//                    .where = FileRange{.begin = 8192, .end = 12288}}});  // a bad sector
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "aio/backend.hpp"

namespace fathom::aio {

enum class Fault : std::uint8_t {
  // Reported as a result; nothing is transferred.
  device_error,  // -EIO
  no_space,      // -ENOSPC
  size_limit,    // -EFBIG
  busy,          // -EAGAIN
  interrupted,   // -EINTR
  cancelled,     // -ECANCELED
  unsupported,   // -EOPNOTSUPP
  misaligned,    // -EINVAL
  bad_buffer,    // -EFAULT
  gone,          // -ENXIO: it could not even be started
  zero,          // 0 bytes
  // Short: the rest is missing, and what lies behind is not what was asked for.
  short_aligned,  // half of it, cut to 4096; one block passes whole
  short_ragged,   // all but the last 100 bytes
  // Silent: reported as a success, and found by checksums alone.
  torn,               // write: the first half is new, the second is what was there before
  flip_on_read,       // one bit of the buffer
  flip_before_write,  // one bit of what reaches the device
  misdirected,        // another place of the file is read or overwritten
  stale,              // read: what was there before the last write since the rules were set
  lost_write,         // never made
  // Late.
  delay,    // reported when nothing else is in flight
  reorder,  // reported after the next one to four others
  hang,     // not reported before release()
  // Of the calls, not of an operation; each one strikes the call that follows the operation.
  no_room,             // prepare() has no room while others are in flight
  submit_busy,         // submit() says -EAGAIN once
  submit_interrupted,  // submit() says -EINTR once
  reap_interrupted,    // reap() says -EINTR once
};
inline constexpr std::size_t fault_count = 26;
const char* to_string(Fault fault);

// What a fault that is reported as a result reports (0 for `zero`); nothing for all others.
std::optional<int> reported_result(Fault fault);

// The only direction that a fault can strike, where there is one.
std::optional<Direction> only_direction(Fault fault);

struct FileRange {
  int fd = -1;  // -1: any file
  std::uint64_t begin = 0, end = std::numeric_limits<std::uint64_t>::max();
};

struct FaultRule {
  Fault fault = Fault::device_error;
  std::uint64_t at = 0;    // the operation that is struck, counted from 1; 0: none
  bool for_ever = false;   // and all after it
  double probability = 0;  // share of the operations struck at random
  std::uint64_t seed = 1;
  // Strikes, and counts, only reads or only writes; only operations that touch the range.
  std::optional<Direction> only = {};
  std::uint64_t burst = 1;  // how many are struck from `at` on
  std::optional<FileRange> where = {};
};

class FaultPlan {
 public:
  explicit FaultPlan(std::vector<FaultRule> rules = {});

  // The first rule that strikes the operation if it is the next one; null when none does.
  const FaultRule* due(const Operation& operation) const;
  // The operation has been taken: every rule that it matches counts it.
  void count(const Operation& operation);

  bool has(Fault fault) const;

 private:
  struct Counted {
    FaultRule rule;
    std::uint64_t seen = 0;
  };
  std::vector<Counted> rules_;
};

}  // namespace fathom::aio
