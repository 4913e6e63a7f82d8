// SPDX-License-Identifier: Apache-2.0
//
// What all CUDA kernels share: the stream, and what a launch returns.
//
// Purpose      Lets host code call kernels without CUDA headers. C++20, no <expected>: .cu files
//              include it. The layers above turn a Status into an Error.
// Threads      Launches may come from any thread; work on one stream runs in order.
// Units        Counts are elements, pointers are device pointers with the alignment of their type.
#pragma once

struct CUstream_st;

namespace fathom::kernels::cuda {

using Stream = CUstream_st*;  // a cudaStream_t

// A cudaError_t: 0 when the launch was accepted. What goes wrong on the device shows at a later
// synchronisation, as everywhere in CUDA.
using Status = int;

const char* status_text(Status status);

}  // namespace fathom::kernels::cuda
