// The tokens that a forward pass is run on.
//
//   "5,17,3"   numbers with commas between: one prompt
//   FILE       numbers with commas, blanks or both between; every line is a prompt, all of one length: a batch
//   otherwise  made from a seed (splitmix64), so that every machine runs the same
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "bridge/io/file/file_system.h"

namespace models {

constexpr int64_t kMostTokens = 1 << 20;  // of all prompts together

// [B, S] int64. Errors: kUsage where `text` is neither, kBadInput "file: line: what" for what is no prompt.
at::Tensor given_prompt(bridge::FileSystem& fs, const std::string& text);

// Tokens that depend on the seed alone: [1, length], each in 0 .. vocab - 1.
at::Tensor seeded_prompt(int64_t vocab, int64_t length, uint64_t seed);

// Error: kBadInput for a prompt without tokens and for one with a token that the vocabulary does not have.
void check_prompt(const at::Tensor& ids, int64_t vocab);

}  // namespace models
