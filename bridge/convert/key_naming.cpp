#include "bridge/convert/key_naming.h"

#include <fmt/format.h>

#include <algorithm>

namespace bridge {
namespace {

constexpr std::string_view kLanguageModel = "language_model.";

bool can_stack(const mappings::Family* family) {
  return family != nullptr && family->megatron.ends_with(".{l}");
}

// "decoder.layers.3.mlp.x" -> "decoder.layers.mlp.x".
std::string without_layer(const mappings::Family& family, int64_t layer, std::string_view name) {
  const std::string_view stem(family.megatron.data(), family.megatron.size() - 3);  // drops "{l}"
  const size_t index_size = std::to_string(layer).size();
  return fmt::format("{}{}", stem, name.substr(stem.size() + index_size + 1));
}

RawStretch whole(const MegatronFolder& folder, const DcpTensor& raw) {
  return {static_cast<int32_t>(&raw - folder.metadata.tensors.data()), 0,
          byte_size(raw.dtype, raw.shape)};
}

// One key in its per-layer or stacked form; appends its stretch and says what it looks like.
struct Piece {
  RawStretch stretch;
  Dtype dtype;
  Shape shape;
};

std::optional<Piece> find_piece(const MegatronFolder& folder, const mappings::LogicalTensor& tensor,
                                const KeyLookup& lookup, const std::string& name) {
  std::optional<Piece> piece;
  const bool stackable = can_stack(tensor.family);
  const DcpTensor* raw = nullptr;
  if (lookup.per_layer || !stackable) raw = folder.find(fmt::format("{}{}", lookup.prefix, name));
  if (raw != nullptr) {
    piece = Piece{whole(folder, *raw), raw->dtype, raw->shape};
  }
  if (!stackable || !lookup.stacked) return piece;

  const std::string key =
      fmt::format("{}{}", lookup.prefix, without_layer(*tensor.family, tensor.layer, name));
  raw = folder.find(key);
  if (raw == nullptr) return piece;
  if (piece)
    bad_input(fmt::format("{}: both this key and its per-layer form are there", printable(key)));
  if (raw->shape.empty() || raw->shape[0] != tensor.layer_count) {
    bad_input(fmt::format("{}: stacked over {} layers where the configuration has {}",
                          printable(key), raw->shape.empty() ? 0 : raw->shape[0],
                          tensor.layer_count));
  }
  const int64_t bytes = byte_size(raw->dtype, raw->shape) / tensor.layer_count;
  RawStretch stretch = whole(folder, *raw);
  stretch.begin = tensor.layer * bytes;
  stretch.length = bytes;
  return Piece{stretch, raw->dtype, Shape(raw->shape.begin() + 1, raw->shape.end())};
}

// [gate; up] written as two keys by metadata['singleton_local_shards'].
std::optional<FoundTensor> find_singleton(const MegatronFolder& folder,
                                          const mappings::LogicalTensor& tensor,
                                          const KeyLookup& lookup, const std::string& name) {
  const auto gate = find_piece(folder, tensor, lookup, name + "_w");
  const auto up = find_piece(folder, tensor, lookup, name + "_v");
  if (!gate || !up) return std::nullopt;
  if (gate->dtype != up->dtype || gate->shape != up->shape || gate->shape.empty()) {
    bad_input(fmt::format("{}{}_w and _v differ: {} and {}", printable(lookup.prefix),
                          printable(name), shape_text(gate->shape), shape_text(up->shape)));
  }
  FoundTensor found{{gate->stretch, up->stretch}, gate->dtype, gate->shape};
  found.shape[0] = checked_mul(found.shape[0], 2);
  return found;
}

}  // namespace

WrittenKey written_key(const mappings::LogicalTensor& tensor, const std::string& name,
                       const KeyStyle& style) {
  if (style.per_layer || !can_stack(tensor.family)) return {style.prefix + name, false};
  return {style.prefix + without_layer(*tensor.family, tensor.layer, name), true};
}

std::string extra_state_key(const mappings::ExtraStateModule& module, const KeyStyle& style) {
  if (style.per_layer || !can_stack(module.family)) {
    return fmt::format("{}{}._extra_state/shard_0_1", style.prefix, module.module);
  }
  return fmt::format("{}{}._extra_state/shard_{}_{}", style.prefix,
                     without_layer(*module.family, module.layer, module.module), module.layer,
                     module.layer_count);
}

std::optional<FoundTensor> find_tensor(const MegatronFolder& folder,
                                       const mappings::LogicalTensor& tensor,
                                       const KeyLookup& lookup) {
  std::optional<FoundTensor> found;
  std::string found_as;
  const auto take = [&](std::optional<FoundTensor> candidate, const std::string& name) {
    if (!candidate) return;
    if (found) {
      bad_input(fmt::format("{}: the same tensor is there twice, also as {}", printable(name),
                            printable(found_as)));
    }
    found = std::move(candidate);
    found_as = name;
  };
  std::vector<std::string> names = {tensor.name};
  names.insert(names.end(), tensor.aliases.begin(), tensor.aliases.end());
  for (const std::string& name : names) {
    if (auto piece = find_piece(folder, tensor, lookup, name)) {
      take(FoundTensor{{piece->stretch}, piece->dtype, piece->shape}, name);
    }
    if (tensor.row->gated) take(find_singleton(folder, tensor, lookup, name), name + "_w/_v");
  }
  return found;
}

std::string detect_prefix(const MegatronFolder& folder) {
  const auto& tensors = folder.metadata.tensors;
  const bool prefixed = std::any_of(tensors.begin(), tensors.end(), [](const DcpTensor& tensor) {
    return tensor.key.starts_with(kLanguageModel);
  });
  return prefixed ? std::string(kLanguageModel) : std::string();
}

}  // namespace bridge
