// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"

#include <unistd.h>

namespace fathom {

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

}  // namespace fathom
