// SPDX-License-Identifier: Apache-2.0
//
// The store over TCP behaves as the one in memory.
#include "comm/tcp_store.hpp"

#include <memory>
#include <string>

#include <gtest/gtest.h>

namespace fathom::comm {
namespace {

std::shared_ptr<TcpStore> serve(std::uint16_t port = 0) {
  const auto store = tcp_store({.host = "127.0.0.1", .port = port, .serve = true});
  EXPECT_TRUE(store) << store.error().message();
  return store ? *store : nullptr;
}

// "absent", "error", or the value in quotes.
std::string seen(const Result<std::optional<std::string>>& result) {
  if (!result) return "error";
  return *result ? "'" + **result + "'" : "absent";
}

void behave_as_a_store(Store& one, Store& other) {
  EXPECT_EQ(seen(one.get("a")), "absent");
  EXPECT_TRUE(one.set("a", "1"));
  EXPECT_EQ(seen(other.get("a")), "'1'");
  EXPECT_TRUE(other.set("a", std::string("2\0x", 3)));
  EXPECT_EQ(seen(one.get("a")), std::string("'2\0x'", 5));
  EXPECT_EQ(one.offer("b", "first").value_or("error"), "first");
  EXPECT_EQ(other.offer("b", "second").value_or("error"), "first");
  EXPECT_TRUE(other.remove("a"));
  EXPECT_EQ(seen(one.get("a")), "absent");
  EXPECT_TRUE(one.remove("never there"));
}

TEST(Store, InMemory) {
  const auto store = memory_store();
  behave_as_a_store(*store, *store);
}

TEST(Store, OverTcp) {
  const auto server = serve();
  ASSERT_NE(server, nullptr);
  const auto client = tcp_store({.host = "127.0.0.1", .port = server->port()});
  ASSERT_TRUE(client) << client.error().message();
  behave_as_a_store(*server, **client);
  EXPECT_EQ((*client)->server(), "rank 0 at 127.0.0.1:" + std::to_string(server->port()));
}

TEST(Store, PrefixesKeepJobsApart) {
  const auto server = serve();
  const auto other = tcp_store({.host = "127.0.0.1", .port = server->port(), .prefix = "fathom/1"});
  ASSERT_TRUE(other);
  ASSERT_TRUE(server->set("a", "1"));
  EXPECT_EQ(seen((*other)->get("a")), "absent");
}

TEST(Store, APortInUseIsNamed) {
  const auto server = serve();
  const auto second = tcp_store({.host = "127.0.0.1", .port = server->port(), .serve = true});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().target(), "port " + std::to_string(server->port()));
  EXPECT_NE(second.error().why().find("in use"), std::string::npos) << second.error().message();
}

TEST(Store, AServerThatIsGoneIsAnError) {
  auto server = serve();
  const auto client = tcp_store({.host = "127.0.0.1", .port = server->port()});
  ASSERT_TRUE(client);
  ASSERT_TRUE((*client)->set("a", "1"));
  server.reset();
  const auto read = (*client)->get("a");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), Errc::io);
  EXPECT_NE(read.error().target().find("rank 0 at 127.0.0.1"), std::string::npos);
}

TEST(Store, AServerThatNeverWasIsNamed) {
  std::uint16_t port = 0;
  {
    const auto server = serve();
    port = server->port();
  }
  const auto client = tcp_store({.host = "127.0.0.1", .port = port, .connect = 0.2});
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().target(), "127.0.0.1:" + std::to_string(port));
}

}  // namespace
}  // namespace fathom::comm
