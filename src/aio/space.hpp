// SPDX-License-Identifier: Apache-2.0
//
// Space: file space that is promised before the first byte is written.
//
// Purpose      A write into reserved space can't fail for want of it, whoever else fills the disk.
// Threads      Stateless.
// Units        Bytes.
//
//   FATHOM_CHECK(reserve_space(fd, "/mnt/nvme0", 64 * GiB));
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace fathom::aio {

// Gives the file exactly `bytes` of space from its first byte on, or none and an Error ("need X,
// have Y on WHERE"): no_space, unsupported where the file system can't promise, io.
Result<void> reserve_space(int fd, const std::string& where, std::uint64_t bytes);

}  // namespace fathom::aio
