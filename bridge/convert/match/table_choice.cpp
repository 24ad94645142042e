#include "bridge/convert/match/table_choice.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "bridge/io/file/crc32.h"
#include "mappings/table/table_text.h"

namespace bridge {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kLargestTable = 1 << 20;
constexpr int64_t kLargestKept = 4 << 20;  // a table with its fragments

std::string crc_text(const std::string& text) {
  return fmt::format("{:08x}", crc32(std::as_bytes(std::span(text))));
}

std::string kept_text(const OwnTable& own) {
  return mappings::self_contained_text(own.text, own.name);
}

std::string text_of(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_string()) {
    bad_input(fmt::format("manifest.json: choices: {} of the own table is no text", key));
  }
  return it->get<std::string>();
}

OwnTable kept_table(FileSystem& fs, const Sidecar& sidecar, const Json& entry) {
  return with_context(printable(sidecar.path.string()), [&] {
    if (!entry.is_object()) bad_input("manifest.json: choices: the own table is no object");
    OwnTable own{read_whole_file(fs, sidecar.path / kMappingFile, kLargestKept),
                 printable(text_of(entry, "file"))};
    if (crc_text(own.text) != text_of(entry, "crc32")) {
      bad_input(fmt::format("{}: CRC-32 mismatch, the sidecar is damaged", kMappingFile));
    }
    return own;
  });
}

}  // namespace

TableChoice choose_table(FileSystem& fs, const CommonOptions& options, const Sidecar* sidecar) {
  if (!options.mapping.empty()) {
    return {OwnTable{read_whole_file(fs, options.mapping, kLargestTable),
                     options.mapping.filename().string()},
            {}};
  }
  if (!options.arch.empty()) return {std::nullopt, options.arch};
  if (sidecar == nullptr) return {};
  const auto mapping = sidecar->choices.find("mapping");
  if (mapping != sidecar->choices.end()) return {kept_table(fs, *sidecar, *mapping), {}};
  const auto arch = sidecar->choices.find("arch");
  if (arch == sidecar->choices.end() || !arch->is_string()) return {};
  return {std::nullopt, arch->get<std::string>()};
}

void record_table(const TableChoice& table, Json& choices) {
  if (!table.arch.empty()) choices["arch"] = table.arch;
  if (!table.own) return;
  choices["mapping"] = {{"file", table.own->name}, {"crc32", crc_text(kept_text(*table.own))}};
}

void keep_table(FileSystem& fs, const Path& sidecar_dir, const TableChoice& table) {
  if (table.own) write_whole_file(fs, sidecar_dir / kMappingFile, kept_text(*table.own));
}

}  // namespace bridge
