// Tests the registry: the statements of the ops are consistent, and docs/mapping-tables.md
// describes exactly these ops. tests/convert/algebra/op tests what an op does.
#include "mappings/op/ops.h"

#include <gtest/gtest.h>

#include <fstream>

#include "bridge/io/base/error.h"
#include "tests/data_dir.h"

namespace mappings {
namespace {

TEST(Ops, AreFoundByTheirNames) {
  EXPECT_EQ(all_ops().size(), 15U);
  for (const Op* op : all_ops()) EXPECT_EQ(&op_named(op->name), op) << op->name;
  try {
    op_named("mirror");
    FAIL() << "found";
  } catch (const bridge::Error& e) {
    EXPECT_EQ(e.code(), bridge::Code::kBadInput);
    EXPECT_EQ(e.message(), "unknown op 'mirror'");
    EXPECT_EQ(e.hint(),
              "ops: copy, concat, qkv, gated_qkv, fused_qkv, group, ungroup, columns, "
              "swap_columns, transpose, deinterleave, deinterleave_rows, transpose_deinterleave, "
              "vocab, minus_one");
  }
}

TEST(Ops, StateWhatGoesTogether) {
  for (const Op* op : all_ops()) {
    SCOPED_TRACE(op->name);
    EXPECT_GE(op->least_parts, 1U);
    EXPECT_LE(op->least_parts, op->most_parts);
    EXPECT_EQ(op->values.apply == nullptr, op->values.undo == nullptr);
    // Blocks are quantized again from the values on the Megatron side.
    if (op->changes_values()) {
      EXPECT_FALSE(op->takes_quantized);
    }
    if (op->needs_split_rows) {
      EXPECT_TRUE(op->takes_split);
    }
    if (op->takes_gated) {
      EXPECT_TRUE(op->least_parts <= 2 && op->most_parts >= 2);
    }
    // A split, chunks and the rows of a part are counted before the plan knows the vocabulary.
    if (op->is_vocabulary) {
      EXPECT_FALSE(op->takes_split || op->takes_chunks || op->takes_part);
    }
  }
}

TEST(Ops, AreDocumented) {
  std::ifstream file(data_dir() + "/../docs/mapping-tables.md");
  std::string documented;
  bool in_table = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("| op |")) in_table = true;
    if (line.empty()) in_table = false;
    if (!in_table || !line.starts_with("| `")) continue;
    documented += (documented.empty() ? "" : ", ") + line.substr(3, line.find('`', 3) - 3);
  }
  EXPECT_EQ(documented, names_of_ops([](const Op&) { return true; }));
}

}  // namespace
}  // namespace mappings
