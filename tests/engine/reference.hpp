// SPDX-License-Identifier: Apache-2.0
//
// The plain way to train, to hold the engine against: everything in memory, one micro-batch after
// the other through the whole model, then norm, clipping and update of every parameter.
#pragma once

#include <vector>

#include "training_fixture.hpp"

namespace fathom::engine::testing_runs {

Outcome reference_training(const Job& job);

}  // namespace fathom::engine::testing_runs
