// SPDX-License-Identifier: Apache-2.0
//
// Engines: which I/O engines work in a directory, found out by using them.
//
// Purpose      Version strings and container policies lie; a ring, a no-op and one real transfer in
//              the target directory do not. Each refusal carries its exact reason.
// Threads      Stateless.
//
//   for (const EngineProbe& probe : probe_engines("/mnt/nvme0"))
//     log::info("{}: {}", to_string(probe.engine), probe.works ? "works" : probe.reason);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "aio/backend.hpp"

namespace fathom::aio {

struct EngineProbe {
  Engine engine = Engine::posix;
  bool works = false;
  std::string reason;  // why not; when it works, what is worth knowing (may be empty)
};

// A backend of `engine` (not automatic) for `in_flight` operations. Errors: unsupported.
Result<std::unique_ptr<Backend>> make_backend(Engine engine, unsigned in_flight);

// Sets the engine up and writes and reads one block of a scratch file in `directory`; where no file
// can be made there, the set-up alone decides and the reason says so.
EngineProbe probe_engine(Engine engine, const std::string& directory);

// All engines, in the order in which `automatic` tries them.
std::vector<EngineProbe> probe_engines(const std::string& directory);

}  // namespace fathom::aio
