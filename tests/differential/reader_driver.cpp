// Says what Causeway's readers find in files, for a comparison with other readers
// (test_readers.py). It lives as long as the comparison: a process for each input would cost more
// than the reading.
//
//   standard input   one line for each file: FORMAT PATH
//   standard output  one line of JSON for each:
//     safetensors    {"metadata": {..}, "payload": OFFSET, "tensors": {NAME: [DTYPE, SHAPE, BEGIN,
//                    END]}}
//     zip            {"entries": [[NAME, SHA-256 of the content]..],
//                     "has_crc": whether it has CRCs}
//     pickle         {"value": TREE}, or {} where the tree is too large to print
//     refused        {"code": exit status, "message": TEXT}
//   arguments        the classes that a pickle may name, as "MODULE NAME"; none: any
#include <fmt/format.h>

#include <bit>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "bridge/io/base/error.h"
#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/file/sha256.h"
#include "bridge/io/hf/safetensors.h"
#include "bridge/io/pickle/pickle.h"
#include "bridge/io/torch_dist/zip_record.h"

namespace bridge {
namespace {

using nlohmann::json;

constexpr int64_t kMemory = 64 << 20;
constexpr int64_t kLargestEntry = 16 << 20;
constexpr uint32_t kLargestTree = 100'000;  // nodes

json safetensors_answer(const File& file) {
  MemoryBudget budget(kMemory);
  const SafetensorsHeader header = read_safetensors_header(file, budget);
  json metadata = json::object();
  for (const auto& [key, value] : header.metadata) metadata[key] = value;
  json tensors = json::object();
  for (const SafetensorsEntry& entry : header.entries) {
    tensors[entry.name] =
        json::array({safetensors_name(entry.dtype), entry.shape, entry.begin, entry.end});
  }
  return {{"metadata", metadata}, {"payload", header.payload_offset}, {"tensors", tensors}};
}

json zip_answer(const File& file) {
  const ZipArchive archive = read_zip(file, 0, file.size());
  json entries = json::array();
  for (const ZipEntry& entry : archive.entries) {
    Sha256 hash;
    hash.add(std::string_view(read_zip_entry(file, archive, entry, kLargestEntry)));
    entries.push_back(json::array({archive.prefix + "/" + entry.name, hash.hex()}));
  }
  return {{"entries", entries}, {"has_crc", !archive.crc_is_absent}};
}

// Text in a pickle may hold surrogates, which JSON cannot.
std::string hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

json tree(const PickleNode& node);

json items_of(const PickleNode& node) {
  json items = json::array();
  for (const PickleValue& item : node.items) items.push_back(tree(*item));
  return items;
}

json tree(const PickleNode& node) {
  using NodeKind = PickleNode::Kind;
  const auto tagged = [](const char* tag, const json& value) {
    json result = json::object();
    result[tag] = value;
    return result;
  };
  switch (node.kind) {
    case NodeKind::kNone:
      return nullptr;
    case NodeKind::kBool:
      return node.boolean;
    case NodeKind::kInt:
      return tagged("int", std::to_string(node.integer));
    case NodeKind::kBigInt:
      return tagged("int", node.text);
    case NodeKind::kReal:
      return tagged("real", fmt::format("{:016x}", std::bit_cast<uint64_t>(node.real)));
    case NodeKind::kString:
      return tagged("text", hex(node.text));
    case NodeKind::kBytes:
      return tagged("bytes", hex(node.text));
    case NodeKind::kTuple:
      return tagged("tuple", items_of(node));
    case NodeKind::kList:
      return tagged("list", items_of(node));
    case NodeKind::kSet:
      return tagged("set", items_of(node));
    case NodeKind::kDict:
      return tagged("dict", items_of(node));
    case NodeKind::kClass:
      return tagged("class", node.text);
    case NodeKind::kObject:
      return tagged("object", items_of(node));
    case NodeKind::kPersistent:
      return tagged("persistent", items_of(node));
  }
  internal_error("a pickle node of no kind");
}

json pickle_answer(const File& file, const PickleOptions& options) {
  MemoryBudget budget(kMemory);
  const PickleValue value = read_pickle(file, 0, file.size(), options, budget);
  json answer = json::object();
  if (value->weight <= kLargestTree) answer["value"] = tree(*value);
  return answer;
}

json answer_to(const std::string& line, const PickleOptions& options) {
  const size_t space = line.find(' ');
  if (space == std::string::npos) usage_error("a line is FORMAT PATH");
  const std::string format = line.substr(0, space);
  try {
    const std::unique_ptr<File> file = real_file_system().open_read(line.substr(space + 1));
    if (format == "safetensors") return safetensors_answer(*file);
    if (format == "zip") return zip_answer(*file);
    if (format == "pickle") return pickle_answer(*file, options);
  } catch (const Error& error) {
    return {{"code", error.exit_status()}, {"message", error.message()}};
  }
  usage_error("unknown format " + format);
}

}  // namespace
}  // namespace bridge

int main(int argc, char** argv) {
  bridge::PickleOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    const size_t space = name.find(' ');
    options.allowed_classes.emplace_back(name.substr(0, space), name.substr(space + 1));
  }
  std::string line;
  while (std::getline(std::cin, line)) {
    const nlohmann::json answer = bridge::answer_to(line, options);
    constexpr auto kReplace = nlohmann::json::error_handler_t::replace;
    fmt::print("{}\n", answer.dump(-1, ' ', /*ensure_ascii=*/true, kReplace));
    std::fflush(stdout);
  }
}
