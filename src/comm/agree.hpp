// SPDX-License-Identifier: Apache-2.0
//
// All ranks go on, or all stop with the same Error.
//
// Purpose      Before step 0 each rank prepares on its own (reads files, allocates, opens its
//              store); then agree() makes the lowest failing rank's Error everyone's, with its
//              number in front. agree_on() refuses ranks that were given different things.
// Threads      As for Communicator: from one thread at a time.
//
//   const Result<void> prepared = open_everything();
//   FATHOM_CHECK(agree(comm, prepared));                      // "open the store: rank 2, /mnt/x:
//   …" FATHOM_CHECK(agree_on(comm, "the configuration", text));  // "rank 1 has …, rank 0 has …"
#pragma once

#include <string_view>

#include "comm/communicator.hpp"

namespace fathom::comm {

Result<void> agree(Communicator& comm, const Result<void>& mine);

// Errors: bad_config, the same on every rank, naming the first rank that differs from rank 0.
Result<void> agree_on(Communicator& comm, std::string_view what, std::string_view value);

}  // namespace fathom::comm
