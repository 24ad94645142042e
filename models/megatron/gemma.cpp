#include "models/megatron/gemma.h"

#include <cmath>
#include <string>
#include <vector>

#include "bridge/io/base/checked.h"

namespace models {
namespace {

// None where no cap is set or it is 0: `if not scale` in the provider.
double cap_of(const Settings& model, std::string_view name) {
  return model.real_or(name, 0);
}

void read_gemma2_attention(const Settings& model, int64_t layer, GroupedAttention& attention) {
  if (layer % 2 != 0) attention.window = 0;
  attention.scale = score_scale(model.real("query_pre_attn_scalar"), attention.head_dim);
  attention.cap = cap_of(model, "attn_logit_softcapping");
}

bool has_gemma3_window(const Settings& model, int64_t layer) {
  const std::vector<int64_t> pattern = model.integers("interleaved_attn_pattern");
  if (pattern.size() != 2 || pattern[0] < 0 || pattern[1] < 1) {
    model.refuse("interleaved_attn_pattern", "not two numbers of layers");
  }
  const int64_t every = bridge::checked_add(pattern[0], pattern[1], "interleaved_attn_pattern");
  return (layer + 1) % every != 0;
}

void read_gemma3_attention(const Settings& model, int64_t layer, GroupedAttention& attention) {
  const std::vector<double> bases = model.reals("rotary_base");
  if (bases.size() != 2) model.refuse("rotary_base", "not the bases of both kinds of layers");
  RotaryConfig& rotary = attention.rotary;
  if (has_gemma3_window(model, layer)) {
    attention.window = model.integer("window_size");
    rotary.base = bases[0];
    return;
  }
  attention.window = 0;
  rotary.base = bases[1];
  const double factor = model.real_or("rope_scaling_factor", 1);
  if (factor != 1) rotary.scaling = RotaryScaling::kLinear;
  rotary.factor = factor;
}

}  // namespace

Gemma gemma_of(const Settings& model) {
  if (model.text_or("_target_", "").find("gemma4") != std::string::npos) {
    model.not_supported("_target_", "Gemma 2 and Gemma 3 are computed here");
  }
  if (model.has("interleaved_attn_pattern")) return Gemma::kGemma3;
  return model.has("query_pre_attn_scalar") ? Gemma::kGemma2 : Gemma::kNone;
}

void read_gemma_attention(Gemma gemma, const Settings& model, int64_t layer,
                          GroupedAttention& attention) {
  if (gemma == Gemma::kGemma2) read_gemma2_attention(model, layer, attention);
  if (gemma == Gemma::kGemma3) read_gemma3_attention(model, layer, attention);
}

void read_gemma_ends(Gemma gemma, const Settings& model, ModelConfig& config) {
  if (gemma == Gemma::kNone) return;
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden));
  if (gemma == Gemma::kGemma2) config.logit_cap = cap_of(model, "final_logit_softcapping");
}

}  // namespace models
