#include "models/forward/prompt.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/forward/splitmix.h"

namespace models {
namespace {

constexpr int64_t kLargestFile = 16 << 20;
constexpr std::string_view kBetween = ", \t\r";

std::vector<int64_t> tokens_of(std::string_view line) {
  std::vector<int64_t> tokens;
  while (true) {
    line.remove_prefix(std::min(line.find_first_not_of(kBetween), line.size()));
    if (line.empty()) return tokens;
    const std::string_view word = line.substr(0, line.find_first_of(kBetween));
    int64_t token = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), token);
    if (error != std::errc() || end != word.data() + word.size()) {
      bridge::bad_input(fmt::format("'{}' is no token's number", bridge::printable(word)));
    }
    tokens.push_back(token);
    line.remove_prefix(word.size());
  }
}

at::Tensor batch_of(std::string_view text) {
  std::vector<int64_t> tokens;
  int64_t prompts = 0;
  int64_t length = 0;
  for (int64_t number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::vector<int64_t> found = bridge::with_context(
        [&] { return fmt::format("line {}", number); }, [&] { return tokens_of(line); });
    if (found.empty()) continue;
    const int64_t here = static_cast<int64_t>(found.size());
    if (prompts > 0 && here != length) {
      bridge::bad_input(
          fmt::format("line {}: {} tokens, those before have {}", number, here, length),
          "the prompts of a batch have one length");
    }
    length = here;
    ++prompts;
    tokens.insert(tokens.end(), found.begin(), found.end());
    if (std::ssize(tokens) > kMostTokens) {
      bridge::bad_input(fmt::format("more than {} tokens", kMostTokens));
    }
  }
  if (prompts == 0) {
    bridge::bad_input("no tokens", "write their numbers, a prompt a line: 1,15043,29892");
  }
  at::Tensor ids = at::empty({prompts, length}, at::kLong);
  std::copy(tokens.begin(), tokens.end(), ids.mutable_data_ptr<int64_t>());
  return ids;
}

}  // namespace

bool is_prompt_text(const std::string& text) {
  return text.find_first_not_of("-0123456789, ") == std::string::npos;
}

at::Tensor given_prompt(bridge::FileSystem& fs, const std::string& text) {
  if (is_prompt_text(text)) {
    return bridge::with_context("--tokens", [&] { return batch_of(text); });
  }
  if (!fs.stat(text)) {
    bridge::usage_error(fmt::format("--tokens {}: neither a file nor numbers with commas between",
                                    bridge::printable(text)));
  }
  const std::string content = bridge::read_whole_file(fs, text, kLargestFile);
  return bridge::with_context(bridge::printable(text), [&] { return batch_of(content); });
}

at::Tensor seeded_prompt(int64_t vocab, int64_t length, uint64_t seed) {
  at::Tensor ids = at::empty({1, length}, at::kLong);
  int64_t* out = ids.mutable_data_ptr<int64_t>();
  SplitMix numbers(seed);
  for (int64_t i = 0; i < length; ++i) {
    out[i] = static_cast<int64_t>(numbers.next() % static_cast<uint64_t>(vocab));
  }
  return ids;
}

void check_prompt(const at::Tensor& ids, int64_t vocab) {
  if (ids.dim() != 2 || ids.numel() == 0) bridge::bad_input("the prompt has no tokens");
  const int64_t lowest = ids.min().item<int64_t>();
  const int64_t highest = ids.max().item<int64_t>();
  if (lowest < 0 || highest >= vocab) {
    bridge::bad_input(fmt::format("token {} of the prompt is not in the vocabulary of {}",
                                  lowest < 0 ? lowest : highest, vocab),
                      fmt::format("tokens are numbers from 0 to {}", vocab - 1));
  }
}

}  // namespace models
