// SPDX-License-Identifier: Apache-2.0
//
// Store: a small table of text that all ranks of a job see. It carries what is not data: who is
// alive, what each rank is doing, errors, NCCL's id.
//
// Purpose      memory_store() serves the threads of one process; tcp_store.hpp serves processes.
// Ownership    Shared: communicator and watch keep it while they live.
// Threads      Every call may come from any thread.
// Errors       A store that is gone or refuses is an io Error. An absent key is no Error.
//
//   FATHOM_CHECK(store->set("rank/0", "ready"));
//   FATHOM_ASSIGN(const std::optional<std::string> text, store->get("rank/1"));
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace fathom::comm {

class Store {
 public:
  Store() = default;
  virtual ~Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  virtual Result<void> set(const std::string& key, const std::string& value) = 0;
  virtual Result<std::optional<std::string>> get(const std::string& key) = 0;
  // The first rank to offer a value wins; every rank gets the winner's. Values are not empty.
  virtual Result<std::string> offer(const std::string& key, const std::string& value) = 0;
  virtual Result<void> remove(const std::string& key) = 0;

  // Who serves it, for messages: "rank 0 at node1:29500".
  virtual std::string server() const = 0;
};

std::shared_ptr<Store> memory_store();

}  // namespace fathom::comm
