// SPDX-License-Identifier: Apache-2.0
//
// UringBackend: io_uring on the best flags that the kernel takes.
//
// Purpose      One ring per queue. A poll on an eventfd lives in the ring, so that one wait serves
//              completions and wake-ups alike.
// Threads      See backend.hpp. The ring is created disabled and enabled by start(), because a ring
//              with a single issuer belongs to the thread that enables it.
#pragma once

#include <cstdint>
#include <memory>

#include "aio/backend.hpp"

namespace fathom::aio {

// Sets of set-up flags, from what the newest kernels take down to none.
inline constexpr unsigned uring_rungs = 5;

// Takes the first set of flags that the kernel accepts, leaving out the first `skip` (what an older
// kernel would take). Errors: unsupported, with the sysctl or the seccomp filter that refuses it.
Result<std::unique_ptr<Backend>> make_uring_backend(unsigned in_flight, unsigned skip = 0);

// Why setting a ring up failed with `error`, where kernel.io_uring_disabled is `setting` and the
// thread's Seccomp: mode is `seccomp`; with what to do about it.
Error uring_refusal(int error, std::int64_t setting, std::int64_t seccomp);

}  // namespace fathom::aio
