#include "bridge/io/sidecar/manifest.h"

#include <fmt/format.h>

#include <cstddef>
#include <span>
#include <string_view>

#include "bridge/io/base/error.h"
#include "bridge/io/file/crc32.h"

namespace bridge {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kManifestSum = "manifest_crc32";

// manifest: without the member itself.
std::string sum_of(const Json& manifest) {
  const std::string text = manifest.dump(1);
  return crc_text(crc32(std::as_bytes(std::span(text))));
}

}  // namespace

std::string crc_text(uint32_t crc) {
  return fmt::format("{:08x}", crc);
}

uint32_t parse_crc(const std::string& text) {
  uint32_t value = 0;
  for (const char c : text) {
    const auto digit = std::string_view("0123456789abcdef").find(c);
    if (text.size() != 8 || digit == std::string_view::npos) bad_input("a CRC is not 8 hex digits");
    value = value << 4 | static_cast<uint32_t>(digit);
  }
  return value;
}

const Json& member(const Json& object, const char* key) {
  if (!object.is_object()) bad_input("not an object");
  const auto it = object.find(key);
  if (it == object.end()) bad_input(fmt::format("{} is missing", key));
  return *it;
}

std::string text_of(const Json& object, const char* key) {
  const Json& value = member(object, key);
  if (!value.is_string()) bad_input(fmt::format("{} is not a string", key));
  return value.get<std::string>();
}

int64_t size_of(const Json& object, const char* key) {
  const Json& value = member(object, key);
  if (!value.is_number_integer() || value.get<int64_t>() < 0) {
    bad_input(fmt::format("{} is not a size", key));
  }
  return value.get<int64_t>();
}

const Json& list_of(const Json& object, const char* key) {
  const Json& value = member(object, key);
  if (!value.is_array()) bad_input(fmt::format("{} is not a list", key));
  return value;
}

Json manifest_entry(const SidecarFile& file) {
  return {{"name", file.name}, {"size", file.size}, {"crc32", crc_text(file.crc)}};
}

SidecarFile file_of(const Json& item) {
  return {text_of(item, "name"), size_of(item, "size"), parse_crc(text_of(item, "crc32"))};
}

void add_manifest_sum(Json& manifest) {
  manifest[kManifestSum] = sum_of(manifest);
}

void check_manifest_sum(Json manifest) {
  if (!manifest.contains(kManifestSum)) return;
  const std::string written = text_of(manifest, kManifestSum);
  manifest.erase(kManifestSum);
  if (sum_of(manifest) != written) bad_input("CRC-32 mismatch, the sidecar is damaged");
}

}  // namespace bridge
