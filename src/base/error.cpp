// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace fathom {

Error&& Error::on(std::string_view target) && {
  target_ = target;
  return std::move(*this);
}

Error&& Error::because(std::string_view why) && {
  why_ = why;
  return std::move(*this);
}

Error&& Error::because_errno(int errno_value) && {
  errno_ = errno_value;
  char buffer[128];
  // GNU strerror_r: returns the text, thread-safe.
  const char* text = strerror_r(errno_value, buffer, sizeof buffer);
  why_ = why_.empty() ? fmt::format("{} (errno {})", text, errno_value)
                      : fmt::format("{}: {} (errno {})", why_, text, errno_value);
  return std::move(*this);
}

Error&& Error::remedy(std::string_view text) && {
  remedy_ = text;
  return std::move(*this);
}

Error&& Error::within(std::string_view outer) && {
  target_ = target_.empty() ? std::string(outer) : fmt::format("{}, {}", outer, target_);
  return std::move(*this);
}

std::string Error::message() const {
  std::string text = tried_;
  if (!target_.empty()) text += ": " + target_;
  if (!why_.empty()) text += ": " + why_;
  if (!remedy_.empty()) text += "; " + remedy_;
  return text;
}

const char* to_string(Errc code) {
  switch (code) {
    case Errc::bad_config: return "bad_config";
    case Errc::bad_input: return "bad_input";
    case Errc::not_found: return "not_found";
    case Errc::io: return "io";
    case Errc::no_space: return "no_space";
    case Errc::corrupt: return "corrupt";
    case Errc::unsupported: return "unsupported";
    case Errc::timeout: return "timeout";
    case Errc::cancelled: return "cancelled";
    case Errc::interrupted: return "interrupted";
    case Errc::internal: return "internal";
  }
  return "unknown";
}

}  // namespace fathom
