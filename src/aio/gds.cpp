// SPDX-License-Identifier: Apache-2.0
#include "aio/gds.hpp"

#include <algorithm>
#include <filesystem>

#include <dlfcn.h>
#include <fmt/format.h>

#include "aio/text_file.hpp"

namespace fathom::aio {
namespace {

namespace fs = std::filesystem;

bool has_nvfs(const std::string& root) {
  std::error_code error;
  return fs::exists(root + "/proc/driver/nvidia-fs", error) &&
         fs::exists(root + "/dev/nvidia-fs0", error);
}

// A GPU whose memory the driver has given to the kernel as a target for transfers between devices.
bool has_peer_memory(const std::string& root) {
  std::error_code error;
  fs::directory_iterator at(root + "/sys/bus/pci/devices", error);
  for (; !error && at != fs::directory_iterator(); at.increment(error)) {
    const std::string device = at->path().string();
    if (!read_text(device + "/vendor").value_or("").starts_with("0x10de")) continue;
    if (read_integer(device + "/p2pmem/size").value_or(0) > 0) return true;
  }
  return false;
}

}  // namespace

std::string to_string(const GdsProbe& probe) {
  switch (probe.state) {
    case GdsState::absent: return "absent";
    case GdsState::compat: return "compat";
    case GdsState::active: break;
  }
  return probe.route == GdsRoute::nvfs ? "active (nvfs)" : "active (p2pdma)";
}

GdsProbe probe_gds(const DeviceChain& chain, const std::string& root, const char* library) {
  void* handle = ::dlopen(library, RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = ::dlerror();
    return {.state = GdsState::absent, .reason = why == nullptr ? library : why};
  }
  ::dlclose(handle);
  const auto compat = [](std::string why) {
    return GdsProbe{.state = GdsState::compat,
                    .reason = std::move(why) + ": cuFile would copy through host memory"};
  };
  if (chain.devices.empty()) return compat(chain.note);
  for (const BlockDevice& device : chain.devices)
    if (device.leaf && !device.name.starts_with("nvme"))
      return compat(fmt::format("{} is no NVMe drive", device.name));
  if (has_nvfs(root))
    return {.state = GdsState::active, .route = GdsRoute::nvfs, .reason = "nvidia-fs is loaded"};
  if (!has_peer_memory(root))
    return compat("nvidia-fs is not loaded and no GPU offers its memory to other PCI devices");
  // Transfers between devices end at md and dm, which do not pass them on.
  if (chain.devices.size() > 1)
    return compat(fmt::format("{} is made of several devices", chain.devices.front().name));
  return {.state = GdsState::active,
          .route = GdsRoute::p2pdma,
          .reason = "a GPU offers its memory to other PCI devices"};
}

}  // namespace fathom::aio
