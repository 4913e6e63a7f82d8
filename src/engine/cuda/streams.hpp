// SPDX-License-Identifier: Apache-2.0
//
// Streams: the in-order queues of the GPU that an executor feeds, and events between them.
//
// Purpose      One stream each for computation, copies to the device and copies from it. The
//              computing stream is LibTorch's current one while Streams lives. For each there is a
//              second stream that only tells the host what has passed: a host function on the
//              working stream would hold it up.
// Ownership    Owns streams and events; waits for all work on destruction.
// Threads      One thread; host functions run on a thread of the driver and may not call CUDA.
//
//   FATHOM_ASSIGN(auto streams, Streams::open(0));
//   enqueue(streams->of(Resource::h2d)); event.record(streams->of(Resource::h2d));
#pragma once

#include <array>
#include <memory>
#include <utility>

#include "base/result.hpp"
#include "engine/plan/program.hpp"

struct CUstream_st;
struct CUevent_st;

namespace fathom::engine {

// The Error for a cudaError_t that is not 0.
Result<void> cuda_check(int error, const char* tried);

class Event {
 public:
  Event() = default;
  static Result<Event> create(bool timed);
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~Event();

  Result<void> record(CUstream_st* stream) const;
  Result<void> hold(CUstream_st* stream) const;  // the stream waits for what was recorded
  Result<void> wait() const;                     // the host does
  // Seconds from `earlier` to this; both timed and passed.
  double seconds_since(const Event& earlier) const;

 private:
  CUevent_st* event_ = nullptr;
};

class Streams {
 public:
  static Result<std::unique_ptr<Streams>> open(int device);
  ~Streams();
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;

  CUstream_st* of(Resource resource) const { return work_[lane(resource)]; }
  // Calls `function(argument)` on a thread of the driver once `event` has passed.
  Result<void> tell(Resource resource, const Event& event, void (*function)(void*),
                    void* argument) const;
  Result<void> synchronize() const;

 private:
  Streams() = default;
  static std::size_t lane(Resource resource) {
    return resource == Resource::h2d ? 1 : resource == Resource::d2h ? 2 : 0;
  }
  std::array<CUstream_st*, 3> work_{}, tell_{};
};

}  // namespace fathom::engine
