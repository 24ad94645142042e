// The functions of pickle.h around the reader: looking into nodes, and reading a pickle from a
// string.
#include "bridge/io/pickle/pickle.h"

#include <algorithm>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

// Follows Python's rule for a key that was set twice: the last value wins.
const PickleNode* find_in_dict(const PickleNode& dict, std::string_view key) {
  for (size_t i = dict.items.size(); i >= 2; i -= 2) {
    const PickleNode& candidate = *dict.items[i - 2];
    if (candidate.kind == PickleNode::Kind::kString && candidate.text == key) {
      return dict.items[i - 1].get();
    }
  }
  return nullptr;
}

// Presents a string as a File, so that there is one way to read.
class StringFile final : public File {
 public:
  explicit StringFile(std::string_view bytes) : bytes_(bytes) {}
  const Path& path() const override { return path_; }
  int64_t size() const override { return std::ssize(bytes_); }
  void read_at(int64_t offset, std::span<std::byte> out) const override {
    const std::span<const char> part =
        std::span(bytes_).subspan(static_cast<size_t>(offset), out.size());
    std::copy(part.begin(), part.end(), reinterpret_cast<char*>(out.data()));
  }
  void write_at(int64_t, std::span<const std::byte>) override { internal_error("read only"); }
  void allocate(int64_t) override { internal_error("read only"); }
  void sync() override { internal_error("read only"); }

 private:
  std::string_view bytes_;
  Path path_;
};

}  // namespace

PickleValue read_pickle(std::string_view bytes, const PickleOptions& options,
                        MemoryBudget& budget) {
  const StringFile file(bytes);
  return read_pickle(file, 0, file.size(), options, budget);
}

bool PickleNode::is_class(std::string_view module, std::string_view name) const {
  const std::string_view whole = text;
  return kind == Kind::kClass && whole.size() == module.size() + 1 + name.size() &&
         whole.starts_with(module) && whole[module.size()] == ' ' && whole.ends_with(name);
}

bool PickleNode::is_object_of(std::string_view module, std::string_view name) const {
  return kind == Kind::kObject && items[0]->is_class(module, name);
}

const PickleNode* PickleNode::get(std::string_view key) const {
  if (kind == Kind::kDict) return find_in_dict(*this, key);
  if (kind != Kind::kObject) return nullptr;
  for (size_t i = 2; i < items.size(); ++i) {
    if (items[i]->kind != Kind::kDict) continue;
    if (const PickleNode* found = find_in_dict(*items[i], key)) return found;
  }
  return nullptr;
}

}  // namespace bridge
