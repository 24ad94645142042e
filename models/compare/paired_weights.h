// Two views of what should be one model, read side by side: the reading that compares a tensor also
// gives it to the forward passes of both sides.
//
//   1. The passes run in turns (turns.h). The first one that asks for a tensor has it read from
//      both sides and compared; the other side's rows are kept until its pass asks for them, which
//      is soon: a pass that asks for something new when kWorthATurn bytes are kept first lets the
//      other one catch up. A turn costs the system two changes of threads.
//   2. Passes that route tokens to other experts may never ask for what is kept. At most kMostKept
//      bytes and one tensor are kept for a side; what was dropped is read again.
//   3. A tensor is rounded for a pass (rounding.h) by all of its rows. The embedding, of which a
//      pass asks for a few rows, is compared whole before it is given; an output layer comes block
//      by block, and is compared to its end at the first block that differs.
//   4. What is likely to be asked for next is read ahead, by a thread for each side: the next block
//      of a tensor, the next tensor of a layer, and of experts those that the router has chosen.
//   5. Values that both sides have go to the device of the computation once for both passes. Those
//      in a narrower type become fp32 there, once, for passes that compute in it.
//   6. Before a pass waits for the device, the other one queues what it can, up to the same place:
//      the first wait is for both.
//   7. finish() compares what no pass asked for.
// So both checkpoints are read once, but for the rows of the embedding that the prompt asks for, an
// embedding that is the output layer too, and what differs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "models/compare/tensor_comparison.h"
#include "models/compare/turns.h"
#include "models/weights/weights.h"

namespace models {

class PairedWeights {
 public:
  static constexpr int64_t kMostKept = 64 << 20;
  static constexpr int64_t kWorthATurn = 4 << 20;

  // As for TensorComparison. compute: of both passes.
  PairedWeights(Weights& a, Weights& b, const std::optional<LayerRange>& layers = {},
                const RoundedTypes& types = kAnyRoundedType, std::optional<int64_t> ahead = {},
                const Compute& compute = {});

  // Each side as its forward pass is to see it. Rows that both sides have may be on the device of
  // the computation already.
  Weights& a() { return a_; }
  Weights& b() { return b_; }
  // Runs the passes of both sides as far as the next place.
  void advance(const Turns::Function& a, const Turns::Function& b);
  double seconds() const { return comparison_.seconds(); }
  TensorVerdict finish() { return comparison_.finish(); }

 private:
  class Side : public Weights {
   public:
    Side(PairedWeights& pair, Weights& weights) : pair_(pair), weights_(weights) {}

    const ModelConfig& config() const override { return weights_.config(); }
    bridge::Shape shape(const TensorId& id) override {
      const bridge::Shape* const known = pair_.comparison_.shape(id);
      return known != nullptr ? *known : weights_.shape(id);
    }
    std::string source(const TensorId& id) override { return weights_.source(id); }
    at::Tensor rows(const TensorId& id, int64_t begin, int64_t end) override {
      return pair_.rows(*this, id, begin, end);
    }
    void expect_experts(Section section, int64_t index,
                        const std::vector<int64_t>& experts) override {
      pair_.comparison_.expect_experts(section, index, experts);
    }
    void before_waiting() override { pair_.turns_.give(); }
    at::Tensor chosen_rows(const TensorId& id, const std::vector<int64_t>& chosen) override {
      pair_.comparison_.settle(id);
      return Weights::chosen_rows(id, chosen);
    }

    Weights& read() { return weights_; }
    int64_t kept_bytes() const { return kept_bytes_; }
    void keep(const TensorId& id, int64_t begin, at::Tensor rows);
    // Undefined if these rows are not kept.
    at::Tensor take(const TensorId& id, int64_t begin, int64_t end);
    void drop_all();

   private:
    struct Kept {
      TensorId id;
      int64_t begin;
      at::Tensor rows;
    };

    PairedWeights& pair_;
    Weights& weights_;
    std::deque<Kept> kept_;
    int64_t kept_bytes_ = 0;
  };

  Side& other(const Side& side) { return &side == &a_ ? b_ : a_; }
  at::Tensor rows(Side& side, const TensorId& id, int64_t begin, int64_t end);
  at::Tensor stored_rows(Side& side, const TensorId& id, int64_t begin, int64_t end);

  at::Tensor for_both(const TensorId& id, const at::Tensor& rows) const;

  TensorComparison comparison_;
  Compute compute_;
  Turns turns_;
  Side a_;
  Side b_;
};

}  // namespace models
