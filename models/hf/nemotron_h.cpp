// The descriptor of Nemotron-H and Nemotron-3. A layer is one block: Mamba-2, attention without
// positions, an MLP of squared ReLU without a gate, or a mixture of such experts, which may read
// fewer channels than the residual stream has. Lists of words (transformers 5) or texts of
// characters (the releases) say which.
//   - A depth of multi-token prediction is a layer here, of one block or of two, where attention or
//     Mamba-2 comes before an MLP or experts. Other depths are refused.
//   - transformers lets no time step of Mamba-2 be below time_step_min, and reads no other limit.
// Truth: transformers' configuration_nemotron_h.py, modeling_nemotron_h.py.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "bridge/io/base/error.h"
#include "models/hf/architectures.h"
#include "models/hf/config.h"
#include "models/hf/decoder.h"
#include "models/hf/nemotron_h_names.h"

namespace models {
namespace {

constexpr std::string_view kModelTypes[] = {"nemotron_h"};
constexpr std::string_view kClasses[] = {"NemotronHForCausalLM", "NemotronHModel"};

enum class Block { kMamba, kAttention, kMlp, kExperts };

// The words of transformers 5, those that it had before, and the characters of the releases.
struct Spelling {
  Block block;
  std::string_view word, former_word, character;
};
constexpr Spelling kSpellings[] = {{Block::kMamba, "linear_attention", "mamba", "M"},
                                   {Block::kAttention, "full_attention", "attention", "*"},
                                   {Block::kMlp, "mlp", "mlp", "-"},
                                   {Block::kExperts, "moe", "moe", "E"}};

Block block_of(const Settings& config, std::string_view setting, std::string_view text) {
  for (const Spelling& known : kSpellings) {
    if (text == known.word || text == known.former_word || text == known.character) {
      return known.block;
    }
  }
  config.not_supported(setting, fmt::format("'{}' is not computed here", bridge::printable(text)));
}

std::vector<Block> blocks_of_words(const Settings& config, std::string_view setting) {
  std::vector<Block> blocks;
  for (const std::string& word : config.texts(setting)) {
    blocks.push_back(block_of(config, setting, word));
  }
  return blocks;
}

std::vector<Block> blocks_of_text(const Settings& config, std::string_view setting) {
  const std::string text = config.text_or(setting, "");
  std::vector<Block> blocks;
  for (size_t i = 0; i < text.size(); ++i) {
    blocks.push_back(block_of(config, setting, std::string_view(text).substr(i, 1)));
  }
  return blocks;
}

std::vector<Block> decoder_blocks(const Settings& config) {
  if (config.has("layers_block_type")) return blocks_of_words(config, "layers_block_type");
  if (config.has("hybrid_override_pattern")) {
    return blocks_of_text(config, "hybrid_override_pattern");
  }
  return {Block::kMamba, Block::kExperts, Block::kAttention, Block::kMlp};
}

// transformers lets the list decide, but prefers the text to a list that is only the default.
std::vector<Block> depth_blocks(const Settings& config) {
  const std::vector<Block> absent = {Block::kAttention, Block::kExperts};
  const std::vector<Block> words = config.has("mtp_layers_block_type")
                                       ? blocks_of_words(config, "mtp_layers_block_type")
                                       : absent;
  if (words != absent || !config.has("mtp_hybrid_override_pattern")) return words;
  return blocks_of_text(config, "mtp_hybrid_override_pattern");
}

// The class takes some settings under the names of Mamba's own configuration too.
int64_t integer_of(const Settings& config, std::string_view name, std::string_view other,
                   int64_t absent) {
  return config.integer_or(other, config.integer_or(name, absent));
}

double epsilon_of(const Settings& config) {
  return config.real_or("layer_norm_epsilon", 1e-5);
}

Mamba2 mamba_of(const Settings& config) {
  Mamba2 mixer;
  mixer.heads = config.integer_or("mamba_num_heads", 128);
  mixer.head_dim = config.integer_or("mamba_head_dim", 64);
  mixer.groups = integer_of(config, "n_groups", "mamba_n_groups", 8);
  mixer.state = config.integer_or("ssm_state_size", 128);
  mixer.kernel = integer_of(config, "conv_kernel", "mamba_d_conv", 4);
  mixer.eps = epsilon_of(config);
  mixer.least_step = config.real_or("mamba_dt_min", config.real_or("time_step_min", 0.001));
  return mixer;
}

GroupedAttention attention_of(const Settings& config) {
  GroupedAttention attention;
  attention.heads = config.integer_or("num_attention_heads", 32);
  attention.kv_heads = config.integer_or(
      "num_key_value_heads", config.mentions("num_key_value_heads") ? attention.heads : 8);
  attention.head_dim = config.integer_or("head_dim", config.integer_or("attention_head_dim", 128));
  return attention;
}

MixtureOfExperts experts_of(const Settings& config) {
  MixtureOfExperts mlp;
  mlp.router.score = RouterScore::kSigmoid;
  mlp.router.experts = config.integer_or("n_routed_experts", 8);
  mlp.router.chosen = config.integer_or("num_experts_per_tok", 2);
  const int64_t groups = config.integer_or("n_group", 1);
  const int64_t chosen_groups = config.integer_or("topk_group", 1);
  if (chosen_groups < groups) {  // otherwise every group is chosen
    mlp.router.groups = groups;
    mlp.router.chosen_groups = chosen_groups;
    mlp.router.ranked_by = 2;
  }
  mlp.router.selection_bias = true;
  mlp.router.normalized = config.flag_or("norm_topk_prob", true);
  mlp.router.factor = config.real_or("routed_scaling_factor", 1);
  mlp.width = config.integer_or("moe_intermediate_size", 7688);
  mlp.shared_width = config.integer_or("moe_shared_expert_intermediate_size", 7688);
  mlp.latent = config.integer_or("moe_latent_size", 0);
  mlp.activation = Activation::kSquaredRelu;
  mlp.gated = false;
  return mlp;
}

void add_block(const Settings& config, Block block, LayerConfig& layer) {
  switch (block) {
    case Block::kMamba:
      layer.attention = mamba_of(config);
      break;
    case Block::kAttention:
      layer.attention = attention_of(config);
      break;
    case Block::kMlp:
      layer.mlp = DenseMlp{config.integer_or("intermediate_size", 21504), false,
                           Activation::kSquaredRelu, /*gated=*/false};
      break;
    case Block::kExperts:
      layer.mlp = experts_of(config);
      break;
  }
}

LayerConfig layer_of(const Settings& config, const std::vector<Block>& blocks) {
  LayerConfig layer{NoAttention(), NoMlp()};
  for (const Block block : blocks) add_block(config, block, layer);
  return layer;
}

LayerConfig depth_of(const Settings& config) {
  const auto is_mlp = [](Block block) { return block == Block::kMlp || block == Block::kExperts; };
  const std::vector<Block> blocks = depth_blocks(config);
  const bool is_layer =
      blocks.size() == 1 || (blocks.size() == 2 && !is_mlp(blocks[0]) && is_mlp(blocks[1]));
  if (!is_layer) {
    config.not_supported("mtp_layers_block_type or mtp_hybrid_override_pattern",
                         "one block, or attention or Mamba-2 before an MLP or experts, is computed "
                         "here; --mtp drop leaves it out");
  }
  return layer_of(config, blocks);
}

void check_computed(const Settings& config) {
  hf_check_activation(config, "mlp_hidden_act", "relu2");
  hf_check_activation(config, "mamba_hidden_act", "silu");
  for (const std::string_view flag :
       {"use_bias", "mamba_proj_bias", "mlp_bias", "attention_bias"}) {
    if (config.flag_or(flag, false)) config.not_supported(flag, "not computed here");
  }
  for (const std::string_view flag : {"use_conv_bias", "mamba_conv_bias"}) {
    if (!config.flag_or(flag, true)) config.not_supported(flag, "computed with this bias only");
  }
  if (config.has("sliding_window")) config.not_supported("sliding_window", "not computed here");
}

ModelConfig config_of(const Settings& config, bool drop_mtp) {
  check_computed(config);
  ModelConfig model;
  model.hidden = config.integer_or("hidden_size", 4096);
  model.vocab = config.integer_or("vocab_size", 131072);
  model.tied = config.flag_or("tie_word_embeddings", false);
  model.norm = {NormKind::kScaleThenCast, epsilon_of(config)};
  for (const Block block : decoder_blocks(config)) {
    model.layers.push_back(layer_of(config, {block}));
  }
  const int64_t depths = drop_mtp ? 0 : hf_layer_count(config, "num_nextn_predict_layers", 0);
  if (depths > 0) model.mtp.assign(static_cast<size_t>(depths), depth_of(config));
  return model;
}

}  // namespace

constexpr HfArchitecture architectures::kNemotronH = {.model_types = kModelTypes,
                                                      .classes = kClasses,
                                                      .config = config_of,
                                                      .places = nemotron_h_places};

}  // namespace models
