#include "bridge/io/hf/tokenizer_files.h"

#include <algorithm>
#include <iterator>

#include "bridge/io/base/error.h"
#include "bridge/io/hf/hf_files.h"
#include "bridge/io/hf/weight_files.h"

namespace bridge {
namespace {

constexpr std::string_view kGeneration = "generation_config.json";
constexpr std::string_view kFolder = "additional_chat_templates/";
constexpr std::string_view kBeginnings[] = {
    "tokenizer", "tokenization_",      "vocab",         "merges", "added_tokens",
    "tekken",    "special_tokens_map", "chat_template", "spiece", "sentencepiece"};

}  // namespace

bool is_tokenizer_file(std::string_view name) {
  if (name.starts_with(kFolder)) return true;
  if (name.find('/') != std::string_view::npos) return false;
  return name.ends_with(".tiktoken") ||
         std::any_of(std::begin(kBeginnings), std::end(kBeginnings),
                     [&](std::string_view beginning) { return name.starts_with(beginning); });
}

TokenizerFolder open_tokenizer(FileSystem& fs, const Path& path, MemoryBudget& budget) {
  const std::string where = "--tokenizer " + printable(path.string());
  const std::optional<Stat> there = fs.stat(path);
  if (!there || there->kind != Kind::kDirectory) usage_error(where + ": no such folder");
  TokenizerFolder folder{resolve_hf_path(fs, path), {}};
  HfFiles files = list_hf_files(fs, folder.path, budget);
  take_weight_files(fs, folder.path, files.files);
  bool any = false;
  for (const HfSideFile& file : files.files) {
    const bool own = is_tokenizer_file(file.name);
    any = any || own;
    if (own || file.name == kGeneration) folder.files.push_back(file.name);
  }
  if (!any) {
    usage_error(where + ": no file of a tokenizer",
                "give the folder that holds tokenizer.json, tokenizer.model or vocab.json");
  }
  return folder;
}

}  // namespace bridge
