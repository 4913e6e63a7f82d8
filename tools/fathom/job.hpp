// SPDX-License-Identifier: Apache-2.0
//
// Job: this process's place among the ranks that a launcher started, from its environment.
//
// Purpose      Without a launcher there is one rank and no communicator. The first rank speaks for
//              all; the others say only what goes wrong.
// Threads      From the main thread, before anything else uses MPI.
//
//   FATHOM_ASSIGN(Job job, Job::join());
//   options->ranks = job.ranks();
//   return job.concluded(engine::train(*options));
#pragma once

#include <memory>

#include "base/log.hpp"
#include "base/result.hpp"
#include "comm/join.hpp"
#include "comm/limits.hpp"

namespace fathom::tools {

class Job {
 public:
  static Result<Job> join() {
    const comm::Environment variables = comm::process_environment();
    FATHOM_ASSIGN(const comm::Place place, comm::place_of(variables));
    Job job;
    if (place.world == 1) return job;
    FATHOM_ASSIGN(const comm::Limits limits, comm::limits_of(variables));
    FATHOM_ASSIGN(job.ranks_, comm::join_on_cpu(place, limits));
    if (!job.speaks()) log::set_level(log::Level::error);
    return job;
  }

  comm::Communicator* ranks() const { return ranks_.get(); }
  bool speaks() const { return !ranks_ || ranks_->rank() == 0; }

  // Tells the other ranks of an Error, so that they end with it too.
  template <class T>
  Result<T> concluded(Result<T> result) const {
    if (!result && ranks_) ranks_->report(result.error());
    return result;
  }

 private:
  std::unique_ptr<comm::Communicator> ranks_;
};

}  // namespace fathom::tools
