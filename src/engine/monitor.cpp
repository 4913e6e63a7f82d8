// SPDX-License-Identifier: Apache-2.0
#include "engine/monitor.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>

#include <fmt/format.h>

#include "base/log.hpp"
#include "base/text_file.hpp"
#include "engine/event_file.hpp"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

class CsvMonitor final : public Monitor {
 public:
  CsvMonitor(std::string directory, bool append)
      : directory_(std::move(directory)), append_(append) {}

  Result<void> add(std::int64_t step, std::span<const MonitorPoint> points) override {
    for (const MonitorPoint& point : points) {
      FATHOM_ASSIGN(std::ofstream * file, file_of(point.tag));
      *file << fmt::format("{},{}\n", step, point.value) << std::flush;
      if (!*file) return fail(error(path_of(point.tag)));
    }
    return {};
  }

 private:
  std::string path_of(std::string tag) const {
    for (char& c : tag)
      if (c == '/' || c == ' ') c = '_';
    return (fs::path(directory_) / (tag + ".csv")).string();
  }
  static Error error(const std::string& path) {
    return Error(Errc::io, "write a monitor's file")
        .on(path)
        .because_errno(errno)
        .remedy("check the disk, and csv_monitor.output_path");
  }
  Result<std::ofstream*> file_of(const std::string& tag) {
    auto& file = files_[tag];
    if (file.is_open()) return &file;
    const std::string path = path_of(tag);
    std::error_code ignored;
    const bool goes_on = append_ && fs::file_size(path, ignored) > 0 && !ignored;
    file.open(path, goes_on ? std::ios::app : std::ios::trunc);
    if (!goes_on) file << "step," << tag.substr(tag.rfind('/') + 1) << '\n';
    if (!file) return fail(error(path));
    return &file;
  }

  std::string directory_;
  bool append_;
  std::map<std::string, std::ofstream> files_;
};

Result<std::string> directory_of(const config::MonitorConfig& monitor) {
  std::string directory = (fs::path(monitor.output_path) / monitor.job_name).string();
  FATHOM_CHECK(make_directories(directory));
  return directory;
}

}  // namespace

Result<Monitors> Monitors::open(const config::Config& config, bool append) {
  Monitors monitors;
  if (config.csv_monitor.enabled) {
    FATHOM_ASSIGN(std::string directory, directory_of(config.csv_monitor));
    monitors.monitors_.push_back(std::make_unique<CsvMonitor>(std::move(directory), append));
  }
  if (config.tensorboard.enabled) {
    FATHOM_ASSIGN(const std::string directory, directory_of(config.tensorboard));
    FATHOM_ASSIGN(auto file, EventFile::create(directory));
    monitors.monitors_.push_back(std::move(file));
  }
  return monitors;
}

void Monitors::add(std::int64_t step, const std::vector<MonitorPoint>& points) {
  std::erase_if(monitors_, [&](const std::unique_ptr<Monitor>& monitor) {
    const auto added = monitor->add(step, points);
    if (!added) log::warning("{}; training goes on without it", added.error().message());
    return !added;
  });
}

}  // namespace fathom::engine
