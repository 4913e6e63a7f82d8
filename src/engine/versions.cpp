// SPDX-License-Identifier: Apache-2.0
#include "engine/versions.hpp"

#include <sys/utsname.h>
#include <torch/headeronly/version.h>

namespace fathom::engine {

nlohmann::json versions() {
  struct utsname system{};
  ::uname(&system);
  return {{"fathom", FATHOM_VERSION},
          {"libtorch", TORCH_VERSION},
          {"compiler", __VERSION__},
          {"kernel", system.release}};
}

}  // namespace fathom::engine
