// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <mutex>

#include "comm/store.hpp"

namespace fathom::comm {
namespace {

class MemoryStore final : public Store {
 public:
  Result<void> set(const std::string& key, const std::string& value) override {
    const std::lock_guard lock(mutex_);
    table_[key] = value;
    return {};
  }
  Result<std::optional<std::string>> get(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    const auto found = table_.find(key);
    if (found == table_.end()) return std::nullopt;
    return found->second;
  }
  Result<std::string> offer(const std::string& key, const std::string& value) override {
    const std::lock_guard lock(mutex_);
    return table_.try_emplace(key, value).first->second;
  }
  Result<void> remove(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    table_.erase(key);
    return {};
  }
  std::string server() const override { return "this process"; }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> table_;
};

}  // namespace

std::shared_ptr<Store> memory_store() { return std::make_shared<MemoryStore>(); }

}  // namespace fathom::comm
