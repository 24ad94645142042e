// The ways in which one configuration has weights quantized: entries of "quantization" whose
// conditions hold, those for groups once for each group.
#include <fmt/format.h>

#include <set>

#include "bridge/io/base/error.h"
#include "mappings/binding/binding.h"
#include "mappings/binding/notice_text.h"

namespace mappings {
namespace {

using bridge::bad_input;
using bridge::printable;
using bridge::with_context;

constexpr int64_t kLargestBlock = 512 * 512;  // elements

// Returns nothing if the weight's name lacks its suffix.
std::optional<std::string> with_suffix(const Quantization& quantization, std::string_view weight,
                                       const std::string& suffix) {
  if (!weight.ends_with(quantization.weight)) return std::nullopt;
  weight.remove_suffix(quantization.weight.size());
  return std::string(weight) + suffix;
}

BlockScheme scheme_of(const Quantization& entry, int32_t group, const Scope& scope) {
  BlockScheme scheme{&entry, 0, 0, entry.power_of_two.evaluate_bool(scope), group};
  if (entry.per != ScalePer::kBlock) return scheme;
  with_context("quantization blocks", [&] {
    scheme.block_rows = entry.block_rows.evaluate_int(scope);
    scheme.block_columns = entry.block_columns.evaluate_int(scope);
  });
  // All threads work on one block as a whole, so its size is bounded.
  if (scheme.block_rows <= 0 || scheme.block_columns <= 0 ||
      scheme.block_rows > kLargestBlock / scheme.block_columns) {
    bad_input(fmt::format("quantization blocks of {} x {} (1 to {} elements)", scheme.block_rows,
                          scheme.block_columns, kLargestBlock));
  }
  return scheme;
}

}  // namespace

// Calls fn(scope, number) for every group of the configuration; the scope has its variables.
template <typename Fn>
void Binding::for_each_quantization_group(const Fn& fn) const {
  if (!table_->quantization_groups) return;
  const QuantizationGroups& groups = *table_->quantization_groups;
  const Json found = groups.groups.evaluate(scope_);
  if (!found.is_object()) return;  // bind_quantization_targets() refuses what is no object
  Scope scope = scope_;
  int32_t number = 0;
  for (const auto& [name, group] : found.items()) {
    scope.variables.resize(scope_.variables.size());
    scope.variables.emplace_back("group", group);
    for (const auto& [value, expr] : groups.values) {
      scope.variables.emplace_back(value, expr.evaluate(scope));
    }
    fn(scope, number++);
  }
}

void Binding::bind_quantization_targets() {
  if (!table_->quantization_groups) return;
  const QuantizationGroups& groups = *table_->quantization_groups;
  with_context(kConfigFile, [&] {
    const Json found = groups.groups.evaluate(scope_);
    if (found.is_null()) return;
    with_context("quantization_config", [&] {
      quantization_targets_ =
          std::make_shared<const QuantizationTargets>(found, groups.ignore.evaluate(scope_));
    });
  });
  for_each_quantization_group([&](const Scope& scope, int32_t) {
    for (const Notice& notice : groups.refuse) refuse_if_it_holds(notice, scope);
  });
}

void Binding::bind_block_schemes() {
  const auto bind = [&](bool grouped, int32_t group, const Scope& scope) {
    std::set<bridge::Dtype> stored;
    for (const Quantization& entry : table_->quantization) {
      if (entry.grouped != grouped || !entry.when.evaluate_bool(scope)) continue;
      if (!stored.insert(entry.stored).second) {
        bad_input(fmt::format("{}: two entries of quantization for {}", printable(table_->file),
                              bridge::safetensors_name(entry.stored)));
      }
      block_schemes_.push_back(scheme_of(entry, group, scope));
    }
  };
  bind(false, QuantizationTargets::kNone, scope_);
  for_each_quantization_group([&](const Scope& scope, int32_t group) { bind(true, group, scope); });
}

std::optional<std::string> BlockScheme::scale_name(std::string_view weight_name) const {
  return with_suffix(*quantization, weight_name, quantization->scale);
}

std::optional<std::string> BlockScheme::stored_name(std::string_view weight_name) const {
  return with_suffix(*quantization, weight_name, quantization->packed);
}

std::vector<std::string> BlockScheme::names_beside(std::string_view weight_name) const {
  std::vector<std::string> names;
  for (const std::string& suffix : quantization->beside) {
    if (auto name = with_suffix(*quantization, weight_name, suffix)) {
      names.push_back(*std::move(name));
    }
  }
  return names;
}

bool BlockScheme::fits(const bridge::Shape& weight_shape) const {
  const bool has_blocks_of_a_row = quantization->per == ScalePer::kBlock && block_rows == 1;
  return weight_shape.size() == 2 || (weight_shape.size() > 2 && has_blocks_of_a_row);
}

std::optional<bridge::Shape> BlockScheme::stored_shape(bridge::Shape weight_shape) const {
  const int per_element =
      bridge::bits_of(quantization->stored) / bridge::bits_of(quantization->dtype);
  if (weight_shape.empty() || weight_shape.back() % per_element != 0) return std::nullopt;
  if (quantization->blocks_have_an_axis()) {
    if (weight_shape.back() % block_columns != 0 || block_columns % per_element != 0) {
      return std::nullopt;
    }
    weight_shape.back() /= block_columns;
    weight_shape.push_back(block_columns);
  }
  weight_shape.back() /= per_element;
  return weight_shape;
}

bridge::Shape BlockScheme::block_of(const bridge::Shape& weight_shape) const {
  switch (quantization->per) {
    case ScalePer::kRow:
      return {1, weight_shape.at(1)};
    case ScalePer::kTensor:
      return weight_shape;
    case ScalePer::kBlock:
      break;
  }
  return {block_rows, block_columns};
}

bridge::Shape BlockScheme::scale_shape(const bridge::Shape& weight_shape) const {
  if (quantization->per == ScalePer::kTensor) return {};
  if (quantization->per == ScalePer::kRow) return {weight_shape.at(0), 1};
  bridge::Shape shape = weight_shape;
  shape.end()[-2] = (shape.end()[-2] - 1) / block_rows + 1;
  shape.end()[-1] = (shape.end()[-1] - 1) / block_columns + 1;
  return shape;
}

bool BlockScheme::fits_scales(const bridge::Shape& found, const bridge::Shape& weight_shape) const {
  return found == scale_shape(weight_shape) ||
         (quantization->per == ScalePer::kTensor && found == bridge::Shape{1});
}

}  // namespace mappings
