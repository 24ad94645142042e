#include "tests/convert/algebra/op/op_property.h"

namespace bridge {
namespace {

// Rows that a smaller vocabulary cut off are not there to come back.
TEST(VocabOp, FollowsItsDefinition) {
  expect_definition(ops::kVocab, [](Maker& make) {
    const int64_t rows = make.up_to(6);
    const int64_t width = make.up_to(5);
    Example e{.shapes = {{rows, width}}, .numbers = {.vocab_rows = make.up_to(9)}};
    const int64_t kept = std::min(rows, e.numbers.vocab_rows);
    e.parts = {make.fresh(rows * width)};
    append_rows(e.megatron, e.parts[0], 0, kept, width);
    e.megatron.resize(static_cast<size_t>(e.numbers.vocab_rows * width), 0);
    e.megatron_shape = {e.numbers.vocab_rows, width};
    e.lost = (rows - kept) * width;
    return e;
  });
}

TEST(VocabOp, Refuses) {
  expect_refused(ops::kVocab,
                 {{"Scalar", {{}}, {.vocab_rows = 5}, "needs at least one axis"},
                  {"Overflow", {{2, 1 << 20}}, {.vocab_rows = kHuge}, "overflows 64 bits"},
                  {"NegativeRows", {{2, 3}}, {.vocab_rows = -1}, "negative dimension"}});
}

}  // namespace
}  // namespace bridge
