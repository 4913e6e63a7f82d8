// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the durable store share: a small store whose sections hold words that tell
// which step wrote them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "swap/scratch.hpp"
#include "swap/store_reader.hpp"

namespace fathom::swap {

inline constexpr std::uint64_t durable_chunk = 128 * 4096;  // W and lo 1 MiB, m and v 2 MiB
inline constexpr std::uint64_t durable_tail = 5000;

inline Layout durable_layout(std::size_t paths = 1) {
  return Layout::build({.unit_elements = {durable_chunk + durable_tail, durable_chunk},
                        .chunk_elements = durable_chunk,
                        .sections = split_bf16_sections,
                        .path_weights = std::vector<double>(paths, 1.0)});
}

inline StoreOptions durable_store_options(Verify verify = Verify::full) {
  StoreOptions options;
  options.verify = verify;
  options.unit_names = {"embed", "layers.0"};
  return options;
}

// The words of section s of chunk c at `step`.
inline std::uint64_t stamp_of(std::int64_t step, ChunkId chunk, Section section) {
  return static_cast<std::uint64_t>(step) * 1000 + chunk * 10 + index(section);
}

inline Result<void> write_sections(Store& store, ChunkId chunk, SectionMask set,
                                   std::int64_t step) {
  const Layout& layout = store.layout();
  Buffer buffer(layout.padded_bytes(chunk, set));
  for (const Section section : all_sections)
    if (has(set, section))
      fill(buffer.slice(layout.buffer_offset(chunk, set, section),
                        layout.payload_bytes(chunk, section)),
           stamp_of(step, chunk, section));
  return store.transfer_and_wait({.direction = aio::Direction::write,
                                  .chunk = chunk,
                                  .sections = set,
                                  .buffer = buffer.data()});
}

// As an update does it: the states, then W.
inline Result<void> write_step(Store& store, std::int64_t step) {
  for (ChunkId chunk = 0; chunk < store.layout().chunks().size(); ++chunk)
    for (const SectionMask set : {states_mask, weights_mask})
      FATHOM_CHECK(write_sections(store, chunk, set, step));
  return {};
}

inline CommitState state_of_step(std::int64_t step) {
  return {.step = step,
          .updates = step,
          .tokens = 64 * static_cast<std::uint64_t>(step),
          .next_window = 4 * static_cast<std::uint64_t>(step),
          .seed = 42,
          .loss_scale = 1024,
          .scale_steps = step,
          .config_digest = 0xfeedULL};
}

// Whether every section reads as `step` left it; an Error of a read otherwise.
inline Result<bool> store_holds(Store& store, std::int64_t step) {
  const Layout& layout = store.layout();
  bool same = true;
  for (ChunkId chunk = 0; chunk < layout.chunks().size(); ++chunk) {
    Buffer buffer(layout.padded_bytes(chunk, 15));
    FATHOM_CHECK(
        store.transfer_and_wait({.chunk = chunk, .sections = 15, .buffer = buffer.data()}));
    for (const Section section : all_sections)
      same &= holds(buffer.slice(layout.buffer_offset(chunk, 15, section),
                                 layout.payload_bytes(chunk, section)),
                    stamp_of(step, chunk, section));
  }
  return same;
}

inline Result<bool> reader_holds(const StoreReader& reader, std::int64_t step) {
  bool same = true;
  for (ChunkId chunk = 0; chunk < reader.layout().chunks().size(); ++chunk)
    for (const Section section : all_sections) {
      FATHOM_ASSIGN(const std::vector<std::byte> bytes, reader.read(chunk, section));
      same &= holds(std::span(bytes).first(reader.layout().payload_bytes(chunk, section)),
                    stamp_of(step, chunk, section));
    }
  return same;
}

// A durable store in directories of its own that are gone when it is.
class DurableFixture {
 public:
  explicit DurableFixture(std::size_t paths = 1) : directories_(paths) {}

  DurableOptions options() const {
    DurableOptions options;
    for (const TemporaryDirectory& directory : directories_)
      options.parents.push_back(directory.path());
    options.description = "what the engine says of it";
    options.output = "/runs/a";
    return options;
  }
  Result<std::unique_ptr<Store>> create(Verify verify = Verify::full) {
    FATHOM_ASSIGN(DurableFiles files, DurableFiles::create(durable_layout(paths()), options()));
    jobs_ = files.directories();
    return Store::over(std::move(files), durable_store_options(verify), pool);
  }
  Result<std::unique_ptr<Store>> reopen(Verify verify = Verify::full) {
    FATHOM_ASSIGN(DurableFiles files, DurableFiles::open(jobs_, Access::run));
    return Store::over(std::move(files), durable_store_options(verify), pool);
  }
  Result<StoreReader> read() const {
    FATHOM_ASSIGN(StoreReader reader, StoreReader::open(jobs_, Access::read));
    reader.name_units({"embed", "layers.0"});
    return reader;
  }

  std::size_t paths() const { return directories_.size(); }
  const std::string& parent(std::size_t path = 0) const { return directories_[path].path(); }
  const std::vector<std::string>& jobs() const { return jobs_; }
  std::string data(std::size_t path = 0) const { return jobs_[path] + "/data"; }
  std::string journal() const { return jobs_[0] + "/journal"; }

  ThreadPool pool{2};

 private:
  std::vector<TemporaryDirectory> directories_;
  std::vector<std::string> jobs_;
};

// What a failing device does to a file.
inline std::vector<std::byte> peek_file(const std::string& path, std::uint64_t offset,
                                        std::uint64_t bytes) {
  std::vector<std::byte> out(bytes);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(::pread(fd.get(), out.data(), bytes, static_cast<off_t>(offset)),
            static_cast<ssize_t>(bytes));
  return out;
}
inline void poke_file(const std::string& path, std::uint64_t offset,
                      std::span<const std::byte> bytes) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  EXPECT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
            static_cast<ssize_t>(bytes.size()));
}

inline bool mentions(const Error& error, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    if (error.message().find(part) == std::string::npos) {
      ADD_FAILURE() << "\"" << part << "\" is not in: " << error.message();
      return false;
    }
  return true;
}

}  // namespace fathom::swap
