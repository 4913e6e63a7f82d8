// SPDX-License-Identifier: Apache-2.0
//
// CudaExecutor: runs the StepPrograms of a plan for the device cuda.
//
// Purpose      One thread walks the program once a pass: updates on the CPU run in place, all else
//              is enqueued on three streams, ordered by events, so that copies and computation
//              overlap as far as the program allows (plan/program.hpp says who does what). What the
//              streams have passed is told to the Swapper, which reads and writes behind it.
// Ownership    Borrows plan, residence, model and pool; owns streams, events and scratch memory.
// Threads      One thread drives it; the driver's thread tells of progress.
// Failure      As StepExecutor; the streams are idle when an Error is returned.
#pragma once

#include <memory>

#include "engine/residence.hpp"
#include "engine/step_executor.hpp"
#include "engine/trace.hpp"
#include "models/block.hpp"

namespace fathom::engine {

// Errors: no_space when device memory does not hold what the executor needs beside the plan.
Result<std::unique_ptr<StepExecutor>> make_cuda_executor(const Plan& plan, Residence& residence,
                                                         const models::Model& model,
                                                         ThreadPool& pool, const UpdateRule& rule,
                                                         Trace* trace);

}  // namespace fathom::engine
