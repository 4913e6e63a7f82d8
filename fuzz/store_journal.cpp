// SPDX-License-Identifier: Apache-2.0
//
// Any bytes are a superblock, record, data header or owner that keeps its promises, or an Error that
// names the file. The checksum is put right in a copy, so that what lies behind it is reached.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/assert.hpp"
#include "swap/block_hash.hpp"
#include "swap/store_format.hpp"
#include "swap/wire.hpp"

namespace {

using namespace fathom::swap;

template <class T>
void named(const fathom::Result<T>& result) {
  FATHOM_ASSERT(result || result.error().message().find("a file") != std::string::npos,
                "the file is named");
}

void check(std::span<const std::byte> bytes) {
  const auto superblock = decode_superblock(bytes, "a file");
  named(superblock);
  if (superblock && superblock->chunk_paths.size() < 4096) {
    const Layout layout = layout_of(*superblock);
    FATHOM_ASSERT(layout.chunks().size() == superblock->chunk_paths.size(), "chunks have paths");
    FATHOM_ASSERT(record_bytes(layout, block_count(layout)) != 0, "a record has a size");
    std::vector<std::byte> again = encode(*superblock);
    const auto same = decode_superblock(again, "a file");
    FATHOM_ASSERT(same && encode(*same) == again, "it reads back");
  }
  static const Layout layout = Layout::build(
      {.unit_elements = {4096, 5000}, .chunk_elements = 4096, .sections = split_bf16_sections});
  const auto record = decode_record(bytes, layout, block_count(layout), StoreId{}, "a file");
  named(record);
  if (record) {
    FATHOM_ASSERT(record->slots.size() == layout.chunks().size() * section_count, "all sections");
    std::vector<std::byte> again;
    encode(*record, again);
    const auto same = decode_record(again, layout, block_count(layout), StoreId{}, "a file");
    FATHOM_ASSERT(same && same->slots == record->slots && same->hashes == record->hashes,
                  "it reads back");
  }
  named(decode_data_header(bytes, "a file"));
  const auto owner = decode_owner(bytes, "a file");
  named(owner);
  if (owner) FATHOM_ASSERT(encode(*owner).size() == owner_bytes, "an owner fits its block");
  named(superblock_bytes(bytes, "a file"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> bytes(size);
  if (size != 0) std::memcpy(bytes.data(), data, size);
  check(bytes);
  // With the head of each kind and the hash in its place.
  constexpr std::size_t head = 40, hash = 8;
  if (size < 1) return 0;
  static constexpr const char* magics[] = {"FATHOMST", "FATHOMJR", "FATHOMDF", "FATHOMOW"};
  const std::size_t kind = data[0] % 4;
  std::vector<std::byte> sealed;
  Writer out(sealed);
  out.text({magics[kind], 8}).u32(store_version).u32(byte_order_mark).zeros_to(32);
  out.u64(head + (size - 1) + hash).raw(data + 1, size - 1);
  if (kind == 3) {  // an owner has one length, and no length field
    std::vector<std::byte> block(sealed.begin(), sealed.begin() + 32);
    block.insert(block.end(), sealed.begin() + head, sealed.end());
    block.resize(owner_bytes - hash);
    sealed = std::move(block);
  }
  Writer(sealed).u64(metadata_hash(sealed));
  check(sealed);
  return 0;
}
