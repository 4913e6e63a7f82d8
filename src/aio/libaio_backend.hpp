// SPDX-License-Identifier: Apache-2.0
//
// LibaioBackend: the kernel's older asynchronous I/O (io_submit), through its system calls.
//
// Purpose      Containers that forbid io_uring mostly allow this. It is asynchronous only with
//              O_DIRECT; buffered files work, one operation after the other. No library is needed.
// Threads      See backend.hpp.
#pragma once

#include <memory>

#include "aio/backend.hpp"

namespace fathom::aio {

// Errors: unsupported, with fs.aio-max-nr where that is the limit.
Result<std::unique_ptr<Backend>> make_libaio_backend(unsigned in_flight);

}  // namespace fathom::aio
