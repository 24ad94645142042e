#include "bridge/convert/match/foreign_keys.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/io/base/error.h"

namespace bridge {
namespace {

// LoRA of Megatron-Bridge and NeMo 2 wraps a module (to_wrap) and adds adapter.linear_in and
// .linear_out. NeMo 1 names its adapters lora_kqv_adapter and the like.
bool is_of_lora(std::string_view key) {
  const auto has = [&](std::string_view part) { return key.find(part) != std::string_view::npos; };
  return has(".adapter.") || has(".to_wrap.") || has(".lora_") || key.starts_with("lora_");
}

// In multi-latent attention whose queries have no low rank, megatron-core 0.19 and later with
// qk_layernorm normalize the input of linear_q_proj once more. The Hugging Face model has no place
// for that weight (mla_qk_norm_config.py).
bool is_second_input_norm(std::string_view key) {
  return key.ends_with("self_attention.linear_q_proj.layer_norm_weight");
}

}  // namespace

void refuse_foreign_keys(const MegatronFolder& folder) {
  const std::string where = printable(folder.dist_dir.string());
  const auto& tensors = folder.metadata.tensors;
  const auto lora = std::count_if(tensors.begin(), tensors.end(),
                                  [](const DcpTensor& tensor) { return is_of_lora(tensor.key); });
  for (const DcpTensor& tensor : tensors) {
    if (is_of_lora(tensor.key)) {
      unsupported(fmt::format("{}: LoRA: {} tensors of adapters that are not merged ({}, ...)",
                              where, lora, printable(tensor.key)),
                  "merge them where the model was trained (Megatron-Bridge: "
                  "examples/peft/merge_lora.py) and save it, or export the adapter there");
    }
    if (is_second_input_norm(tensor.key)) {
      unsupported(
          fmt::format("{}: {}: megatron-core 0.19 and later normalize the input of linear_q_proj a "
                      "second time where q_lora_rank is null; the Hugging Face model has no such "
                      "norm and computes something else",
                      where, printable(tensor.key)),
          "train with qk_layernorm off, or with megatron-core 0.18 or older");
    }
  }
}

}  // namespace bridge
