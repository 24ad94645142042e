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

bool has_groups(Op op) {
  return op == Op::kQkv || op == Op::kGatedQkv || op == Op::kGroup || op == Op::kUngroup ||
         op == Op::kColumns;
}

void check_arity(const Row& row) {
  const size_t parts = row.hf.size();
  if (parts == 0 || parts > kMostParts) {
    bad_input(fmt::format("{} HF names (1 to {})", parts, kMostParts));
  }
  const bool three = row.op == Op::kQkv || row.op == Op::kGatedQkv;
  const bool fits = three ? parts == 3 : row.op == Op::kConcat ? parts >= 2 : parts == 1;
  if (!fits) bad_input(fmt::format("{} HF names do not fit op {}", parts, op_name(row.op)));
}

void check_rank(const Row& row) {
  const size_t rank = row.hf[0].shape.size();
  for (const HfPart& part : row.hf) {
    if (part.shape.size() != rank) bad_input("HF shapes of different rank");
  }
  if (row.op == Op::kColumns && rank != 2) bad_input("op columns needs a matrix");
  const bool flat = row.op == Op::kQkv || row.op == Op::kGatedQkv || row.op == Op::kColumns;
  const size_t most = flat ? 2 : kMostRank;
  if (rank == 0 || rank > most) {
    bad_input(
        fmt::format("shape of {} dimensions (1 to {} for op {})", rank, most, op_name(row.op)));
  }
}

void check_needed(const Expr& option, std::string_view name, bool needed, Op op) {
  if (option.empty() != needed) return;
  bad_input(needed ? fmt::format("op {} needs '{}'", op_name(op), name)
                   : fmt::format("'{}' has no meaning for op {}", name, op_name(op)));
}

void check_split(const Row& row) {
  if (row.op == Op::kUngroup && row.split_rows.empty()) {
    bad_input("op ungroup needs 'split' with the rows of each part");
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
  if (row.gated || row.op == Op::kVocab) {
    bad_input("'split' has no meaning for gated rows and op vocab");
  }
}

void check_chunks(const Row& row) {
  if (row.chunks.size() > row.hf[0].shape.size() || (row.gated && !row.chunks.empty())) {
    bad_input("'chunks' has no more numbers than the shape has, and no meaning for gated rows");
  }
  // Chunks are counted in rows that are known: --vocab-rows changes a vocabulary's, and a part is a chunk already.
  if (!row.chunks.empty() && (row.op == Op::kVocab || !row.split.empty())) {
    bad_input("'chunks' has no meaning with 'split' and for op vocab");
  }
}

// Its arithmetic is F32's.
void check_arithmetic(const Row& row) {
  const auto check = [](bridge::Dtype dtype) {
    if (bridge::is_plain_float(dtype) && dtype != bridge::Dtype::kF64) return;
    bad_input(fmt::format("op minus_one of {} (F32, BF16 and F16 are possible)",
                          bridge::safetensors_name(dtype)));
  };
  std::for_each(row.dtypes.begin(), row.dtypes.end(), check);
  if (row.keep) check(*row.keep);
}

}  // namespace

void check_op(const Row& row) {
  check_arity(row);
  check_needed(row.groups, "groups", has_groups(row.op), row.op);
  check_needed(row.heads, "heads", row.op == Op::kGatedQkv, row.op);
  check_needed(row.blocks, "blocks", row.op == Op::kGroup, row.op);
  if (row.gated && (row.op != Op::kConcat || row.hf.size() != 2)) {
    bad_input("'gated' needs op concat and two HF names");
  }
  if (row.op == Op::kVocab && !row.part.empty()) {
    bad_input("'part' has no meaning for op vocab");
  }
  check_split(row);
  check_rank(row);
  check_chunks(row);
  if (row.op == Op::kMinusOne) check_arithmetic(row);
}

}  // namespace mappings
