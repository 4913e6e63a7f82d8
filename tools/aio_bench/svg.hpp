// SPDX-License-Identifier: Apache-2.0
//
// Svg: the report as a picture: how every block size and depth did, and ours beside fio.
#pragma once

#include <string>

#include "tuner.hpp"

namespace fathom::aio_bench {

// A whole SVG document. Its texts need no escaping: they are numbers and fixed words.
std::string report_svg(const Preflight& preflight, const Outcome& outcome);

}  // namespace fathom::aio_bench
