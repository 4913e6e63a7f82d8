// SPDX-License-Identifier: Apache-2.0
//
// Async: a Queue's reads and writes as Boost.Asio operations.
//
// Purpose      Initiating functions that take any completion token: a callback, use_future,
//              use_awaitable, a handler bound to a strand. The signature is void(Result<void>), so
//              use_future gives a std::future<Result<void>> and co_await a Result<void>: what may
//              happen stays a value and never becomes an exception.
// Executor     A handler runs on its associated executor (the system executor if it has none),
//              posted there, never on the queue's own thread: it may block and may destroy the
//              queue. The executor has work until the handler has run, so io_context::run() does
//              not return early.
// Cancellation Handlers with a cancellation slot (Boost 1.77 and newer) are cancelled by it. With
//              any Boost, Queue::cancel takes the ticket that Queue::submit returns. A request that
//              is cancelled completes with Errc::cancelled when the device has let go of its
//              buffer.
// Ownership    The queue must outlive the operation or be destroyed normally: destruction completes
//              every operation. The buffer and the File are the kernel's until the handler is
//              posted.
// Threads      May be called from any thread. A cancellation signal is emitted on the handler's
//              executor, as Asio asks for.
// Units        Bytes, seconds; as in queue.hpp.
//
//   boost::asio::awaitable<Result<void>> copy(Queue& queue, Request from, Request to) {
//     Result<void> done = co_await async_read(queue, from, boost::asio::use_awaitable);
//     if (done) done = co_await async_write(queue, to, boost::asio::use_awaitable);
//     co_return done;
//   }
//   const Result<void> done = async_read(queue, request, boost::asio::use_future).get();
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/version.hpp>
#if BOOST_ASIO_VERSION >= 101900
#include <boost/asio/associated_cancellation_slot.hpp>
#define FATHOM_ASIO_CANCELLATION 1
#endif

#include "aio/queue.hpp"

namespace fathom::aio {
namespace async_detail {

// What is posted: the handler with its result, allocated as the handler wishes.
template <class Handler>
struct Invocation {
  Handler handler;
  Result<void> result;

  using allocator_type = boost::asio::associated_allocator_t<Handler>;
  allocator_type get_allocator() const noexcept {
    return boost::asio::get_associated_allocator(handler);
  }

  void operator()() {
#ifdef FATHOM_ASIO_CANCELLATION
    // Nothing is left to cancel; the slot may be the handler's next operation's.
    if (auto slot = boost::asio::get_associated_cancellation_slot(handler); slot.is_connected())
      slot.clear();
#endif
    std::move(handler)(std::move(result));
  }
};

// The completion that a queue keeps: it holds the handler's executor at work, and posts to it.
template <class Handler>
class Delivery {
 public:
  explicit Delivery(Handler handler)
      : work_(boost::asio::get_associated_executor(handler)), handler_(std::move(handler)) {}

  void operator()(Result<void> result) {
    const auto executor = work_.get_executor();
    boost::asio::post(executor, Invocation<Handler>{std::move(handler_), std::move(result)});
    work_.reset();
  }

 private:
  boost::asio::executor_work_guard<boost::asio::associated_executor_t<Handler>> work_;
  Handler handler_;
};

#ifdef FATHOM_ASIO_CANCELLATION
// Joins a slot, which is filled before the request exists, with the request's ticket.
class Canceller {
 public:
  explicit Canceller(Queue& queue) : queue_(queue) {}

  void submitted(Ticket ticket) {
    const std::lock_guard lock(mutex_);
    ticket_ = ticket;
    if (wanted_) queue_.cancel(ticket);
  }
  void cancel() {
    const std::lock_guard lock(mutex_);
    wanted_ = true;
    if (ticket_) queue_.cancel(*ticket_);
  }

 private:
  Queue& queue_;
  std::mutex mutex_;
  std::optional<Ticket> ticket_;
  bool wanted_ = false;
};
#endif

template <class Token>
auto transfer(Queue& queue, const Request& request, Token&& token) {
  return boost::asio::async_initiate<Token, void(Result<void>)>(
      [](auto handler, Queue* on, const Request& what) {
        using Handler = decltype(handler);
#ifdef FATHOM_ASIO_CANCELLATION
        if (auto slot = boost::asio::get_associated_cancellation_slot(handler);
            slot.is_connected()) {
          auto canceller = std::make_shared<Canceller>(*on);
          slot.assign([canceller](boost::asio::cancellation_type) { canceller->cancel(); });
          canceller->submitted(on->submit(what, Delivery<Handler>(std::move(handler))));
          return;
        }
#endif
        on->submit(what, Delivery<Handler>(std::move(handler)));
      },
      token, &queue, request);
}

}  // namespace async_detail

// Completes when every byte of the request has been read, or with what went wrong. The request's
// own direction does not count.
template <class Token>
auto async_read(Queue& queue, Request request, Token&& token) {
  request.direction = Direction::read;
  return async_detail::transfer(queue, request, std::forward<Token>(token));
}

// The same for a write.
template <class Token>
auto async_write(Queue& queue, Request request, Token&& token) {
  request.direction = Direction::write;
  return async_detail::transfer(queue, request, std::forward<Token>(token));
}

// Completes, always with success, when every request submitted before it has completed.
template <class Token>
auto async_drain(Queue& queue, Token&& token) {
  return boost::asio::async_initiate<Token, void(Result<void>)>(
      [](auto handler, Queue* on) {
        on->on_drained([delivery = async_detail::Delivery<decltype(handler)>(
                            std::move(handler))]() mutable { delivery(Result<void>()); });
      },
      token, &queue);
}

}  // namespace fathom::aio
