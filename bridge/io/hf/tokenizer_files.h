// Finds the files of a Hugging Face folder that make a tokenizer, by name, and the file that says
// how to generate text with it:
//
//   tokenizer*  tokenization_*  vocab*  merges*  added_tokens*  special_tokens_map*  chat_template*
//   tekken*  spiece*  sentencepiece*  *.tiktoken  additional_chat_templates/
//   generation_config.json, which holds ids of its tokens
//
// Truth: transformers/tokenization_utils_base.py (file names, CHAT_TEMPLATE_DIR); mistral_common
// (tekken.json).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"

namespace bridge {

// True for the tokenizer itself; generation_config.json does not count.
bool is_tokenizer_file(std::string_view name);

struct TokenizerFolder {
  Path path;  // of the files: a snapshot where a cache folder was given
  std::vector<std::string>
      files;  // relative to it, sorted; generation_config.json may be among them
};

// Lists the files and reads none. Weights and config.json are never among them. Errors: kUsage if
// no file belongs to a tokenizer; kBadInput as list_hf_files().
TokenizerFolder open_tokenizer(FileSystem& fs, const Path& path, MemoryBudget& budget);

}  // namespace bridge
