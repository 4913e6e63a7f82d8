// SPDX-License-Identifier: Apache-2.0
//
// PosixBackend: preadv2 and pwritev2 on a few threads; works on every kernel and in every
// container.
//
// Threads      See backend.hpp. Owns its worker threads and joins them on destruction.
#pragma once

#include <memory>

#include "aio/backend.hpp"

namespace fathom::aio {

// `in_flight` operations may be outstanding; `threads` of them run at a time (0: as many as in
// flight, at most 16 — with huge pages two threads fill a 2.7 GB/s device).
std::unique_ptr<Backend> make_posix_backend(unsigned in_flight, unsigned threads = 0);

}  // namespace fathom::aio
