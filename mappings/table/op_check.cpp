#include "mappings/table/op_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/io/base/error.h"
#include "bridge/io/number/codec.h"
#include "mappings/table/name_check.h"

namespace mappings {
namespace {

using bridge::bad_input;
using bridge::printable;

constexpr size_t kMostParts = 16;
constexpr size_t kMostRank = 8;

void check_arity(const Row& row) {
  const size_t parts = row.hf.size();
  if (parts == 0 || parts > kMostParts) {
    bad_input(fmt::format("{} HF names (1 to {})", parts, kMostParts));
  }
  if (parts < row.op->least_parts || parts > row.op->most_parts) {
    bad_input(fmt::format("{} HF names do not fit op {}", parts, row.op->name));
  }
}

void check_rank(const Row& row) {
  const size_t rank = row.hf[0].shape.size();
  for (const HfPart& part : row.hf) {
    if (part.shape.size() != rank) bad_input("HF shapes of different rank");
  }
  if (row.op->ranks == Ranks::kMatrix && rank != 2) {
    bad_input(fmt::format("op {} needs a matrix", row.op->name));
  }
  const size_t most = row.op->ranks == Ranks::kAny ? kMostRank : 2;
  if (rank == 0 || rank > most) {
    bad_input(fmt::format("shape of {} dimensions (1 to {} for op {})", rank, most, row.op->name));
  }
}

void check_numbers(const Row& row) {
  for (size_t i = 0; i < kNumberOptions.size(); ++i) {
    const auto& [name, number] = kNumberOptions[i];
    const bool needed = row.op->needs(number);
    if (row.numbers[i].empty() != needed) continue;
    bad_input(needed ? fmt::format("op {} needs '{}'", row.op->name, name)
                     : fmt::format("'{}' has no meaning for op {}", name, row.op->name));
  }
}

void check_gated(const Row& row) {
  if (!row.gated || (row.op->takes_gated && row.hf.size() == 2)) return;
  bad_input(fmt::format("'gated' needs op {} and two HF names",
                        names_of_ops([](const Op& op) { return op.takes_gated; })));
}

void check_part(const Row& row) {
  if (row.part.empty() || row.op->takes_part) return;
  bad_input(fmt::format("'part' has no meaning for op {}", row.op->name));
}

void check_split(const Row& row) {
  if (row.op->needs_split_rows && row.split_rows.empty()) {
    bad_input(fmt::format("op {} needs 'split' with the rows of each part", row.op->name));
  }
  if (row.split.empty()) return;
  if (row.split.size() < 2 || row.split.size() > kMostParts) {
    bad_input(fmt::format("'split' of {} suffixes (2 to {})", row.split.size(), kMostParts));
  }
  check_no_repeats(row.split, "'split'");
  for (const std::string& suffix : row.split) {
    if (!is_name_text(suffix)) {
      bad_input(fmt::format("'{}' has characters no tensor name has", printable(suffix)));
    }
  }
  if (row.gated || !row.op->takes_split) {
    bad_input(fmt::format("'split' has no meaning for gated rows and op {}",
                          names_of_ops([](const Op& op) { return !op.takes_split; })));
  }
}

void check_chunks(const Row& row) {
  if (row.chunks.size() > row.hf[0].shape.size() || (row.gated && !row.chunks.empty())) {
    bad_input("'chunks' has no more numbers than the shape has, and no meaning for gated rows");
  }
  // Chunks are counted in rows that are known: --vocab-rows changes a vocabulary's, and a part is a chunk already.
  if (!row.chunks.empty() && (!row.op->takes_chunks || !row.split.empty())) {
    bad_input(fmt::format("'chunks' has no meaning with 'split' and for op {}",
                          names_of_ops([](const Op& op) { return !op.takes_chunks; })));
  }
}

// What an op computes of values, it computes in F32.
void check_arithmetic(const Row& row) {
  if (!row.op->changes_values()) return;
  const auto check = [&](bridge::Dtype dtype) {
    if (bridge::is_plain_float(dtype) && dtype != bridge::Dtype::kF64) return;
    bad_input(fmt::format("op {} of {} (F32, BF16 and F16 are possible)", row.op->name,
                          bridge::safetensors_name(dtype)));
  };
  std::for_each(row.dtypes.begin(), row.dtypes.end(), check);
  if (row.keep) check(*row.keep);
}

}  // namespace

void check_op(const Row& row) {
  check_arity(row);
  check_numbers(row);
  check_gated(row);
  check_part(row);
  check_split(row);
  check_rank(row);
  check_chunks(row);
  check_arithmetic(row);
}

}  // namespace mappings
