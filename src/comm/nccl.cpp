// SPDX-License-Identifier: Apache-2.0
#include "comm/nccl.hpp"

#include <array>
#include <charconv>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "base/assert.hpp"
#include "comm/agree.hpp"
#include "comm/nccl_library.hpp"

namespace fathom::comm {
namespace {

ncclDataType_t type_of(Element element) {
  switch (element) {
    case Element::fp32: return ncclFloat32;
    case Element::bf16: return ncclBfloat16;
    case Element::fp16: return ncclFloat16;
    case Element::bytes: return ncclUint8;
  }
  return ncclUint8;
}

ncclRedOp_t operation_of(Reduction reduction) {
  return reduction == Reduction::sum ? ncclSum : ncclMax;
}

Result<void> checked(cudaError_t status, std::string_view tried) {
  if (status == cudaSuccess) return {};
  return fail(Error(Errc::io, tried)
                  .on("cuda")
                  .because(cudaGetErrorString(status))
                  .remedy("look at nvidia-smi and at the kernel's log for Xid errors"));
}

std::string to_hex(const ncclUniqueId& id) {
  std::string text;
  for (const char byte : id.internal)
    text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

Result<ncclUniqueId> from_hex(std::string_view text) {
  ncclUniqueId id{};
  if (text.size() != 2 * sizeof id.internal)
    return fail(Error(Errc::internal, "read NCCL's id").because("rank 0 sent no id"));
  for (std::size_t i = 0; i < sizeof id.internal; ++i) {
    unsigned value = 0;
    std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, value, 16);
    id.internal[i] = static_cast<char>(value);
  }
  return id;
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(const NcclOptions& options, std::unique_ptr<Watch> watch)
      : Communicator(options.rank, options.size, std::move(watch)),
        device_(options.device),
        stream_(static_cast<cudaStream_t>(options.stream)) {
    gate_->owner = this;
    this->watch().on_beat([gate = gate_] {
      const std::lock_guard lock(gate->mutex);
      if (gate->owner != nullptr) gate->owner->look();
    });
  }

  ~NcclCommunicator() override {
    if (comm_ != nullptr && !watch().failed() && complete_all()) close();
    {
      const std::lock_guard lock(gate_->mutex);
      gate_->owner = nullptr;
    }
    if (comm_ != nullptr) nccl_->abort(comm_);
    for (const Pending& pending : pending_) {
      if (pending.start != nullptr) cudaEventDestroy(pending.start);
      if (pending.end != nullptr) cudaEventDestroy(pending.end);
    }
    if (token_ != nullptr) cudaFree(token_);
  }

  const char* transport() const override { return "nccl"; }

  // All ranks call it; all succeed, or all get the same Error.
  Result<void> connect() {
    std::string id;
    const Result<void> prepared = prepare(id);
    FATHOM_CHECK(agree(*this, prepared));
    FATHOM_ASSIGN(const std::vector<std::string> ids, gather_text(id));
    FATHOM_ASSIGN(const ncclUniqueId job, from_hex(ids.front()));
    return agree(*this, start(job));
  }

 private:
  // What the beating thread holds on to while it looks.
  struct Gate {
    std::mutex mutex;
    NcclCommunicator* owner = nullptr;
  };
  struct Pending {
    cudaEvent_t start = nullptr, end = nullptr;
    std::uint64_t number = 0;
    Collective collective = Collective::barrier;
  };

  Result<void> prepare(std::string& id) {
    FATHOM_ASSIGN(nccl_, nccl_library());
    FATHOM_CHECK(checked(cudaSetDevice(device_), "choose the GPU"));
    for (Pending& pending : pending_) {
      FATHOM_CHECK(checked(cudaEventCreate(&pending.start), "create an event"));
      FATHOM_CHECK(checked(cudaEventCreate(&pending.end), "create an event"));
    }
    FATHOM_CHECK(checked(cudaMalloc(&token_, sizeof(float)), "allocate a barrier's token"));
    FATHOM_CHECK(checked(cudaMemset(token_, 0, sizeof(float)), "clear a barrier's token"));
    if (rank() != 0) return {};
    ncclUniqueId own{};
    FATHOM_CHECK(checked(nccl_->get_unique_id(&own), "ask NCCL for an id"));
    id = to_hex(own);
    return {};
  }

  Result<void> start(ncclUniqueId job) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t comm = nullptr;
    const ncclResult_t status = nccl_->init_rank(&comm, size(), job, rank(), &config);
    {
      const std::lock_guard lock(gate_->mutex);
      comm_ = comm;
    }
    return settled(status, "connect the GPUs");
  }

  Result<void> checked(cudaError_t status, std::string_view tried) const {
    return comm::checked(status, tried);
  }

  Result<void> checked(ncclResult_t status, std::string_view tried) const {
    if (status == ncclSuccess) return {};
    const char* more = nccl_->last_error(comm_);
    return fail(Error(Errc::io, tried)
                    .on(fmt::format("NCCL {}", nccl_->version))
                    .because(fmt::format("{}{}{}", nccl_->error_string(status),
                                         more != nullptr && *more != '\0' ? ": " : "",
                                         more == nullptr ? "" : more))
                    .remedy("run again with NCCL_DEBUG=INFO to see what it tried"));
  }

