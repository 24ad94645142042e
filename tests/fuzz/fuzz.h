// What the fuzz targets share: an input as text and as a file, and the rule they all test.
//
// The rule: hostile input is either accepted or refused with a bridge::Error. Any other exception,
// a report of a sanitizer, a hang or an allocation beyond libFuzzer's limits is a finding, and so
// is an Error that claims a bug of ours (kInternal) or a failed system call (kIo).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/file/file_system.h"

namespace fuzz {

inline constexpr int64_t kMemory = 64 << 20;

class MemoryFile final : public bridge::File {
 public:
  explicit MemoryFile(std::string content) : content_(std::move(content)) {}

  const bridge::Path& path() const override { return path_; }
  int64_t size() const override { return static_cast<int64_t>(content_.size()); }
  void read_at(int64_t offset, std::span<std::byte> out) const override {
    const int64_t length = static_cast<int64_t>(out.size());
    if (offset < 0 || offset > size() || length > size() - offset) {
      bridge::bad_input("read past the end");
    }
    if (length > 0) std::memcpy(out.data(), content_.data() + offset, out.size());
  }
  void write_at(int64_t, std::span<const std::byte>) override { std::abort(); }
  void allocate(int64_t) override { std::abort(); }
  void sync() override { std::abort(); }

 private:
  bridge::Path path_ = "input";
  std::string content_;
};

inline void require(bool condition) {
  if (!condition) std::abort();
}

// True: accepted.
template <typename Fn>
bool accepts(Fn&& fn) {
  try {
    std::forward<Fn>(fn)();
    return true;
  } catch (const bridge::Error& e) {
    require(e.code() != bridge::Code::kInternal && e.code() != bridge::Code::kIo);
    require(!e.message().empty() && e.message().find('\n') == std::string::npos);
    return false;
  }
}

}  // namespace fuzz

void fuzz_one(std::string_view input);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz_one({reinterpret_cast<const char*>(data), size});
  return 0;
}
