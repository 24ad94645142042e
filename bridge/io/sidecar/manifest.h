// The members of a sidecar's manifest.json as text and back. Internal to this folder.
//   - a CRC-32 is 8 hex digits
//   - a file is {"name", "size", "crc32"}
//   - manifest_crc32 is the CRC-32 of the manifest's text without this member, in the form that
//     write_sidecar() gives it
// What is read is trusted no more than any other input: an error says what is wrong with a damaged
// or hand-edited manifest. Errors: kBadInput. Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "bridge/io/sidecar/sidecar.h"

namespace bridge {

std::string crc_text(uint32_t crc);
uint32_t parse_crc(const std::string& text);

// A member of the manifest, which must be there and of that type.
const nlohmann::ordered_json& member(const nlohmann::ordered_json& object, const char* key);
std::string text_of(const nlohmann::ordered_json& object, const char* key);
int64_t size_of(const nlohmann::ordered_json& object, const char* key);
const nlohmann::ordered_json& list_of(const nlohmann::ordered_json& object, const char* key);

nlohmann::ordered_json manifest_entry(const SidecarFile& file);
SidecarFile file_of(const nlohmann::ordered_json& item);

// Call it when all other members are there.
void add_manifest_sum(nlohmann::ordered_json& manifest);
// Call it last, so that other faults are named first. Older versions wrote no sum.
void check_manifest_sum(nlohmann::ordered_json manifest);

}  // namespace bridge
