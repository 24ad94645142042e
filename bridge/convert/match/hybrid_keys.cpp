#include "bridge/convert/match/hybrid_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <utility>

#include "bridge/convert/match/key_naming.h"
#include "bridge/io/base/error.h"

namespace bridge {
namespace {

constexpr std::string_view kLayers = "decoder.layers.";
constexpr std::string_view kGptNorm = "decoder.final_layernorm.";
constexpr std::string_view kHybridNorm = "decoder.final_norm.";
constexpr std::string_view kMamba = ".mixer.";

struct InLayer {
  int64_t number;
  std::string_view rest;  // "mlp.linear_fc1.weight"

  bool is_of_mlp() const {
    return rest.starts_with("mlp.") || rest.starts_with("pre_mlp_layernorm.");
  }
  // No block of a HybridModel has one.
  bool is_norm_of_result() const {
    return rest.find("post_self_attn_layernorm.") != std::string_view::npos ||
           rest.find("post_mlp_layernorm.") != std::string_view::npos ||
           rest.find("post_layernorm.") != std::string_view::npos;
  }
};

std::optional<InLayer> in_layer(std::string_view key) {
  if (!key.starts_with(kLayers)) return std::nullopt;
  key.remove_prefix(kLayers.size());
  int64_t number = 0;
  const char* const end = key.data() + key.size();
  const auto [stop, error] = std::from_chars(key.data(), end, number);
  if (error != std::errc() || number < 0 || stop == end || *stop != '.') return std::nullopt;
  return InLayer{number, key.substr(static_cast<size_t>(stop - key.data()) + 1)};
}

// Names what a GPTModel of these keys does not have; empty: the key is of none of it.
std::string_view foreign_block(std::string_view key) {
  const auto has = [&](std::string_view part) { return key.find(part) != std::string_view::npos; };
  if (key.starts_with("mtp.")) return "multi-token prediction";
  if (has(".core_attention.indexer.")) return "DeepSeek sparse attention (DSA)";
  if (has(".self_attention.in_proj.")) return "Gated DeltaNet (GDN)";
  if (has(".self_attention.linear_kv_down_proj.") || has(".self_attention.linear_qkv_down_proj.")) {
    return "multi-head latent attention (MLA)";
  }
  return {};
}

[[noreturn]] void refuse(const MegatronFolder& folder, std::string_view key,
                         std::string_view what) {
  unsupported(
      fmt::format(
          "{}: {}: keys of megatron-core's HybridModel with {}: only pairs of attention and "
          "MLP are read",
          printable(folder.dist_dir.string()), printable(key), what),
      "save the model as a GPTModel: its keys start with decoder.layers.N.self_attention");
}

// key: one of a HybridModel.
std::string gpt_key(const MegatronFolder& folder, std::string_view key) {
  if (const std::string_view what = foreign_block(key); !what.empty()) refuse(folder, key, what);
  if (key.starts_with(kHybridNorm)) {
    return fmt::format("{}{}", kGptNorm, key.substr(kHybridNorm.size()));
  }
  const std::optional<InLayer> layer = in_layer(key);
  if (!layer) return std::string(key);
  if (layer->is_of_mlp() != (layer->number % 2 == 1)) {
    refuse(folder, key, "layers in another order");
  }
  return fmt::format("{}{}.{}", kLayers, layer->number / 2, layer->rest);
}

std::string_view prefix_of(std::string_view key) {
  return key.starts_with(kLanguageModel) ? kLanguageModel : std::string_view();
}

// Returns a key of Mamba-2; nullptr: there is none.
const std::string* key_of_mamba(const MegatronFolder& folder) {
  const std::vector<DcpTensor>& tensors = folder.metadata.tensors;
  const auto found = std::find_if(tensors.begin(), tensors.end(), [](const DcpTensor& tensor) {
    return tensor.key.find(kMamba) != std::string::npos;
  });
  return found == tensors.end() ? nullptr : &found->key;
}

void use_gpt_keys(MegatronFolder& folder) {
  std::vector<DcpTensor>& tensors = folder.metadata.tensors;
  const bool hybrid = std::any_of(tensors.begin(), tensors.end(), [](const DcpTensor& tensor) {
    const std::string_view key = tensor.key;
    return key.substr(prefix_of(key).size()).starts_with(kHybridNorm);
  });
  if (!hybrid || key_of_mamba(folder) != nullptr) return;
  for (DcpTensor& tensor : tensors) {
    const std::string_view key = tensor.key;
    const std::string_view prefix = prefix_of(key);
    tensor.key = fmt::format("{}{}", prefix, gpt_key(folder, key.substr(prefix.size())));
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const DcpTensor& a, const DcpTensor& b) { return a.key < b.key; });
  const auto twice =
      std::adjacent_find(tensors.begin(), tensors.end(),
                         [](const DcpTensor& a, const DcpTensor& b) { return a.key == b.key; });
  if (twice != tensors.end()) refuse(folder, twice->key, "the keys of a GPTModel beside them");
}

}  // namespace

std::string hybrid_key(const std::string& gpt) {
  if (gpt.starts_with(kGptNorm)) {
    return fmt::format("{}{}", kHybridNorm, std::string_view(gpt).substr(kGptNorm.size()));
  }
  const std::optional<InLayer> layer = in_layer(gpt);
  if (!layer) return gpt;
  if (layer->is_norm_of_result()) {
    unsupported(fmt::format("--layout hybrid does not cover norms of results ({})", printable(gpt)),
                "leave the option out: GPTModel's layout has them");
  }
  return fmt::format("{}{}.{}", kLayers, 2 * layer->number + (layer->is_of_mlp() ? 1 : 0),
                     layer->rest);
}

void refuse_mamba_unless_in(const mappings::Table& table, const MegatronFolder& folder) {
  const std::string* const key = key_of_mamba(folder);
  const bool known = std::any_of(table.rows.begin(), table.rows.end(), [](const auto& row) {
    return row.megatron.find(kMamba) != std::string::npos;
  });
  if (key == nullptr || known) return;
  unsupported(fmt::format("{}: {}: a key of megatron-core's HybridModel with Mamba, which table {} "
                          "does not have",
                          printable(folder.dist_dir.string()), printable(*key), table.file),
              "export it with the config.json of such a model (--reference)");
}

MegatronFolder open_with_gpt_keys(FileSystem& fs, const Path& path, std::string_view iteration,
                                  MemoryBudget& budget) {
  MegatronFolder folder = open_megatron(fs, path, iteration, budget);
  use_gpt_keys(folder);
  return folder;
}

}  // namespace bridge
