// Which files of a folder are a tokenizer's.
#include "bridge/io/hf/tokenizer_files.h"

#include <gtest/gtest.h>

#include "bridge/io/base/error.h"
#include "tests/temp_dir.h"

namespace bridge {
namespace {

TEST(TokenizerFiles, ByName) {
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "tokenizer.model.v3",
        "tokenization_kimi.py", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json",
        "special_tokens_map.json", "chat_template.jinja", "chat_template.json", "tekken.json",
        "spiece.model", "sentencepiece.bpe.model", "qwen.tiktoken",
        "additional_chat_templates/tool_use.jinja"}) {
    EXPECT_TRUE(is_tokenizer_file(name)) << name;
  }
  for (const char* name : {"config.json", "README.md", "generation_config.json", "LICENSE",
                           "model.safetensors.index.json", "modeling_kimi.py",
                           "preprocessor_config.json", "assets/tokenizer.json"}) {
    EXPECT_FALSE(is_tokenizer_file(name)) << name;
  }
}

TEST(TokenizerFiles, OfAFolder) {
  const TempDir dir;
  for (const char* name : {"tokenizer.json", "generation_config.json", "config.json", "README.md",
                           "tokenizer.safetensors", "vocab.bin"}) {
    put_file(dir / name, "{}");
  }
  MemoryBudget budget(1 << 20);
  const TokenizerFolder folder = open_tokenizer(real_file_system(), dir.path(), budget);
  EXPECT_EQ(folder.files, (std::vector<std::string>{"generation_config.json", "tokenizer.json"}));
}

TEST(TokenizerFiles, NoneIsRefused) {
  const TempDir dir;
  put_file(dir / "generation_config.json", "{}");
  MemoryBudget budget(1 << 20);
  for (const Path& path : {dir.path(), dir / "absent", dir / "generation_config.json"}) {
    try {
      open_tokenizer(real_file_system(), path, budget);
      FAIL() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kUsage) << error.message();
      EXPECT_TRUE(error.message().starts_with("--tokenizer ")) << error.message();
    }
  }
}

}  // namespace
}  // namespace bridge