  // A communicator that does not block answers "in progress": waits until it knows.
  Result<void> settled(ncclResult_t status, std::string_view tried) {
    while (status == ncclInProgress) {
      FATHOM_CHECK(watch().status());
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      ncclResult_t now = ncclInProgress;
      FATHOM_CHECK(checked(nccl_->async_error(comm_, &now), tried));
      status = now;
    }
    return checked(status, tried);
  }

  bool completes_later() const override { return true; }

  Result<void> perform(const Call& call, std::uint64_t number) override {
    const std::string_view tried = to_string(call.collective);
    FATHOM_CHECK(checked(cudaSetDevice(device_), "choose the GPU"));
    FATHOM_CHECK(wait_until([this] { return newest_ - oldest_ < pending_.size() - 1; }));
    Pending& pending = pending_[newest_ % pending_.size()];
    pending.number = number;
    pending.collective = call.collective;
    FATHOM_CHECK(checked(cudaEventRecord(pending.start, stream_), tried));
    FATHOM_CHECK(settled(enqueue(call), tried));
    FATHOM_CHECK(checked(cudaEventRecord(pending.end, stream_), tried));
    const std::lock_guard lock(gate_->mutex);
    ++newest_;
    return {};
  }

  ncclResult_t enqueue(const Call& call) {
    const ncclDataType_t type = type_of(call.element);
    const ncclRedOp_t operation = operation_of(call.reduction);
    switch (call.collective) {
      case Collective::all_gather:
        return nccl_->all_gather(call.in, call.out, call.count, type, comm_, stream_);
      case Collective::reduce_scatter:
        return nccl_->reduce_scatter(call.in, call.out, call.count, type, operation, comm_,
                                     stream_);
      case Collective::all_reduce:
        return nccl_->all_reduce(call.in, call.out, call.count, type, operation, comm_, stream_);
      case Collective::broadcast:
        return nccl_->broadcast(call.in, call.out, call.count, type, call.root, comm_, stream_);
      case Collective::barrier:
        return nccl_->all_reduce(token_, token_, 1, ncclFloat32, ncclMax, comm_, stream_);
      case Collective::texts: return ncclSuccess;
    }
    return ncclSuccess;
  }

  // Collectives that the GPU has done are left; under gate_->mutex.
  void reap() {
    for (; oldest_ != newest_; ++oldest_) {
      Pending& pending = pending_[oldest_ % pending_.size()];
      const cudaError_t status = cudaEventQuery(pending.end);
      if (status == cudaErrorNotReady) return;
      if (status != cudaSuccess) return trouble(checked(status, to_string(pending.collective)));
      float milliseconds = 0;
      if (cudaEventElapsedTime(&milliseconds, pending.start, pending.end) == cudaSuccess)
        add_seconds(pending.collective, static_cast<double>(milliseconds) / 1000);
      watch().leave(pending.number);
    }
  }

  void trouble(const Result<void>& result) {
    if (!result && !watch().failed()) watch().report(result.error());
  }

  // From the beating thread, at each beat; under gate_->mutex.
  void look() {
    if (comm_ == nullptr || watch().failed()) return;
    ncclResult_t now = ncclSuccess;
    Result<void> known = checked(nccl_->async_error(comm_, &now), "ask NCCL how it is");
    if (known && now != ncclInProgress) known = checked(now, "move data between GPUs");
    trouble(known);
    reap();
  }

  template <class Condition>
  Result<void> wait_until(const Condition& holds) {
    for (;;) {
      {
        const std::lock_guard lock(gate_->mutex);
        reap();
        if (holds()) return {};
      }
      FATHOM_CHECK(watch().status());
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }

  Result<void> complete_all() override {
    const Result<void> complete = wait_until([this] { return oldest_ == newest_; });
    FATHOM_CHECK(watch().status());
    return complete;
  }

  void close() {
    if (settled(nccl_->finalize(comm_), "end NCCL") && nccl_->destroy(comm_) == ncclSuccess)
      comm_ = nullptr;
  }

  const NcclLibrary* nccl_ = nullptr;
  int device_;
  cudaStream_t stream_;
  ncclComm_t comm_ = nullptr;
  void* token_ = nullptr;
  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  std::array<Pending, Watch::outstanding> pending_{};
  std::size_t oldest_ = 0, newest_ = 0;
};

}  // namespace

bool built_with_nccl() { return true; }

Result<std::unique_ptr<Communicator>> open_nccl(const NcclOptions& options, const Limits& limits) {
  auto comm = std::make_unique<NcclCommunicator>(
      options, std::make_unique<Watch>(options.store, options.rank, options.size, limits));
  FATHOM_CHECK(comm->connect());
  return comm;
}

}  // namespace fathom::comm
