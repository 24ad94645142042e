// Describes a configuration: every field of the lists in config_fields.h, by name.
//   1. A field that is a struct puts its own name before those of its fields ("rotary.base").
//   2. A list appears with its length in its place.
//   3. After all other fields come the entries of lists, by number ("layers.3.attention.heads"),
//      and the parts that only some models have.
#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "models/model/config_fields.h"

namespace models {
namespace {

std::string_view name_of(NormKind kind) {
  switch (kind) {
    case NormKind::kCastThenScale:
      return "cast, then scale";
    case NormKind::kScaleThenCast:
      return "scale, then cast";
    case NormKind::kZeroCentred:
      return "zero-centred";
    case NormKind::kLayer:
      return "layer";
    case NormKind::kLayerZeroCentred:
      return "layer, zero-centred";
  }
  return "";
}

std::string_view name_of(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return "silu";
    case Activation::kGeluTanh:
      return "gelu with tanh";
    case Activation::kSquaredRelu:
      return "squared relu";
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

std::string_view name_of(HyperDialect dialect) {
  return dialect == HyperDialect::kMegatronMain ? "Megatron-LM main" : "DeepSeek";
}

template <typename T>
struct IsList : std::false_type {};
template <typename T>
struct IsList<std::vector<T>> : std::true_type {};
template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};

class Description {
 public:
  // prefix: "" or "rotary.".
  template <typename T>
  void add_fields(const std::string& prefix, const T& owner) {
    if (!kKind<T>.empty()) add_text(prefix + "kind", std::string(kKind<T>));
    for_each_field(owner, kFields<T>, [&](std::string_view name, const auto& value) {
      add(fmt::format("{}{}", prefix, name), value);
    });
    for_each_field(owner, kFields<T>, [&](std::string_view name, const auto& value) {
      add_contents(fmt::format("{}{}", prefix, name), value);
    });
  }
  std::vector<std::pair<std::string, std::string>> take() { return std::move(fields_); }

 private:
  template <typename T>
  void add(std::string name, const T& value) {
    if constexpr (std::is_enum_v<T>) {
      add_text(std::move(name), std::string(name_of(value)));
    } else if constexpr (std::is_arithmetic_v<T>) {
      // The shortest text that reads back as the same number.
      add_text(std::move(name), fmt::format("{}", value));
    } else if constexpr (IsList<T>::value) {
      add_text(std::move(name), fmt::format("{}", value.size()));
    } else if constexpr (!IsOptional<T>::value) {
      add_fields(name + ".", value);
    }
  }
  template <typename... Kinds>
  void add(std::string name, const std::variant<Kinds...>& value) {
    std::visit([&](const auto& kind) { add_fields(name + ".", kind); }, value);
  }

  template <typename T>
  void add_contents(const std::string& name, const T& value) {
    if constexpr (IsList<T>::value) {
      for (size_t i = 0; i < value.size(); ++i) {
        add_fields(fmt::format("{}.{}.", name, i), value[i]);
      }
    } else if constexpr (IsOptional<T>::value) {
      if (value) add_fields(name + ".", *value);
    }
  }

  void add_text(std::string name, std::string text) {
    fields_.emplace_back(std::move(name), std::move(text));
  }

  std::vector<std::pair<std::string, std::string>> fields_;
};

template <typename T>
std::vector<std::pair<std::string, std::string>> description_of(const T& owner) {
  Description description;
  description.add_fields("", owner);
  return description.take();
}

}  // namespace

std::vector<std::pair<std::string, std::string>> describe(const ModelConfig& config) {
  return description_of(config);
}

std::vector<std::pair<std::string, std::string>> describe(const VisionTower& tower) {
  return description_of(tower);
}

}  // namespace models
