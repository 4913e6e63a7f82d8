// SPDX-License-Identifier: Apache-2.0
#include "comm/agree.hpp"

#include <fmt/format.h>

#include "comm/error_text.hpp"

namespace fathom::comm {

Result<void> agree(Communicator& comm, const Result<void>& mine) {
  if (comm.size() == 1) return mine;
  FATHOM_ASSIGN(const std::vector<std::string> texts,
                comm.gather_text(mine ? std::string() : encode_error(mine.error())));
  for (std::size_t rank = 0; rank < texts.size(); ++rank)
    if (!texts[rank].empty())
      return fail(decode_error(texts[rank]).within(fmt::format("rank {}", rank)));
  return {};
}

Result<void> agree_on(Communicator& comm, std::string_view what, std::string_view value) {
  FATHOM_ASSIGN(const std::vector<std::string> texts, comm.gather_text(value));
  for (std::size_t rank = 1; rank < texts.size(); ++rank)
    if (texts[rank] != texts[0])
      return fail(
          Error(Errc::bad_config, "compare what the ranks were given")
              .on(what)
              .because(fmt::format("rank {} has {}, rank 0 has {}", rank, texts[rank], texts[0]))
              .remedy("start every rank with the same command and files"));
  return {};
}

}  // namespace fathom::comm
