#include "bridge/convert/match/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"

namespace bridge {
namespace {

constexpr int64_t kDivisor = 128;  // --make-vocab-size-divisible-by

std::string hint_of(int64_t write, int64_t cut) {
  return fmt::format(
      "--vocab-rows {} writes them all, and config.json says so; --vocab-rows {} "
      "cuts them",
      write, cut);
}

int64_t positive_or(const std::optional<int64_t>& number, int64_t otherwise) {
  return number && *number > 0 ? *number : otherwise;
}

}  // namespace

std::optional<int64_t> larger_vocabulary(const Statement& statement, int64_t config_rows) {
  const std::optional<int64_t> own = statement.integer("vocab_size");
  return own && *own > config_rows ? own : std::nullopt;
}

int64_t padding_rows(const Statement& statement, const VocabularyRows& rows) {
  if (rows.asked > 0) return std::max<int64_t>(0, rows.stored - rows.asked);
  if (const auto own = larger_vocabulary(statement, rows.config)) {
    bad_input(fmt::format("vocab_size: checkpoint {}, config.json {}", *own, rows.config),
              hint_of(*own, rows.config));
  }
  const int64_t divisor = checked_mul(
      positive_or(statement.integer("make_vocab_size_divisible_by"), kDivisor),
      positive_or(statement.integer("tensor_model_parallel_size"), 1), "vocabulary divisor");
  const int64_t padded = checked_mul((rows.config - 1) / divisor + 1, divisor, "vocabulary rows");
  if (rows.stored > std::max(padded, rows.recorded)) {
    bad_input(fmt::format("the vocabulary has {} rows; config.json's vocab_size {} padded to a "
                          "multiple of {} explains {} of them",
                          rows.stored, rows.config, divisor, padded),
              hint_of(rows.stored, rows.config));
  }
  return std::max<int64_t>(0, rows.stored - rows.config);
}

}  // namespace bridge
