// A file in memory for tests: any size, holes read as zeros, and counts what is read.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "bridge/io/base/error.h"
#include "bridge/io/file/file_system.h"
#include "tests/data_dir.h"

namespace bridge {

class MemoryFile final : public File {
 public:
  explicit MemoryFile(std::string bytes = {}) : size_(std::ssize(bytes)) {
    parts_[0] = std::move(bytes);
  }

  // Parts must be put in order.
  void put(int64_t offset, std::string bytes) {
    size_ = std::max(size_, offset + std::ssize(bytes));
    parts_[offset] = std::move(bytes);
  }
  int64_t bytes_read() const { return bytes_read_; }
  int64_t reads() const { return reads_; }

  const Path& path() const override { return path_; }
  int64_t size() const override { return size_; }
  void read_at(int64_t offset, std::span<std::byte> out) const override {
    const int64_t end = offset + std::ssize(out);
    if (offset < 0 || end > size_) bad_input("read outside the file");
    bytes_read_ += std::ssize(out);
    if (!out.empty()) ++reads_;
    std::fill(out.begin(), out.end(), std::byte{0});
    for (const auto& [begin, bytes] : parts_) {
      const int64_t first = std::max(offset, begin);
      const int64_t last = std::min(end, begin + std::ssize(bytes));
      if (first >= last) continue;
      std::memcpy(out.data() + (first - offset), bytes.data() + (first - begin),
                  static_cast<size_t>(last - first));
    }
  }
  void write_at(int64_t, std::span<const std::byte>) override { internal_error("read only"); }
  void allocate(int64_t) override { internal_error("read only"); }
  void sync() override { internal_error("read only"); }

 private:
  std::map<int64_t, std::string> parts_;
  int64_t size_;
  mutable std::atomic<int64_t> bytes_read_ = 0;
  mutable std::atomic<int64_t> reads_ = 0;
  Path path_ = "memory";
};

inline std::string read_data(const std::string& name) {
  std::ifstream in(data_dir() + "/" + name, std::ios::binary);
  if (!in) bad_input("no test data " + name);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string unhex(std::string_view hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<char>(digit(hex[i]) << 4 | digit(hex[i + 1])));
  }
  return out;
}

}  // namespace bridge
