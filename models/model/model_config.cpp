#include "models/model/model_config.h"

#include <fmt/format.h>

#include <string_view>
#include <type_traits>

#include "bridge/io/base/error.h"

namespace models {
namespace {

constexpr int64_t kLargestSize =
    1 << 24;  // of a dimension, far beyond any model; products stay within 64 bits
constexpr int64_t kMostSteps = 1024;  // of an iteration that is run as often

std::string_view name_of(NormKind kind) {
  switch (kind) {
    case NormKind::kCastThenScale:
      return "cast, then scale";
    case NormKind::kScaleThenCast:
      return "scale, then cast";
    case NormKind::kZeroCentred:
      return "zero-centred";
  }
  return "";
}

std::string_view name_of(RotaryScaling scaling) {
  switch (scaling) {
    case RotaryScaling::kNone:
      return "none";
    case RotaryScaling::kLinear:
      return "linear";
    case RotaryScaling::kLlama3:
      return "llama3";
    case RotaryScaling::kYarn:
      return "yarn";
  }
  return "";
}

std::string_view name_of(RotaryLayout layout) {
  return layout == RotaryLayout::kPairs ? "pairs" : "halves";
}

std::string_view name_of(RouterScore score) {
  switch (score) {
    case RouterScore::kSoftmax:
      return "softmax";
    case RouterScore::kSigmoid:
      return "sigmoid";
    case RouterScore::kSqrtSoftplus:
      return "root of softplus";
  }
  return "";
}

class Description {
 public:
  // Of a part of the model: its fields are named "prefix.field".
  class Part {
   public:
    Part(Description& whole, std::string prefix) : whole_(whole), prefix_(std::move(prefix)) {}

    template <typename T>
    void add(std::string_view field, const T& value) {
      std::string text;
      if constexpr (std::is_enum_v<T>) {
        text = name_of(value);
      } else {
        text = fmt::format("{}", value);  // the shortest text that reads back as the same number
      }
      whole_.fields_.emplace_back(fmt::format("{}{}", prefix_, field), std::move(text));
    }
    Part part(std::string_view name) { return {whole_, fmt::format("{}{}.", prefix_, name)}; }

   private:
    Description& whole_;
    std::string prefix_;
  };

