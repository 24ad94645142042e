// The tokens that a forward pass runs on.
//
//   "5,17,3"   numbers separated by commas: one prompt
//   FILE       numbers separated by commas, blanks or both; every line is a prompt, and all have
//              one length: a batch
//   otherwise  made from a seed (splitmix64), so that every machine runs the same prompt
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "bridge/io/file/file_system.h"

namespace models {

constexpr int64_t kMostTokens = 1 << 20;  // of all prompts together

// True if `text` is a prompt itself and names no file.
bool is_prompt_text(const std::string& text);

// [B, S] int64. Errors: kUsage if `text` is neither numbers nor a file;
// kBadInput "file: line: what" if its content is not a prompt.
at::Tensor given_prompt(bridge::FileSystem& fs, const std::string& text);

// Tokens that depend on the seed alone: [1, length], each in 0 .. vocab - 1.
at::Tensor seeded_prompt(int64_t vocab, int64_t length, uint64_t seed);

// Error: kBadInput for a prompt without tokens and for one with a token outside the vocabulary.
void check_prompt(const at::Tensor& ids, int64_t vocab);

}  // namespace models
