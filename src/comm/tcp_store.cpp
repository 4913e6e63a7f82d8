// SPDX-License-Identifier: Apache-2.0
#include "comm/tcp_store.hpp"

#include <chrono>
#include <cstdlib>
#include <exception>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <c10/util/Flags.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "base/unique_fd.hpp"

C10_DECLARE_int(caffe2_log_level);

namespace fathom::comm {
namespace {

// What LibTorch logs about a lost connection, a page of stack, is in our Errors. Its variable
// TORCH_CPP_LOG_LEVEL brings it back.
void keep_libtorch_quiet() {
  constexpr int fatal = 3;
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = fatal;
}

// LibTorch's messages go on with a stack trace.
std::string first_line(const std::exception& exception) {
  const std::string_view text = exception.what();
  return std::string(text.substr(0, text.find('\n')));
}

class C10dStore final : public TcpStore {
 public:
  C10dStore(const TcpStoreOptions& options, const c10d::TCPStoreOptions& native)
      : prefix_(options.prefix + "/"),
        served_by_(options.served_by),
        store_(c10::make_intrusive<c10d::TCPStore>(options.host, native)) {}

  Result<void> set(const std::string& key, const std::string& value) override {
    return guarded("write to", [&]() -> Result<void> {
      store_->set(prefix_ + key, bytes(value));
      return {};
    });
  }
  Result<std::optional<std::string>> get(const std::string& key) override {
    return guarded("read from", [&]() -> Result<std::optional<std::string>> {
      // get() alone would block until the key is there.
      if (!store_->check({prefix_ + key})) return std::nullopt;
      return text(store_->get(prefix_ + key));
    });
  }
  Result<std::string> offer(const std::string& key, const std::string& value) override {
    return guarded("write to", [&]() -> Result<std::string> {
      return text(store_->compareSet(prefix_ + key, {}, bytes(value)));
    });
  }
  Result<void> remove(const std::string& key) override {
    return guarded("write to", [&]() -> Result<void> {
      store_->deleteKey(prefix_ + key);
      return {};
    });
  }
  std::string server() const override {
    return fmt::format("{} at {}:{}", served_by_, store_->getHost(), store_->getPort());
  }
  std::uint16_t port() const override { return store_->getPort(); }

 private:
  static std::vector<std::uint8_t> bytes(const std::string& value) {
    return {value.begin(), value.end()};
  }
  static std::string text(const std::vector<std::uint8_t>& value) {
    return {value.begin(), value.end()};
  }
  template <class F>
  auto guarded(const char* verb, F&& body) -> decltype(body()) {
    try {
      return std::forward<F>(body)();
    } catch (const std::exception& exception) {
      return fail(Error(Errc::io, fmt::format("{} the ranks' store", verb))
                      .on(server())
                      .because(first_line(exception)));
    }
  }

  std::string prefix_, served_by_;
  c10::intrusive_ptr<c10d::TCPStore> store_;
};

// Whether `port` can be listened on, before LibTorch says less clearly that it can't.
Result<void> probe_port(std::uint16_t port) {
  const UniqueFd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;
  ::setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  if (::bind(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      ::listen(probe.get(), 1) == 0)
    return {};
  return fail(
      Error(Errc::io, "serve the ranks' store")
          .on(fmt::format("port {}", port))
          .because_errno(errno)
          .remedy(fmt::format("set MASTER_PORT to a free port; ss -ltnp 'sport = :{}' shows "
                              "who holds this one",
                              port)));
}

}  // namespace

Result<std::shared_ptr<TcpStore>> tcp_store(const TcpStoreOptions& options) {
  keep_libtorch_quiet();
  if (options.serve && options.port != 0) FATHOM_CHECK(probe_port(options.port));
  c10d::TCPStoreOptions native;
  native.port = options.port;
  native.isServer = options.serve;
  native.waitWorkers = false;
  native.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(options.connect * 1000));
  try {
    return std::make_shared<C10dStore>(options, native);
  } catch (const std::exception& exception) {
    return fail(Error(Errc::io, options.serve ? "serve the ranks' store" : "reach the ranks' store")
                    .on(fmt::format("{}:{}", options.host, options.port))
                    .because(first_line(exception))
                    .remedy("check that rank 0 runs there and that MASTER_ADDR and MASTER_PORT are "
                            "the same on every rank"));
  }
}

}  // namespace fathom::comm
