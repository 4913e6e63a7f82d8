// SPDX-License-Identifier: Apache-2.0
//
// FlightBudget: how much may be in flight on a device at once.
//
// Purpose      Two bounds, kept exactly for operations of any size:
//                bytes      queue_depth × intra_op_parallelism × block_size. With operations of
//                           block_size that is DeepSpeed's meaning of queue_depth; of smaller ones
//                           more may run, because it is bytes in flight over latency that make the
//                           rate. So small requests, and mixtures, lose nothing to idle depth.
//                commands   an operation becomes ceil(bytes / largest command) device commands, and
//                           all of them together use at most half of the device's tags: a
//                           submission beyond that blocks in the kernel.
//              An operation that fits no budget at all must not exist: largest() bounds the cut.
// Threads      None of its own.
// Units        Bytes; device commands.
//
//   FlightBudget budget(8 * MiB, command_limits(device_under("/mnt/nvme0")));
//   if (budget.fits(bytes)) budget.take(bytes);
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "aio/device.hpp"
#include "aio/queue.hpp"

namespace fathom::aio {

struct CommandLimit {
  std::uint64_t bytes = 0;     // of the largest command
  std::uint64_t commands = 0;  // in flight at most
  friend bool operator==(const CommandLimit&, const CommandLimit&) = default;
};

// Half the tags of every device of the chain; nothing where the kernel tells nothing.
std::vector<CommandLimit> command_limits(const DeviceChain& chain);

class FlightBudget {
 public:
  explicit FlightBudget(std::uint64_t bytes, std::vector<CommandLimit> limits = {});

  bool fits(std::uint64_t bytes) const;
  void take(std::uint64_t bytes);
  void give_back(std::uint64_t bytes);

  std::uint64_t bytes() const { return used_; }  // in flight
  std::uint64_t largest() const;                 // the largest operation that fits when idle
  std::uint64_t most_operations() const;         // that fit at once, of the smallest size

 private:
  struct Commands {
    CommandLimit limit;
    std::uint64_t used = 0;
  };
  std::uint64_t most_, used_ = 0;
  std::vector<Commands> commands_;
};

// queue_depth × intra_op_parallelism operations of block_size, as bytes.
std::uint64_t byte_budget(const QueueOptions& options);

// Operations that an engine must be able to hold: that many of block_size; of smaller ones as many
// as have 64 KiB each within the byte budget, up to 256 (more never gained anything and costs
// locked kernel memory).
unsigned operation_limit(const QueueOptions& options, const FlightBudget& budget);

}  // namespace fathom::aio
