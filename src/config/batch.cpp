// SPDX-License-Identifier: Apache-2.0
#include "config/batch.hpp"

#include <fmt/format.h>

#include "base/assert.hpp"

namespace fathom::config {

Result<BatchConfig> complete_batch(const GivenBatch& given, std::uint64_t world_size) {
  FATHOM_ASSERT(world_size > 0, "a world has at least one rank");
  constexpr std::uint64_t largest = std::uint64_t{1} << 40;  // keeps the products below 2^63
  BatchConfig batch{.train = given.train.value_or(0),
                    .micro = given.micro.value_or(0),
                    .accumulation = given.accumulation.value_or(0),
                    .world_size = world_size};
  const auto bad = [&](std::string_view why) {
    return fail(Error(Errc::bad_config, "derive the batch sizes").because(why));
  };
  if (!given.train && !given.micro)
    return bad("train_batch_size or train_micro_batch_size_per_gpu is needed; set one of the two");
  if (given.train && given.micro && !given.accumulation) {
    if (batch.micro > 0) batch.accumulation = batch.train / batch.micro / world_size;
  } else if (given.train && !given.micro) {
    if (!given.accumulation) batch.accumulation = 1;
    if (batch.accumulation > 0) batch.micro = batch.train / world_size / batch.accumulation;
  } else if (!given.train) {
    if (!given.accumulation) batch.accumulation = 1;
    if (batch.micro > largest || batch.accumulation > largest / batch.micro ||
        world_size > largest / batch.micro / batch.accumulation)
      return bad("the batch is larger than 2^40 samples; make it smaller");
    batch.train = batch.micro * batch.accumulation * world_size;
  }
  // Divisions, so that no product overflows.
  const bool positive = batch.train > 0 && batch.micro > 0 && batch.accumulation > 0;
  if (!positive || batch.train % batch.micro != 0 ||
      batch.train / batch.micro % batch.accumulation != 0 ||
      batch.train / batch.micro / batch.accumulation != world_size)
    return bad(fmt::format(
        "train_batch_size {} is not train_micro_batch_size_per_gpu {} × "
        "gradient_accumulation_steps "
        "{} × {} rank{}; change one, or leave one out and it is derived",
        batch.train, batch.micro, batch.accumulation, world_size, world_size == 1 ? "" : "s"));
  return batch;
}

}  // namespace fathom::config
