// Prints what causeway-verify found as lines for a terminal, and writes the same numbers as JSON.
//
//   prompt                            what the forward pass was run on, and how
//   configuration, tensors, forward   one verdict each: "equal" or "DIFFERENT", then what differs
//                                     (the first ones on the terminal, all of them in the JSON)
//   forward                           one line for each layer and head: largest and mean
//                                     difference, what is allowed, and for heads KL divergence and
//                                     rows with the same best and best five tokens; DIFFERENT marks
//                                     those that differ by more
//   reference                         the same for a checkpoint against recorded logits
//   train step, gradients, packed     instead of `forward`: losses and gradients of a training step
//   coverage                          which weights the prompt used; only the tensors verdict
//                                     covers the rest
// Verdicts over some of the layers say PARTIAL. JSON has null for a number that is not finite.
// docs/verification.md lists its keys.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/compare/forward_comparison.h"
#include "models/compare/reference_check.h"
#include "models/compare/tensor_comparison.h"

namespace models {

struct ChosenDevice;
struct TrainVerdict;

class VerifyReport {
 public:
  // quiet: prints nothing.
  VerifyReport(bool quiet, const std::optional<LayerRange>& layers);

  // b: empty if there is only one checkpoint.
  void checkpoints(const std::string& a, const std::string& b);
  // ids: [B, S]; from: the origin of the ids, "seed 1".
  void prompt(const at::Tensor& ids, const std::string& from, const std::string& compute,
              const ChosenDevice& device);
  // Says that a vision tower that only `side` has is not compared.
  void text_only(const std::string& side);
  // Each prints a verdict, keeps it for the JSON, and returns false if something differs. known:
  // differences that fail nothing (known_difference.h).
  bool configuration(const std::vector<FieldDifference>& fields,
                     const std::vector<FieldDifference>& known);
  bool tensors(const TensorVerdict& verdict);
  // bit_for_bit: the two are the same model, equal or rounded, so only identical numbers pass.
  bool forward(ForwardVerdict verdict, bool bit_for_bit, const TensorVerdict& tensors,
               int64_t vocab);
  bool reference(const std::string& side, const std::vector<Difference>& found, bool rounded,
                 const ReferenceLogits& reference);

  // Also prints the losses, the tensors without gradient and how much memory the step needs.
  bool train_step(const TrainVerdict& verdict);

  nlohmann::ordered_json& json() { return json_; }

 private:
  template <typename... Args>
  void print(fmt::format_string<Args...> text, Args&&... args) const;
  void print_line(std::string_view line) const;
  template <typename Items, typename Line>
  void print_some(const Items& items, const Line& line) const;
  std::string verdict_text(bool equal) const;
  void print_states(const ForwardVerdict& verdict, int64_t vocab) const;
  void print_heads(const ForwardVerdict& verdict) const;

  bool quiet_;
  std::string partial_;  // " (PARTIAL: layers 0:2)"
  nlohmann::ordered_json json_;
};

}  // namespace models