  Part top() { return {*this, ""}; }
  std::vector<std::pair<std::string, std::string>> take() { return std::move(fields_); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

void describe_rotary(const RotaryConfig& rotary, Description::Part out) {
  out.add("channels", rotary.channels);
  out.add("layout", rotary.layout);
  out.add("base", rotary.base);
  out.add("scaling", rotary.scaling);
  out.add("factor", rotary.factor);
  out.add("original_positions", rotary.original_positions);
  out.add("low_freq_factor", rotary.low_freq_factor);
  out.add("high_freq_factor", rotary.high_freq_factor);
  out.add("beta_fast", rotary.beta_fast);
  out.add("beta_slow", rotary.beta_slow);
  out.add("round_range", rotary.round_range);
  out.add("magnitude", rotary.magnitude);
}

void describe_part(const GroupedAttention& attention, Description::Part out) {
  out.add("kind", "grouped");
  out.add("heads", attention.heads);
  out.add("kv_heads", attention.kv_heads);
  out.add("head_dim", attention.head_dim);
  out.add("qkv_bias", attention.qkv_bias);
  out.add("output_bias", attention.output_bias);
  out.add("qk_norm", attention.qk_norm);
  out.add("gated", attention.gated);
  out.add("window", attention.window);
  describe_rotary(attention.rotary, out.part("rotary"));
}

void describe_part(const LatentAttention& attention, Description::Part out) {
  out.add("kind", "latent");
  out.add("heads", attention.heads);
  out.add("q_rank", attention.q_rank);
  out.add("kv_rank", attention.kv_rank);
  out.add("nope_dim", attention.nope_dim);
  out.add("rope_dim", attention.rope_dim);
  out.add("v_dim", attention.v_dim);
  out.add("latent_eps", attention.latent_eps);
  out.add("softmax_factor", attention.softmax_factor);
  describe_rotary(attention.rotary, out.part("rotary"));
}

void describe_part(const CompressedAttention& attention, Description::Part out) {
  out.add("kind", "compressed");
  out.add("heads", attention.heads);
  out.add("head_dim", attention.head_dim);
  out.add("rope_dim", attention.rope_dim);
  out.add("q_rank", attention.q_rank);
  out.add("window", attention.window);
  out.add("output_groups", attention.output_groups);
  out.add("output_rank", attention.output_rank);
  out.add("ratio", attention.ratio);
  out.add("overlapping", attention.overlapping);
  out.add("index_heads", attention.index_heads);
  out.add("index_dim", attention.index_dim);
  out.add("index_chosen", attention.index_chosen);
  describe_rotary(attention.rotary, out.part("rotary"));
}

void describe_part(const DeltaAttention& attention, Description::Part out) {
  out.add("kind", "linear");
  out.add("key_heads", attention.key_heads);
  out.add("value_heads", attention.value_heads);
  out.add("key_dim", attention.key_dim);
  out.add("value_dim", attention.value_dim);
  out.add("kernel", attention.kernel);
}

void describe_part(const DenseMlp& mlp, Description::Part out) {
  out.add("kind", "dense");
  out.add("width", mlp.width);
  out.add("bias", mlp.bias);
}

void describe_part(const MixtureOfExperts& mlp, Description::Part out) {
  out.add("kind", "experts");
  out.add("width", mlp.width);
  out.add("shared_width", mlp.shared_width);
  out.add("shared_gated", mlp.shared_gated);
  out.add("limit", mlp.limit);
  Description::Part router = out.part("router");
  router.add("score", mlp.router.score);
  router.add("experts", mlp.router.experts);
  router.add("chosen", mlp.router.chosen);
  router.add("groups", mlp.router.groups);
  router.add("chosen_groups", mlp.router.chosen_groups);
  router.add("ranked_by", mlp.router.ranked_by);
  router.add("selection_bias", mlp.router.selection_bias);
  router.add("by_token", mlp.router.by_token);
  router.add("normalized", mlp.router.normalized);
  router.add("factor", mlp.router.factor);
}

void describe_layers(const std::vector<LayerConfig>& layers, Description::Part out) {
  for (size_t i = 0; i < layers.size(); ++i) {
    Description::Part layer = out.part(std::to_string(i));
    std::visit([&](const auto& kind) { describe_part(kind, layer.part("attention")); },
               layers[i].attention);
    std::visit([&](const auto& kind) { describe_part(kind, layer.part("mlp")); }, layers[i].mlp);
  }
}

void check_size(std::string_view what, int64_t value, int64_t at_least = 1,
                int64_t at_most = kLargestSize) {
  if (value < at_least || value > at_most) {
    bridge::bad_input(fmt::format("{} is {}, not in {} to {}", what, value, at_least, at_most));
  }
}

void check_rotary(const RotaryConfig& rotary, int64_t most) {
  check_size("the number of rotated channels", rotary.channels);
  if (rotary.channels % 2 != 0 || rotary.channels > most) {
    bridge::bad_input(fmt::format("{} rotated channels of {}, not an even number of them",
                                  rotary.channels, most));
  }
  if (!(rotary.base > 1)) bridge::bad_input(fmt::format("the rotary base is {}", rotary.base));
  if (!(rotary.factor > 0)) {
    bridge::bad_input(fmt::format("the factor of the rotary scaling is {}", rotary.factor));
  }
  const bool has_range =
      rotary.scaling == RotaryScaling::kLlama3 || rotary.scaling == RotaryScaling::kYarn;
  if (has_range) check_size("the number of original positions", rotary.original_positions);
}

void check_part(const GroupedAttention& attention) {
  check_size("the number of heads", attention.heads);
  check_size("the number of key/value heads", attention.kv_heads);
  check_size("the size of a head", attention.head_dim);
  if (attention.heads % attention.kv_heads != 0) {
    bridge::bad_input(fmt::format("{} heads cannot share {} key/value heads", attention.heads,
                                  attention.kv_heads));
  }
  check_size("the attention window", attention.window, 0);
  check_rotary(attention.rotary, attention.head_dim);
}

void check_part(const LatentAttention& attention) {
  check_size("the number of heads", attention.heads);
  check_size("the rank of the queries", attention.q_rank, 0);
  check_size("the rank of keys and values", attention.kv_rank);
  check_size("the number of unrotated channels", attention.nope_dim);
  check_size("the size of a value head", attention.v_dim);
  check_rotary(attention.rotary, attention.rope_dim);
}

void check_part(const CompressedAttention& attention) {
  check_size("the number of heads", attention.heads);
  check_size("the size of a head", attention.head_dim);
  check_size("the rank of the queries", attention.q_rank);
  check_size("the attention window", attention.window);
  check_size("the number of output groups", attention.output_groups);
  check_size("the rank of an output group", attention.output_rank);
  if (attention.heads * attention.head_dim % attention.output_groups != 0) {
    bridge::bad_input(fmt::format("{} heads of {} do not make {} equal output groups",
                                  attention.heads, attention.head_dim, attention.output_groups));
  }
  check_size("the compression ratio", attention.ratio, 0);
  check_size("the number of index heads", attention.index_heads, 0);
  if (attention.index_heads > 0) {
    check_size("the size of an index head", attention.index_dim, attention.rope_dim);
    check_size("the number of summaries that the index chooses", attention.index_chosen);
  }
  if (attention.rotary.channels != attention.rope_dim) {
    bridge::bad_input(fmt::format("{} rotated channels, the heads have {}",
                                  attention.rotary.channels, attention.rope_dim));
  }
  check_rotary(attention.rotary, attention.head_dim);
}

void check_part(const DeltaAttention& attention) {
  check_size("the number of linear key heads", attention.key_heads);
  check_size("the number of linear value heads", attention.value_heads);
  check_size("the size of a linear key head", attention.key_dim);
  check_size("the size of a linear value head", attention.value_dim);
  check_size("the size of the convolution", attention.kernel);
  if (attention.value_heads % attention.key_heads != 0) {
    bridge::bad_input(fmt::format("{} linear value heads cannot share {} key heads",
                                  attention.value_heads, attention.key_heads));
  }
}

void check_part(const DenseMlp& mlp) {
  check_size("the size of the MLP", mlp.width);
}

void check_part(const MixtureOfExperts& mlp) {
  const RouterConfig& router = mlp.router;
  check_size("the size of an expert", mlp.width);
  check_size("the size of the shared experts", mlp.shared_width, 0);
  check_size("the number of experts", router.experts);
  check_size("the number of expert groups", router.groups);
  if (router.experts % router.groups != 0) {
    bridge::bad_input(
        fmt::format("{} experts do not make {} equal groups", router.experts, router.groups));
  }
  if (!(mlp.limit >= 0)) bridge::bad_input(fmt::format("the experts' limit is {}", mlp.limit));
  const int64_t group_size = router.experts / router.groups;
  if (router.chosen_groups < 1 || router.chosen_groups > router.groups) {
    bridge::bad_input(fmt::format("{} of {} expert groups cannot be chosen", router.chosen_groups,
                                  router.groups));
  }
  if (router.ranked_by < 0 || router.ranked_by > group_size) {
    bridge::bad_input(fmt::format("a group of {} experts cannot be ranked by its best {}",
                                  group_size, router.ranked_by));
  }
  if (router.chosen < 1 || router.chosen > router.chosen_groups * group_size) {
    bridge::bad_input(fmt::format("{} experts a token cannot be chosen from {}", router.chosen,
                                  router.chosen_groups * group_size));
  }
}

}  // namespace

int64_t part_of(int64_t size, double part) {
  const bool is_sane = 0 <= size && size <= kLargestSize && 0 <= part && part <= 1;
  return is_sane ? static_cast<int64_t>(static_cast<double>(size) * part) : 0;
}

std::vector<std::pair<std::string, std::string>> describe(const ModelConfig& config) {
  Description description;
  Description::Part top = description.top();
  top.add("hidden", config.hidden);
  top.add("vocab", config.vocab);
  top.add("tied", config.tied);
  top.add("norm.kind", config.norm.kind);
  top.add("norm.eps", config.norm.eps);
  top.add("hyper.streams", config.hyper.streams);
  top.add("hyper.steps", config.hyper.steps);
  top.add("hyper.eps", config.hyper.eps);
  top.add("layers", config.layers.size());
  top.add("mtp", config.mtp.size());
  describe_layers(config.layers, top.part("layers"));
  describe_layers(config.mtp, top.part("mtp"));
  if (config.vision) {
    Description::Part vision = top.part("vision");
    for (const auto& [field, size] : describe(*config.vision)) vision.add(field, size);
  }
  return description.take();
}

void check(const ModelConfig& config) {
  check_size("the hidden size", config.hidden);
  check_size("the vocabulary", config.vocab);
  if (!(config.norm.eps > 0)) {
    bridge::bad_input(fmt::format("the epsilon of the norms is {}", config.norm.eps));
  }
  check_size("the number of residual streams", config.hyper.streams, 0);
  if (config.hyper.streams > 0) {
    check_size("the number of Sinkhorn steps", config.hyper.steps, 1, kMostSteps);
    if (!(config.hyper.eps > 0)) {
      bridge::bad_input(fmt::format("the epsilon of the residual streams is {}", config.hyper.eps));
    }
  }
  for (const std::vector<LayerConfig>* layers : {&config.layers, &config.mtp}) {
    if (std::ssize(*layers) > kMostLayers) {
      bridge::bad_input(fmt::format("{} layers, more than {}", layers->size(), kMostLayers));
    }
    for (const LayerConfig& layer : *layers) {
      std::visit([](const auto& kind) { check_part(kind); }, layer.attention);
      std::visit([](const auto& kind) { check_part(kind); }, layer.mlp);
    }
  }
  if (config.layers.empty()) bridge::bad_input("no layers");
  if (config.vision) check(*config.vision);
}

}  // namespace models
