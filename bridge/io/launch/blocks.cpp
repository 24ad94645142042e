#include "bridge/io/launch/blocks.h"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/file/crc32.h"

namespace bridge {
namespace {

constexpr int64_t kBlockHeader = 4 + 8 + 4;
constexpr uint64_t kLongestText = 8192;

uint32_t crc_of(std::string_view text, uint32_t seed = 0) {
  return crc32(std::as_bytes(std::span(text)), seed);
}

}  // namespace

void append_number(std::string& out, int64_t value) {
  append_le(out, static_cast<uint64_t>(value));
}

void append_text(std::string& out, std::string_view text) {
  append_le(out, static_cast<uint32_t>(text.size()));
  out += text;
}

std::string make_block(std::string_view kind, std::string_view payload) {
  std::string head(kind);
  append_le(head, static_cast<uint64_t>(payload.size()));
  append_le(head, crc_of(payload, crc_of(head)));
  return head.append(payload);
}

int64_t Payload::size() {
  const auto value = number<uint64_t>();
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) contradiction();
  return static_cast<int64_t>(value);
}

std::string Payload::text() {
  const auto length = number<uint32_t>();
  if (length > kLongestText) contradiction();
  return std::string(take(length));
}

size_t Payload::count(uint64_t most, size_t least) {
  const auto value = number<uint64_t>();
  if (value > most || value > bytes_.size() / least) contradiction();
  return static_cast<size_t>(value);
}

void Payload::finish() const {
  if (!bytes_.empty()) contradiction();
}

void Payload::contradiction() {
  bad_input("a block that contradicts itself");
}

std::string_view Payload::take(size_t length) {
  if (length > bytes_.size()) contradiction();
  const std::string_view taken = bytes_.substr(0, length);
  bytes_.remove_prefix(length);
  return taken;
}

int64_t Block::size() const {
  return kBlockHeader + std::ssize(payload);
}

std::optional<Block> read_block(const File& file, int64_t offset, Reservation& memory) {
  const int64_t left = file.size() - offset;
  if (left < kBlockHeader) return std::nullopt;
  std::string head(kBlockHeader, '\0');
  file.read_at(offset, std::as_writable_bytes(std::span(head)));
  const auto length = load_le<uint64_t>(head, 4);
  if (length > static_cast<uint64_t>(std::min(left - kBlockHeader, kLargestBlock))) {
    return std::nullopt;
  }
  memory.grow(static_cast<int64_t>(length));
  std::string payload(static_cast<size_t>(length), '\0');
  file.read_at(offset + kBlockHeader, std::as_writable_bytes(std::span(payload)));
  const std::string_view told = std::string_view(head).substr(0, kBlockHeader - 4);
  if (crc_of(payload, crc_of(told)) != load_le<uint32_t>(head, kBlockHeader - 4)) {
    return std::nullopt;
  }
  return Block{head.substr(0, 4), std::move(payload)};
}

}  // namespace bridge
