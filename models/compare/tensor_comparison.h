// Compares two views of what should be one model: their configurations and every canonical tensor.
// With the forward pass (forward_comparison.h) these are three verdicts. Each finds what the others
// cannot: tensors that a prompt does not touch, settings that no tensor shows, and a canonical
// tensor that both views would read wrongly.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "models/compare/rounding.h"
#include "models/compare/value_comparison.h"
#include "models/forward/forward.h"
#include "models/weights/read_ahead.h"
#include "models/weights/weights.h"

namespace models {

// A field of the canonical description; a or b is empty if that side does not have it.
struct FieldDifference {
  std::string field;
  std::string a;
  std::string b;
};

// layers: compares only these and the fields that belong to no layer, MTP depth or vision tower;
// nullopt: everything.
std::vector<FieldDifference> compare_configurations(const ModelConfig& a, const ModelConfig& b,
                                                    const std::optional<LayerRange>& layers = {});

struct TensorDifference {
  std::string name;
  // "12 of 4096 values differ, by 0.5 at most", "[8, 4] and [4, 8]", "only in the first".
  std::string what;
  // The largest difference of a value; not finite where that cannot be said: of tensors with other
  // shapes, of one that a side lacks, where a value is NaN or infinite.
  double largest = std::numeric_limits<double>::quiet_NaN();
};

struct TensorVerdict {
  int64_t compared = 0;
  double seconds = 0;  // of comparing, and of waiting for reads
  std::vector<TensorDifference> differences;
  // The tensors that differ by one rounding only (models/compare/rounding.h), and the rounding that
  // turns each side's tensor into the other's.
  std::vector<TensorDifference> rounded;
  Roundings rounded_a;
  Roundings rounded_b;
  // The permutations that explain some of the differences, in the words of permuted_experts().
  std::vector<std::string> permutations;
};

// Elements of a block that is worth reading ahead: less is read as soon as a thread is woken.
constexpr int64_t kWorthReadingAhead = 1 << 16;

// Compares the tensors of both, in any order and a few rows at a time, so that whoever needs rows
// of both sides (paired_weights.h) can have them from the reading that compares them. Values are
// compared as fp32 bits, because one checkpoint may hold BF16 and the other the same values in
// fp32. Tensors that a side holds twice are also compared with each other, from the same reading.
// For one thread at a time.
class TensorComparison {
 public:
  // layers: compares only the tensors of these. types: what the conversion may have rounded tensors
  // to; another rounding is a difference. ahead: a thread for each side reads what is likely to be
  // asked for next, blocks of at least that many elements, which takes at most the memory of the
  // largest read() again; nullopt: nothing is read ahead. a and b must outlive it, and are used
  // through it alone.
  TensorComparison(Weights& a, Weights& b, const std::optional<LayerRange>& layers,
                   RoundedTypes types, std::optional<int64_t> ahead = {});
  TensorComparison(const TensorComparison&) = delete;
  TensorComparison& operator=(const TensorComparison&) = delete;

  // Both sides, as they were given.
  Weights& a() { return a_; }
  Weights& b() { return b_; }
  // Weights::expect_experts, of a pass that asks for both sides' tensors by read().
  void expect_experts(Section section, int64_t index, const std::vector<int64_t>& experts);

  // The shape of a tensor that both sides have in one shape; nullptr for another.
  const bridge::Shape* shape(const TensorId& id) const;
  // True if row `begin` is the first one that is still to be compared, of a tensor that both sides
  // have in one shape.
  bool expects(const TensorId& id, int64_t begin) const;
  struct Rows {
    at::Tensor a;
    at::Tensor b;
  };
  // Reads and compares rows [begin, end) of such a tensor. Rows that are equal as stored are one
  // tensor for both. At the first difference the rest of the tensor is compared too, because the
  // roundings depend on all of it; the caller reads that rest again.
  Rows read(const TensorId& id, int64_t begin, int64_t end);
  // Reads and compares what is left of a tensor; nothing if there is nothing to compare.
  void settle(const TensorId& id);
  // The rounding that makes a side's tensor the other's, known for all rows that were read().
  const Roundings& rounded_a() const { return verdict_.rounded_a; }
  const Roundings& rounded_b() const { return verdict_.rounded_b; }
  // Of reading and comparing so far.
  double seconds() const { return verdict_.seconds; }

  // Compares all that is left. Call it once.
  TensorVerdict finish();

 private:
  // A tensor that both sides have in one shape.
  struct Pair {
    TensorId id;
    bridge::Shape shape;
    size_t place;          // in order_
    int64_t compared = 0;  // its first rows
    // As long as some rows are compared, but not all.
    std::unique_ptr<ValueComparison> values = nullptr;
    std::vector<size_t> copies = {};  // into copies_
  };
  // What a side holds twice.
  struct Twice {
    Weights& weights;
    Weights::Copy copy;
    bridge::Shape shape;
    ValueComparison values;
    bool begun = false;
  };

  void list_copies(Weights& weights);
  Rows read_rows(Pair& pair, int64_t begin, int64_t end, const std::optional<RowBlock>& next);
  std::optional<RowBlock> block_after(const Pair& pair, int64_t begin, int64_t end) const;
  void settle_skipped(const Pair& next);
  void settle_started();
  void settle(Pair& pair);
  void close(Pair& pair);
  void add_rows(Twice& twice, int64_t begin, int64_t end, const at::Tensor& rows);
  void judge_tensors();
  void judge_copies();

  ReadAhead a_;
  ReadAhead b_;
  std::optional<LayerRange> layers_;
  RoundedTypes types_;
  std::optional<int64_t> ahead_;
  std::unordered_map<TensorId, Pair, TensorIdHash> pairs_;
  std::vector<Pair*> order_;  // canonical
  struct Routed {
    Section section = Section::kModel;
    int64_t index = -1;
    std::set<int64_t> experts = {};
  };
  Routed routed_;  // of the layer that was announced last
  bool finishing_ = false;
  std::vector<Twice> copies_;
  // What was found, by canonical name. The verdict has it in canonical order.
  std::map<std::string, TensorDifference> differences_;
  std::map<std::string, TensorDifference> rounded_;
  TensorVerdict verdict_;
};

// Compares all tensors of both, in canonical order.
TensorVerdict compare_tensors(Weights& a, Weights& b, const std::optional<LayerRange>& layers = {},
                              const RoundedTypes& types = kAnyRoundedType);

}  // namespace models
