// SPDX-License-Identifier: Apache-2.0
#include "comm/nccl_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

namespace fathom::comm {
namespace {

Error no_nccl(std::string_view why) {
  return Error(Errc::unsupported, "load NCCL")
      .on("libnccl.so.2")
      .because(why)
      .remedy(
          "install nvidia-nccl-cu13 beside torch, or put the folder of libnccl.so.2 into "
          "LD_LIBRARY_PATH");
}

Result<NcclLibrary> load() {
  // LibTorch's CUDA half brings its own; a library of that name that is loaded is found first.
  void* handle = ::dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return fail(no_nccl(::dlerror()));
  NcclLibrary nccl{};
  const char* missing = nullptr;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, name));
    if (function == nullptr) missing = name;
  };
  find(nccl.get_version, "ncclGetVersion");
  find(nccl.get_unique_id, "ncclGetUniqueId");
  find(nccl.init_rank, "ncclCommInitRankConfig");
  find(nccl.finalize, "ncclCommFinalize");
  find(nccl.destroy, "ncclCommDestroy");
  find(nccl.abort, "ncclCommAbort");
  find(nccl.async_error, "ncclCommGetAsyncError");
  find(nccl.error_string, "ncclGetErrorString");
  find(nccl.last_error, "ncclGetLastError");
  find(nccl.all_gather, "ncclAllGather");
  find(nccl.reduce_scatter, "ncclReduceScatter");
  find(nccl.all_reduce, "ncclAllReduce");
  find(nccl.broadcast, "ncclBroadcast");
  if (missing != nullptr)
    return fail(no_nccl(fmt::format("it has no {}; version 2.14 or newer has", missing)));
  if (nccl.get_version(&nccl.version) != ncclSuccess)
    return fail(no_nccl("it does not tell its version"));
  return nccl;
}

}  // namespace

Result<const NcclLibrary*> nccl_library() {
  static const Result<NcclLibrary> library = load();
  if (!library) return fail(library.error());
  return &*library;
}

}  // namespace fathom::comm
