#include "bridge/convert/match/key_naming.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <span>

#include "bridge/convert/match/hybrid_keys.h"

namespace bridge {
namespace {

bool can_stack(const mappings::Family* family) {
  return family != nullptr && !family->mtp && family->megatron.ends_with(".{l}");
}

// "decoder.layers.3.mlp.x" -> "decoder.layers.mlp.x".
std::string without_layer(const mappings::Family& family, int64_t layer, std::string_view name) {
  const std::string_view stem(family.megatron.data(), family.megatron.size() - 3);  // drops "{l}"
  const size_t index_size = std::to_string(layer).size();
  return fmt::format("{}{}", stem, name.substr(stem.size() + index_size + 1));
}

// "….experts.5.linear_fc1.weight" -> "….experts.linear_fc1.weight". In the names of a table, no
// number follows the expert's.
std::string without_expert(int64_t expert, const std::string& name) {
  const std::string component = fmt::format(".{}.", expert);
  const size_t at = name.rfind(component);
  if (at == std::string::npos) internal_error("an expert's tensor without its number");
  return name.substr(0, at) + name.substr(at + component.size() - 1);
}

// The key of a logical tensor or module in one of its forms: layers stacked or not, experts
// gathered or not.
template <typename Indexed>
WrittenKey key_of(const Indexed& item, const std::string& name, bool stacked, bool gathered) {
  WrittenKey written{name, {}};
  if (stacked) {
    written.key = without_layer(*item.family, item.layer, name);
    written.axes.add(item.layer, item.layer_count);
  }
  if (gathered) {
    written.key = without_expert(item.expert, written.key);
    written.axes.add(item.expert, item.expert_count);
  }
  return written;
}

// A tensor found under one key: its bytes, dtype and shape.
struct Piece {
  RawStretch stretch;
  Dtype dtype;
  Shape shape;
};

Piece piece_of(const MegatronFolder& folder, const DcpTensor& raw, const LeadingAxes& axes,
               bool stacked) {
  int64_t parts = 1;
  int64_t part = 0;
  for (size_t i = 0; i < static_cast<size_t>(axes.count); ++i) {
    const int64_t found = i < raw.shape.size() ? raw.shape[i] : 0;
    if (found != axes.size[i]) {
      bad_input(i == 0 && stacked
                    ? fmt::format("{}: stacked over {} layers where the configuration has {}",
                                  printable(raw.key), found, axes.size[i])
                    : fmt::format("{}: {} experts where the configuration has {}",
                                  printable(raw.key), found, axes.size[i]));
    }
    parts = checked_mul(parts, found);
    part = part * found + axes.index[i];
  }
  const int64_t bytes = byte_size(raw.dtype, raw.shape) / parts;
  const auto index = static_cast<int32_t>(&raw - folder.metadata.tensors.data());
  return {{index, part * bytes, bytes},
          raw.dtype,
          Shape(raw.shape.begin() + axes.count, raw.shape.end())};
}

std::optional<Piece> find_piece(const MegatronFolder& folder, const mappings::LogicalTensor& tensor,
                                const KeyLookup& lookup, const std::string& name) {
  std::optional<Piece> piece;
  std::string found_as;
  const bool stackable = can_stack(tensor.family);
  for (const bool stacked : {false, true}) {
    if (stacked ? !stackable || !lookup.stacked : stackable && !lookup.per_layer) continue;
    for (const bool gathered : {false, true}) {
      if (gathered && tensor.expert < 0) continue;
      WrittenKey form = key_of(tensor, name, stacked, gathered);
      form.key.insert(0, lookup.prefix);
      const DcpTensor* raw = folder.find(form.key);
      if (raw == nullptr) continue;
      if (piece) {
        bad_input(fmt::format("{}: the same tensor is there twice, also as {}", printable(form.key),
                              printable(found_as)));
      }
      piece = piece_of(folder, *raw, form.axes, stacked);
      found_as = std::move(form.key);
    }
  }
  return piece;
}

// Finds [gate; up] that metadata['singleton_local_shards'] wrote as two keys.
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

// Finds the parts of a tensor under its name with suffixes. Only some of the parts, or parts with
// other rows, are bad input.
std::optional<FoundTensor> find_split(const MegatronFolder& folder,
                                      const mappings::LogicalTensor& tensor,
                                      const KeyLookup& lookup, const std::string& name) {
  std::vector<Piece> pieces;
  std::string missing;
  for (const mappings::SplitPart& part : tensor.numbers.split) {
    if (const auto piece = find_piece(folder, tensor, lookup, name + part.suffix)) {
      pieces.push_back(*piece);
    } else {
      missing = name + part.suffix;
    }
  }
  if (pieces.empty()) return std::nullopt;
  if (!missing.empty()) {
    bad_input(fmt::format("{}{}: missing, where other parts of {} are there",
                          printable(lookup.prefix), printable(missing), printable(name)));
  }
  FoundTensor found{{}, pieces[0].dtype, pieces[0].shape};
  int64_t rows = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const mappings::SplitPart& part = tensor.numbers.split[i];
    Shape expected = pieces[0].shape;
    if (!expected.empty()) expected[0] = part.rows;
    if (piece.dtype != found.dtype || piece.shape != expected || piece.shape.empty()) {
      bad_input(fmt::format("{}{}{}: {} {}, beside the other parts it should be {} {}",
                            printable(lookup.prefix), printable(name), part.suffix,
                            safetensors_name(piece.dtype), shape_text(piece.shape),
                            safetensors_name(found.dtype), shape_text(expected)));
    }
    rows = checked_add(rows, part.rows);
    found.stretches.push_back(piece.stretch);
  }
  found.shape[0] = rows;
  return found;
}

}  // namespace

