// SPDX-License-Identifier: Apache-2.0
#include "aio/rates.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <limits>
#include <mutex>
#include <optional>

#include "base/clock.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

// Keeps every block of the arena on its way until the time or the bytes are used up. Completions
// start the next request themselves, so that the queue never drains.
class Stream {
 public:
  Stream(Queue& queue, const File& file, const Arena& arena, Direction direction,
         std::uint64_t block, double seconds, std::uint64_t most_bytes,
         const std::function<bool()>& stop)
      : queue_(queue),
        file_(file),
        arena_(arena),
        direction_(direction),
        block_(block),
        places_(file.size() / block),
        most_blocks_(most_bytes / block),
        start_(now_seconds()),
        end_(start_ + seconds),
        stop_(stop) {}

  Result<Trial> run() {
    const std::uint64_t slots = std::min(arena_.size() / block_, most_blocks_);
    if (slots == 0 || places_ == 0)
      return fail(Error(Errc::bad_config, "measure I/O")
                      .on(file_.path())
                      .because("the file, the buffers or the byte limit hold less than one block"));
    active_ = slots;
    for (std::uint64_t slot = 0; slot < slots; ++slot) next(slot);
    {
      std::unique_lock lock(mutex_);
      done_.wait(lock, [this] { return active_ == 0; });
    }
    queue_.drain();  // the last completion has returned: nothing refers to this object any more
    if (error_) return fail(std::move(*error_));
    return Trial{completed_ * block_, last_ - start_};
  }

 private:
  void next(std::uint64_t slot) {
    std::uint64_t index = 0;
    {
      const std::lock_guard lock(mutex_);
      if (error_ || issued_ >= most_blocks_ || now_seconds() >= end_ || (stop_ && stop_())) {
        if (--active_ == 0) done_.notify_all();
        return;
      }
      index = issued_++;
    }
    queue_.submit(
        {.direction = direction_,
         .priority = direction_ == Direction::read ? Priority::demand : Priority::write_back,
         .file = &file_,
         .offset = index % places_ * block_,
         .buffer = arena_.at(slot * block_),
         .bytes = block_},
        [this, slot](Result<void> done) {
          {
            const std::lock_guard lock(mutex_);
            if (done) {
              ++completed_;
              last_ = now_seconds();
            } else if (!error_) {
              error_ = std::move(done).error();
            }
          }
          next(slot);
        });
  }

  Queue& queue_;
  const File& file_;
  const Arena& arena_;
  const Direction direction_;
  const std::uint64_t block_, places_, most_blocks_;
  const double start_, end_;
  const std::function<bool()>& stop_;
  std::mutex mutex_;
  std::condition_variable done_;
  std::uint64_t active_ = 0, issued_ = 0, completed_ = 0;
  double last_ = 0;
  std::optional<Error> error_;
};

}  // namespace

void fill_incompressible(std::span<std::byte> bytes, std::uint64_t seed) {
  // splitmix64: a counter through a bijection. The seed goes through the bijection first, or
  // neighbouring seeds would give the same words one place further on.
  const auto mix = [](std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  };
  std::uint64_t state = mix(seed + 0x9E3779B97F4A7C15ULL);
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    const std::uint64_t word = mix(state += 0x9E3779B97F4A7C15ULL);
    std::memcpy(bytes.data() + at, &word, std::min<std::size_t>(8, bytes.size() - at));
  }
}

Result<Trial> prepare_file(Queue& queue, const File& file, const Arena& arena, std::uint64_t block,
                           const std::function<bool()>& stop) {
  const std::uint64_t most = round_down(arena.size(), block);
  const std::uint64_t size = round_down(file.size(), block);
  if (most == 0 || size == 0)
    return fail(Error(Errc::bad_config, "prepare a scratch file")
                    .on(file.path())
                    .because("the file or the buffers hold less than one block"));
  Trial trial;
  for (std::uint64_t at = 0; at < size && !(stop && stop()); at += most) {
    const std::uint64_t piece = std::min(most, size - at);
    fill_incompressible(arena.bytes().first(piece), at / most + 1);
    const double start = now_seconds();
    std::optional<Error> error;  // written by the queue's thread, read after drain()
    queue.submit({.direction = Direction::write,
                  .priority = Priority::write_back,
                  .file = &file,
                  .offset = at,
                  .buffer = arena.at(0),
                  .bytes = piece},
                 [&error](Result<void> done) {
                   if (!done) error = std::move(done).error();
                 });
    queue.drain();
    if (error) return fail(std::move(*error));
    trial.seconds += now_seconds() - start;
    trial.bytes += piece;
  }
  return trial;
}

Result<Trial> run_trial(Queue& queue, const File& file, const Arena& arena, Direction direction,
                        std::uint64_t block, double seconds, std::uint64_t most_bytes,
                        const std::function<bool()>& stop) {
  return Stream(queue, file, arena, direction, block, seconds, most_bytes, stop).run();
}

Result<Rates> measure_rates(const std::string& directory, std::uint64_t bytes, double seconds,
                            const QueueOptions& options) {
  const double start = now_seconds();
  const std::uint64_t block = options.block_size;
  const std::uint64_t size = round_down(std::min(bytes, 256 * MiB), block);
  if (size == 0)
    return fail(Error(Errc::bad_config, "measure I/O")
                    .on(directory)
                    .because("fewer bytes than one block were allowed"));
  FATHOM_ASSIGN(auto queue, Queue::open(directory, options));
  FATHOM_ASSIGN(const File file, File::create_scratch(directory, size));
  const std::uint64_t depth = std::uint64_t{options.queue_depth} * options.intra_op_parallelism;
  FATHOM_ASSIGN(const Arena arena, Arena::allocate(block * std::min(depth, size / block)));

  // Reading a block that was never written costs no I/O, and writing one for the first time costs
  // more than later: one pass over the file comes before anything is measured.
  FATHOM_ASSIGN(const Trial first, prepare_file(*queue, file, arena, block));
  const double left = std::max(0.05, (seconds - first.seconds) / 2);
  const std::uint64_t no_limit = std::numeric_limits<std::uint64_t>::max();
  FATHOM_ASSIGN(const Trial read,
                run_trial(*queue, file, arena, Direction::read, block, left, no_limit));
  FATHOM_ASSIGN(const Trial write,
                run_trial(*queue, file, arena, Direction::write, block, left, size));
  return Rates{read.rate(), write.rate(), now_seconds() - start};
}

}  // namespace fathom::aio
