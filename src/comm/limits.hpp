// SPDX-License-Identifier: Apache-2.0
//
// Limits: how long ranks wait for each other.
//
// Purpose      A rank that stalls ends the job `arrival` after the others began to wait for it, one
//              that dies `silence` after its last sign of life, each plus two beats; one that fails
//              tells the others within two beats. A process that is still there `exit` after that
//              ends itself.
// Units        Seconds.
//
//   FATHOM_ASSIGN(const Limits limits, limits_of(process_environment()));
#pragma once

#include "base/result.hpp"
#include "comm/environment.hpp"

namespace fathom::comm {

struct Limits {
  double beat = 1;       // between two looks at the other ranks
  double arrival = 600;  // a collective waits so long: FATHOM_COLLECTIVE_TIMEOUT
  double silence = 30;   // without a sign of life a rank counts as dead: FATHOM_SILENCE_TIMEOUT
  double exit = 20;      // 0: ranks are threads; none ends the process
};

// Errors: bad_config for a value that is no positive number.
Result<Limits> limits_of(const Environment& variables);

}  // namespace fathom::comm
