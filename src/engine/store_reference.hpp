// SPDX-License-Identifier: Apache-2.0
//
// StoreReference: how a run's --out knows where its durable store lies.
//
// Files        DIR/store.json, sealed like a manifest: the store's id and its job directories in
//              the order of the paths. It is replaced by a rename, so it is there whole or not at
//              all.
// Threads      Safe; touches the file system.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "swap/owner.hpp"

namespace fathom::engine {

inline constexpr const char* store_reference_name = "store.json";

struct StoreReference {
  std::string id;                        // 32 hexadecimal digits
  std::vector<std::string> directories;  // absolute
};

// Nothing when DIR has none. Errors: corrupt, when it has one that is not whole.
Result<std::optional<StoreReference>> read_store_reference(const std::string& directory);
Result<void> write_store_reference(const std::string& directory, const StoreReference& reference);

// Whether the run that the owner names could still be resumed from this store.
bool refers_to(const swap::Owner& owner);

}  // namespace fathom::engine