WrittenKey written_key(const mappings::LogicalTensor& tensor, const std::string& name,
                       const KeyStyle& style) {
  WrittenKey written =
      key_of(tensor, name, !style.per_layer && can_stack(tensor.family), tensor.expert >= 0);
  if (style.hybrid) written.key = hybrid_key(written.key);
  written.key.insert(0, style.prefix);
  return written;
}

std::string extra_state_key(const mappings::ExtraStateModule& module, const KeyStyle& style) {
  // "_extra_state" is the last component, so that an expert's number never is.
  WrittenKey written = key_of(module, module.module + "._extra_state",
                              !style.per_layer && can_stack(module.family), module.expert >= 0);
  if (style.hybrid) written.key = hybrid_key(written.key);
  const LeadingAxes& axes = written.axes;
  if (axes.count == 0) return fmt::format("{}{}/shard_0_1", style.prefix, written.key);
  const auto used = static_cast<size_t>(axes.count);
  return fmt::format("{}{}/shard_{}_{}", style.prefix, written.key,
                     fmt::join(std::span(axes.index).first(used), "."),
                     fmt::join(std::span(axes.size).first(used), "."));
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
    if (!tensor.row->split.empty()) {
      take(find_split(folder, tensor, lookup, name), name);
      continue;
    }
    if (auto piece = find_piece(folder, tensor, lookup, name)) {
      take(FoundTensor{{piece->stretch}, piece->dtype, piece->shape}, name);
    }
    if (tensor.row->gated) take(find_singleton(folder, tensor, lookup, name), name + "_w/_v");
  }
  return found;
}

std::string detect_prefix(const MegatronFolder& folder, const std::optional<std::string>& asked) {
  // The modules of the text model by their first word ("decoder"), each with a key for messages.
  // Modules of other parts have no prefix.
  std::map<std::string_view, std::string_view> prefixed;
  const auto module_of = [](std::string_view key) { return key.substr(0, key.find('.')); };
  for (const DcpTensor& tensor : folder.metadata.tensors) {
    if (!tensor.key.starts_with(kLanguageModel)) continue;
    const std::string_view key = tensor.key;
    prefixed.emplace(module_of(key.substr(kLanguageModel.size())), key);
  }
  const auto& tensors = folder.metadata.tensors;
  const auto plain = std::find_if(tensors.begin(), tensors.end(), [&](const DcpTensor& tensor) {
    return prefixed.contains(module_of(tensor.key));
  });
  const std::string where = printable(folder.dist_dir.string());
  if (!asked && plain != tensors.end()) {
    bad_input(fmt::format("{}: keys with and without {}: {} and {}", where, kLanguageModel,
                          printable(prefixed.at(module_of(plain->key))), printable(plain->key)),
              "two text models in one checkpoint; --name-prefix says which one counts");
  }
  const bool is_there =
      !asked || (asked->empty() ? prefixed.empty() || plain != tensors.end() : !prefixed.empty());
  if (!is_there) {
    bad_input(fmt::format("{}: {} of the text model's keys begin with {}, other than --name-prefix "
                          "says",
                          where, prefixed.empty() ? "none" : "all", kLanguageModel),
              "leave the option out: the keys say it");
  }
  return asked.value_or(std::string(prefixed.empty() ? "" : kLanguageModel));
}

}  // namespace bridge
