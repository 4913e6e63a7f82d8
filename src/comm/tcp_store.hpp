// SPDX-License-Identifier: Apache-2.0
//
// tcp_store: the ranks' store over TCP (c10d::TCPStore, the one torchrun serves).
//
// Purpose      One process serves, the others connect, at `host`:`port`; port 0 takes a free one.
//              When torchrun's agent serves already, every rank connects.
// Ownership    The server lives as long as its Store.
// Threads      As Store.
// Units        Seconds.
//
//   FATHOM_ASSIGN(const auto store, tcp_store({.host = "node1", .port = 29500, .serve = rank ==
//   0}));
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "comm/store.hpp"

namespace fathom::comm {

struct TcpStoreOptions {
  std::string host;
  std::uint16_t port = 0;
  bool serve = false;
  double connect = 600;           // how long to wait for the server
  std::string prefix = "fathom";  // of the keys: others may use the same store
  std::string served_by = "rank 0";
};

class TcpStore : public Store {
 public:
  virtual std::uint16_t port() const = 0;
};

// Errors: io, naming host and port (in use, unreachable).
Result<std::shared_ptr<TcpStore>> tcp_store(const TcpStoreOptions& options);

}  // namespace fathom::comm
