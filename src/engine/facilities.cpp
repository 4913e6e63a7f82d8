// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>

#include <dlfcn.h>
#include <fmt/format.h>

#include "base/text_file.hpp"
#include "base/units.hpp"
#include "engine/environment.hpp"

namespace fathom::engine {
namespace {

// A shared library of the system, loaded as long as the object lives.
class Library {
 public:
  explicit Library(std::initializer_list<const char*> names) {
    for (const char* name : names) {
      handle_.reset(::dlopen(name, RTLD_NOW | RTLD_LOCAL));
      if (handle_) return;
      if (reason_.empty()) reason_ = ::dlerror();
    }
  }

  explicit operator bool() const { return handle_ != nullptr; }
  const std::string& reason() const { return reason_; }

  // The function, or null with the reason.
  template <class Function>
  Function* find(const char* name) {
    void* symbol = ::dlsym(handle_.get(), name);
    if (symbol == nullptr) reason_ = fmt::format("it has no {}", name);
    Function* function = nullptr;
    std::memcpy(&function, &symbol, sizeof function);
    return function;
  }

 private:
  struct Close {
    void operator()(void* handle) const { ::dlclose(handle); }
  };
  std::unique_ptr<void, Close> handle_;
  std::string reason_;
};

Facility without(const char* name, std::string reason) {
  return {.name = name, .version = {}, .reason = std::move(reason)};
}

std::string one_line(std::string_view text) {
  return std::string(text.substr(0, text.find_first_of("\n\r")));
}

// What is used of the driver's interface; its handles are ints, its sizes size_t.
struct Cuda {
  using Init = int(unsigned);
  using Number = int(int*);
  using Get = int(int*, int);
  using Name = int(char*, int, int);
  using Memory = int(std::size_t*, int);
  using Attribute = int(int*, int, int);
  static constexpr int compute_major = 75, compute_minor = 76;  // device attributes
};

std::string describe_gpu(Library& driver, int index) {
  auto* get = driver.find<Cuda::Get>("cuDeviceGet");
  auto* get_name = driver.find<Cuda::Name>("cuDeviceGetName");
  auto* get_memory = driver.find<Cuda::Memory>("cuDeviceTotalMem_v2");
  auto* get_attribute = driver.find<Cuda::Attribute>("cuDeviceGetAttribute");
  int device = 0, major = 0, minor = 0;
  std::size_t bytes = 0;
  std::array<char, 256> name{};
  if (get == nullptr || get_name == nullptr || get_memory == nullptr || get_attribute == nullptr ||
      get(&device, index) != 0 || get_name(name.data(), name.size() - 1, device) != 0 ||
      get_memory(&bytes, device) != 0 || get_attribute(&major, Cuda::compute_major, device) != 0 ||
      get_attribute(&minor, Cuda::compute_minor, device) != 0)
    return fmt::format("GPU {}: the driver does not describe it", index);
  return fmt::format("GPU {}: {}, {}, compute capability {}.{}", index, name.data(),
                     format_bytes(bytes), major, minor);
}

}  // namespace

Facility find_cuda_driver() {
  constexpr const char* name = "cuda";
  Library driver({"libcuda.so.1"});
  if (!driver) return without(name, "no NVIDIA driver: " + driver.reason());
  auto* init = driver.find<Cuda::Init>("cuInit");
  auto* version = driver.find<Cuda::Number>("cuDriverGetVersion");
  auto* count = driver.find<Cuda::Number>("cuDeviceGetCount");
  if (init == nullptr || version == nullptr || count == nullptr)
    return without(name, "libcuda.so.1: " + driver.reason());
  if (const int code = init(0); code != 0)
    return without(name, fmt::format("cuInit failed with CUDA error {}{}", code,
                                     code == 100 ? " (no GPU is visible)" : ""));
  int api = 0, gpus = 0;
  if (version(&api) != 0 || count(&gpus) != 0 || gpus == 0)
    return without(name, "the driver shows no GPU");
  Facility found{.name = name, .version = {}, .reason = {}};
  found.version = fmt::format("driver for CUDA {}.{}", api / 1000, api % 1000 / 10);
  for (int i = 0; i < gpus; ++i) found.devices.push_back(describe_gpu(driver, i));
  return found;
}

Facility find_nccl() {
  constexpr const char* name = "nccl";
  Library nccl({"libnccl.so.2"});
  if (!nccl) return without(name, nccl.reason());
  int number = 0;
  auto* version = nccl.find<Cuda::Number>("ncclGetVersion");
  if (version == nullptr || version(&number) != 0)
    return without(name, "libnccl.so.2 does not tell its version");
  return {.name = name,
          .version = fmt::format("{}.{}.{}", number / 10000, number % 10000 / 100, number % 100),
          .reason = {}};
}

Facility find_mpi() {
  constexpr const char* name = "mpi";
  Library mpi({"libmpi.so.40", "libmpi.so.12"});  // OpenMPI 4 and 5; MPICH
  if (!mpi) return without(name, mpi.reason());
  // The one function that may be called before MPI_Init, with room for the longest answer.
  auto* version = mpi.find<int(char*, int*)>("MPI_Get_library_version");
  std::array<char, 8193> text{};
  int length = 0;
  if (version == nullptr || version(text.data(), &length) != 0)
    return without(name, "the library does not tell its version");
  return {.name = name, .version = one_line(text.data()), .reason = {}};
}

Facility find_gpudirect_storage() {
  constexpr const char* name = "gds";
  Library cufile({"libcufile.so.0"});
  if (!cufile) return without(name, cufile.reason());
  const char* proc = "/proc/driver/nvidia-fs/version";
  if (!std::filesystem::exists(proc))
    return without(name, "libcufile is there, but the kernel module nvidia-fs is not loaded");
  const auto text = read_text_file(proc);
  return {.name = name, .version = text ? one_line(*text) : "nvidia-fs", .reason = {}};
}

}  // namespace fathom::engine
