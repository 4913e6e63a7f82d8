// SPDX-License-Identifier: Apache-2.0
#include "swap/store_format.hpp"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "swap/wire.hpp"

namespace fathom::swap {
namespace {

constexpr std::string_view superblock_magic = "FATHOMST";
constexpr std::string_view record_magic = "FATHOMJR";
constexpr std::string_view data_magic = "FATHOMDF";
constexpr std::size_t head_bytes = 40;  // magic, version, byte order, id, length
constexpr std::size_t hash_bytes = sizeof(std::uint64_t);
constexpr std::uint64_t longest_superblock = 1 * GiB;

Error damaged(std::string_view what, const std::string& where, std::string_view why) {
  return Error(Errc::corrupt, fmt::format("read {}", what))
      .on(where)
      .because(why)
      .remedy(
          "the file was changed or damaged after it was written: go on from another checkpoint");
}

void put_head(Writer& out, std::string_view magic, const StoreId& id, std::uint64_t bytes) {
  out.text(magic).u32(store_version).u32(byte_order_mark);
  out.raw(id.bytes.data(), id.bytes.size()).u64(bytes);
}

struct Head {
  StoreId id;
  std::uint64_t bytes = 0;  // of the whole, its checksum included, padding apart
};

Result<Head> take_head(Reader& in, std::string_view magic, std::string_view what,
                       const std::string& where) {
  if (in.left() < head_bytes) return fail(damaged(what, where, "it is too short"));
  if (in.text(magic.size()) != magic)
    return fail(damaged(what, where, fmt::format("it does not begin with {}", magic)));
  const std::uint32_t version = in.u32(), order = in.u32();
  if (version != store_version || order != byte_order_mark)
    return fail(Error(Errc::unsupported, fmt::format("read {}", what))
                    .on(where)
                    .because(order != byte_order_mark
                                 ? std::string("it has another byte order")
                                 : fmt::format("its version is {}, this program's is {}", version,
                                               store_version))
                    .remedy("use the Fathom version and machine that wrote it"));
  Head head;
  std::ranges::transform(in.raw(head.id.bytes.size()), head.id.bytes.begin(),
                         [](std::byte byte) { return static_cast<std::uint8_t>(byte); });
  head.bytes = in.u64();
  return head;
}

// Puts the hash behind what is there and zeros up to the next 4 KiB.
void seal(std::vector<std::byte>& out) {
  Writer writer(out);
  writer.u64(metadata_hash(out));
  writer.zeros_to(round_up(out.size(), io_alignment));
}

bool sealed(std::span<const std::byte> bytes) {
  return Reader(bytes.last(hash_bytes)).u64() ==
         metadata_hash(bytes.first(bytes.size() - hash_bytes));
}

}  // namespace

// --- superblock ---------------------------------------------------------------------------------

std::vector<std::byte> encode(const Superblock& superblock) {
  std::vector<std::byte> bytes;
  Writer out(bytes);
  const std::uint64_t length =
      head_bytes + 8 + section_count + 4 * 4 + 8 * superblock.unit_elements.size() +
      4 * superblock.chunk_paths.size() + superblock.description.size() + hash_bytes;
  put_head(out, superblock_magic, superblock.id, length);
  out.u64(superblock.chunk_elements);
  out.raw(superblock.sections.bytes.data(), section_count);
  out.u32(superblock.paths);
  out.u32(static_cast<std::uint32_t>(superblock.unit_elements.size()));
  out.u32(static_cast<std::uint32_t>(superblock.chunk_paths.size()));
  out.u32(static_cast<std::uint32_t>(superblock.description.size()));
  for (const std::uint64_t elements : superblock.unit_elements) out.u64(elements);
  for (const std::uint32_t path : superblock.chunk_paths) out.u32(path);
  out.text(superblock.description);
  FATHOM_ASSERT(bytes.size() + hash_bytes == length, "the length says what is written");
  seal(bytes);
  return bytes;
}

Result<std::uint64_t> superblock_bytes(std::span<const std::byte> first_block,
                                       const std::string& where) {
  const char* what = "a store's superblock";
  Reader in(first_block);
  FATHOM_ASSIGN(const Head head, take_head(in, superblock_magic, what, where));
  if (head.bytes < head_bytes + hash_bytes || head.bytes > longest_superblock)
    return fail(damaged(what, where, "its length is impossible"));
  return round_up(head.bytes, io_alignment);
}

Result<Superblock> decode_superblock(std::span<const std::byte> bytes, const std::string& where) {
  const char* what = "a store's superblock";
  Reader in(bytes);
  FATHOM_ASSIGN(const Head head, take_head(in, superblock_magic, what, where));
  if (head.bytes < head_bytes + hash_bytes || head.bytes > bytes.size())
    return fail(damaged(what, where, "its length is impossible"));
  if (!sealed(bytes.first(head.bytes)))
    return fail(damaged(what, where, "its checksum does not fit"));
  const auto bad = [&](std::string_view why) { return fail(damaged(what, where, why)); };

  Superblock superblock;
  superblock.id = head.id;
  superblock.chunk_elements = in.u64();
  std::ranges::transform(in.raw(section_count), superblock.sections.bytes.begin(),
                         [](std::byte byte) { return static_cast<std::uint8_t>(byte); });
  superblock.paths = in.u32();
  const std::uint64_t units = in.u32(), chunks = in.u32(), description = in.u32();
  if (!in.ok() || 8 * units + 4 * chunks + description + hash_bytes > in.left())
    return bad("a count in it is larger than the file");
  constexpr std::uint64_t most_elements = std::uint64_t{1} << 48;
  if (superblock.chunk_elements == 0 || superblock.chunk_elements % 4096 != 0 ||
      superblock.chunk_elements > most_elements)
    return bad("its chunk size is impossible");
  if (superblock.paths == 0 || superblock.paths > 4096)
    return bad("it has no sane number of paths");
  for (const std::uint8_t width : superblock.sections.bytes)
    if (width > 8) return bad("a section in it is impossibly wide");
  std::uint64_t wanted = 0, total = 0;
  for (std::uint64_t i = 0; i < units; ++i) {
    const std::uint64_t elements = in.u64();
    if (elements > most_elements - total) return bad("a unit in it is impossibly large");
    total += elements;
    wanted += ceil_div(elements, superblock.chunk_elements);
    superblock.unit_elements.push_back(elements);
  }
  if (wanted != chunks) return bad("its units are not made of its chunks");
  for (std::uint64_t i = 0; i < chunks; ++i) {
    superblock.chunk_paths.push_back(in.u32());
    if (superblock.chunk_paths.back() >= superblock.paths) return bad("a chunk has no path");
  }
  superblock.description = in.text(description);
  if (in.left() < hash_bytes) return bad("it is too short");
  return superblock;
}

Layout layout_of(const Superblock& superblock) {
  return Layout::build({.unit_elements = superblock.unit_elements,
                        .chunk_elements = superblock.chunk_elements,
                        .sections = superblock.sections,
                        .path_weights = std::vector<double>(superblock.paths, 1.0),
                        .chunk_paths = superblock.chunk_paths});
}

// --- records ------------------------------------------------------------------------------------

namespace {

constexpr std::size_t record_head_bytes = head_bytes + 8 + 8 * 8;  // sequence and CommitState

std::uint64_t unpadded_record_bytes(const Layout& layout, std::uint64_t hash_count) {
  return record_head_bytes + 8 * (layout.chunks().size() * section_count + hash_count) + hash_bytes;
}

}  // namespace

std::uint64_t record_bytes(const Layout& layout, std::uint64_t hash_count) {
  return round_up(unpadded_record_bytes(layout, hash_count), io_alignment);
}

void encode(const Record& record, std::vector<std::byte>& bytes) {
  bytes.clear();
  Writer out(bytes);
  put_head(out, record_magic, record.id,
           record_head_bytes + 8 * (record.slots.size() + record.hashes.size()) + hash_bytes);
  const CommitState& state = record.state;
  out.u64(record.sequence).i64(state.step).i64(state.updates).u64(state.tokens);
  out.u64(state.next_window).u64(state.seed).f64(state.loss_scale).i64(state.scale_steps);
  out.u64(state.config_digest);
  for (const SlotEntry& entry : record.slots) out.u64(entry.generation << 1 | entry.slot);
  out.raw(record.hashes.data(), record.hashes.size() * sizeof(std::uint64_t));
  seal(bytes);
}

Result<Record> decode_record(std::span<const std::byte> bytes, const Layout& layout,
                             std::uint64_t hash_count, const StoreId& id,
                             const std::string& where) {
  const char* what = "a journal record";
  Reader in(bytes);
  FATHOM_ASSIGN(const Head head, take_head(in, record_magic, what, where));
  if (head.bytes != unpadded_record_bytes(layout, hash_count) || head.bytes > bytes.size())
    return fail(damaged(what, where, "its length does not fit the store"));
  if (!sealed(bytes.first(head.bytes)))
    return fail(damaged(what, where, "its checksum does not fit"));
  if (head.id != id) return fail(damaged(what, where, "it belongs to another store"));
  Record record;
  record.id = id;
  record.sequence = in.u64();
  CommitState& state = record.state;
  state.step = in.i64();
  state.updates = in.i64();
  state.tokens = in.u64();
  state.next_window = in.u64();
  state.seed = in.u64();
  state.loss_scale = in.f64();
  state.scale_steps = in.i64();
  state.config_digest = in.u64();
  if (record.sequence == 0 || state.step < 0 || state.updates < 0 || state.updates > state.step)
    return fail(damaged(what, where, "its numbers contradict each other"));
  const std::size_t count = layout.chunks().size() * section_count;
  record.slots.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t entry = in.u64();
    record.slots.push_back({entry >> 1, static_cast<std::uint8_t>(entry & 1)});
    const bool exists = layout.sections().bytes[i % section_count] != 0;
    if (exists == (record.slots.back().generation == 0))
      return fail(damaged(what, where, "it does not hold every section"));
  }
  record.hashes.reserve(hash_count);
  for (std::uint64_t i = 0; i < hash_count; ++i) record.hashes.push_back(in.u64());
  return record;
}

// --- data files ---------------------------------------------------------------------------------

std::vector<std::byte> encode(const DataHeader& header) {
  std::vector<std::byte> block;
  Writer out(block);
  put_head(out, data_magic, header.id, head_bytes + 4 + 8 + hash_bytes);
  out.u32(header.path).u64(header.slot_bytes);
  seal(block);
  return block;
}

Result<DataHeader> decode_data_header(std::span<const std::byte> block, const std::string& where) {
  const char* what = "a data file's header";
  Reader in(block);
  FATHOM_ASSIGN(const Head head, take_head(in, data_magic, what, where));
  if (head.bytes != head_bytes + 4 + 8 + hash_bytes || head.bytes > block.size())
    return fail(damaged(what, where, "its length is impossible"));
  if (!sealed(block.first(head.bytes)))
    return fail(damaged(what, where, "its checksum does not fit"));
  DataHeader header;
  header.id = head.id;
  header.path = in.u32();
  header.slot_bytes = in.u64();
  return header;
}

}  // namespace fathom::swap
