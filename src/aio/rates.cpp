// SPDX-License-Identifier: Apache-2.0
#include "aio/rates.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <list>
#include <mutex>
#include <optional>

#include <sys/resource.h>

#include "base/clock.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Keeps every block of a lane's buffers on its way until the time or the bytes are used up.
// Completions start the next request themselves, so that the queue never drains.
class Stream {
 public:
  Stream(const Lane& lane, const Load& load)
      : lane_(lane),
        load_(load),
        places_(lane.file->size() / load.block),
        first_(places_ > 0 ? lane.start / load.block % places_ : 0),
        most_blocks_(load.most_bytes / load.block),
        slots_(std::min<std::uint64_t>(lane.buffers.size() / load.block, most_blocks_)) {}

  bool possible() const { return slots_ > 0 && places_ > 0; }

  void begin(double start) {
    start_ = last_ = start;
    end_ = start + load_.seconds;
    active_ = slots_;
    for (std::uint64_t slot = 0; slot < slots_; ++slot) next(slot);
  }

  Result<Trial> finish() {
    {
      std::unique_lock lock(mutex_);
      done_.wait(lock, [this] { return active_ == 0; });
    }
    lane_.queue->drain();  // the last completion has returned: nothing refers to this any more
    if (error_) return fail(std::move(*error_));
    return Trial{.read_bytes = completed_[0] * load_.block,
                 .write_bytes = completed_[1] * load_.block,
                 .seconds = last_ - start_};
  }

 private:
  // The n-th request reads when the share's count of reads goes up with it.
  bool reads(std::uint64_t n) const {
    const auto count = [this](std::uint64_t of) {
      return std::floor(static_cast<double>(of) * load_.read_share);
    };
    return count(n + 1) > count(n);
  }

  void next(std::uint64_t slot) {
    std::uint64_t index = 0;
    bool read = true;
    {
      const std::lock_guard lock(mutex_);
      if (error_ || issued_ >= most_blocks_ || now_seconds() >= end_ ||
          (load_.stop && load_.stop())) {
        if (--active_ == 0) done_.notify_all();
        return;
      }
      read = reads(issued_++);
      index = given_[read ? 0 : 1]++;
    }
    const bool mixed = load_.read_share > 0 && load_.read_share < 1;
    lane_.queue->submit({.direction = read ? Direction::read : Direction::write,
                         .priority = mixed  ? Priority::prefetch
                                     : read ? Priority::demand
                                            : Priority::write_back,
                         .file = lane_.file,
                         .offset = (first_ + index) % places_ * load_.block,
                         .buffer = lane_.buffers.data() + slot * load_.block,
                         .bytes = load_.block},
                        [this, slot, read](Result<void> done) {
                          {
                            const std::lock_guard lock(mutex_);
                            if (done) {
                              ++completed_[read ? 0 : 1];
                              last_ = now_seconds();
                            } else if (!error_) {
                              error_ = std::move(done).error();
                            }
                          }
                          next(slot);
                        });
  }

  const Lane& lane_;
  const Load& load_;
  const std::uint64_t places_, first_, most_blocks_, slots_;
  std::mutex mutex_;
  std::condition_variable done_;
  std::uint64_t active_ = 0, issued_ = 0;
  std::array<std::uint64_t, 2> given_ = {}, completed_ = {};  // reads, writes
  double start_ = 0, end_ = 0, last_ = 0;
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
                           const std::function<bool()>& stop,
                           const std::function<void(const Trial&)>& each) {
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
    const double start = now_seconds(), cpu = cpu_seconds();
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
    const Trial stretch{
        .write_bytes = piece, .seconds = now_seconds() - start, .cpu_seconds = cpu_seconds() - cpu};
    trial.seconds += stretch.seconds;
    trial.cpu_seconds += stretch.cpu_seconds;
    trial.write_bytes += piece;
    if (each) each(stretch);
  }
  return trial;
}

Result<std::vector<Trial>> run_trials(std::span<const Lane> lanes, const Load& load) {
  std::list<Stream> streams;
  for (const Lane& lane : lanes) {
    if (!streams.emplace_back(lane, load).possible())
      return fail(Error(Errc::bad_config, "measure I/O")
                      .on(lane.file->path())
                      .because("the file, the buffers or the byte limit hold less than one block"));
  }
  const double cpu = cpu_seconds(), start = now_seconds();
  for (Stream& stream : streams) stream.begin(start);
  std::vector<Trial> trials;
  std::optional<Error> error;
  std::uint64_t bytes = 0;
  for (Stream& stream : streams) {  // all of them, or one would outlive its Stream
    auto trial = stream.finish();
    if (trial) {
      bytes += trial->bytes();
      trials.push_back(*trial);
    } else if (!error) {
      error = std::move(trial).error();
    }
  }
  if (error) return fail(std::move(*error));
  const double spent = cpu_seconds() - cpu;
  for (Trial& trial : trials)
    if (bytes > 0)
      trial.cpu_seconds = spent * static_cast<double>(trial.bytes()) / static_cast<double>(bytes);
  return trials;
}

Result<Trial> run_trial(const Lane& lane, const Load& load) {
  FATHOM_ASSIGN(const std::vector<Trial> trials, run_trials({&lane, 1}, load));
  return trials.front();
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
  const Lane lane{.queue = queue.get(), .file = &file, .buffers = arena.bytes()};
  FATHOM_ASSIGN(const Trial read, run_trial(lane, {.block = block, .seconds = left}));
  FATHOM_ASSIGN(
      const Trial write,
      run_trial(lane, {.read_share = 0, .block = block, .seconds = left, .most_bytes = size}));
  return Rates{read.rate(), write.rate(), now_seconds() - start};
}

}  // namespace fathom::aio
