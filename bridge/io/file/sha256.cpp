#include "bridge/io/file/sha256.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "bridge/io/base/error.h"

namespace bridge {

struct Sha256::Impl {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~Impl() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : impl_(std::make_unique<Impl>()) {
  if (EVP_DigestInit_ex(impl_->context, EVP_sha256(), nullptr) != 1) {
    internal_error("SHA-256 is not available");
  }
}

Sha256::~Sha256() = default;

void Sha256::add(std::span<const std::byte> data) {
  EVP_DigestUpdate(impl_->context, data.data(), data.size());
}

void Sha256::add(std::string_view text) {
  EVP_DigestUpdate(impl_->context, text.data(), text.size());
}

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_DigestFinal_ex(impl_->context, digest.data(), &size);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

}  // namespace bridge
