// Recorded logits to compare a forward pass with: a safetensors file.
//
//   input_ids               [S] or [B, S] I64     the prompt
//   logits, mtp_logits.K    [.., S, V] F32        main head; MTP depth K, from 0
//   hidden_embed, hidden.N, hidden_final, mtp_hidden.K
//                           [.., S, D] F32, optional; the n streams before a head [.., S, n, D]
//   topk_margin             [S] F32, optional     smallest margin of any router's choice for that
//                                                 token: from the first row below 1e-4 on, another
//                                                 rounding may choose other experts
// Other tensors are ignored.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/hf/safetensors.h"

namespace models {

class ReferenceLogits {
 public:
  // Errors: kBadInput "file: tensor: what", also if a near-tie excludes more than 5% of the rows.
  ReferenceLogits(bridge::FileSystem& fs, const bridge::Path& path, bridge::MemoryBudget& budget);

  const at::Tensor& ids() const { return ids_; }  // [B, S]
  // The number of rows of a sequence that can be judged: those before the first near-tie.
  int64_t judged_rows() const { return judged_rows_; }

  // The names of all tensors of the file.
  std::vector<std::string> names() const;
  bool has(const std::string& name) const;
  // fp32 [B, S, ..]. Errors: kBadInput if the axes after S are not `sizes` or a value is infinite
  // or NaN.
  at::Tensor tensor(const std::string& name, at::IntArrayRef sizes) const;
  // Part of a head's logits, fp32 [rows, count]: rows row .. row + rows - 1, counted through all
  // sequences, for the tokens first .. first + count - 1 of a vocabulary of `vocab`.
  at::Tensor logits(const std::string& name, int64_t vocab, int64_t row, int64_t rows,
                    int64_t first, int64_t count) const;
  // Errors: kBadInput if `unusable`, the number of values that are not finite, is not 0.
  void check_finite(const std::string& name, int64_t unusable, int64_t values) const;
  // "logits", "mtp_logits.0", ...
  static std::string head_name(int64_t head);

 private:
  const bridge::SafetensorsEntry* find(const std::string& name) const;
  const bridge::SafetensorsEntry& checked(const std::string& name, at::IntArrayRef sizes) const;
  at::Tensor read(const bridge::SafetensorsEntry& entry) const;
  void read_ids();
  void read_margins();

  std::unique_ptr<bridge::File> file_;
  bridge::SafetensorsHeader header_;
  at::Tensor ids_;
  bool batched_ = false;
  int64_t judged_rows_ = 0;
};

}  // namespace models
