// SHA-256, by OpenSSL: the identity of a source, and published checksums (--expect).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace bridge {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void add(std::span<const std::byte> data);
  void add(std::string_view text);
  std::string hex();  // ends the computation; 64 lower-case digits

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bridge
