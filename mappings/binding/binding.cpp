// Binds a table to a configuration.
//   1. Variables: config (the whole config.json), values, dims, tied. Names resolve to these first,
//      then to config.json (or its sub-config config_root). --mtp drop binds a configuration
//      without MTP depths (binding_mtp.cpp); --parts text is a variable (binding_parts.cpp).
//   2. Refusals, then layer counts (bounded), then every name and shape once, so that later
//      iterations yield consistent names and shapes.
//   3. Iteration: item by item in table order, in ascending order of layers and, inside them, of
//      experts. Values that the experts of a layer share are evaluated once: a large model has tens
//      of thousands of experts.
#include "mappings/binding/binding.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "bridge/io/base/checked.h"
#include "bridge/io/base/error.h"
#include "mappings/binding/binding_check.h"
#include "mappings/binding/namer.h"
#include "mappings/binding/notice_text.h"
#include "mappings/binding/row_in_layer.h"
#include "mappings/table/table.h"

namespace mappings {
namespace {

using bridge::bad_input;
using bridge::printable;
using bridge::with_context;

constexpr int64_t kMostExperts = 100'000;
constexpr int64_t kMostTensors = 4'000'000;

}  // namespace

Binding::Binding(const Table& table, Json config, BindingOptions options) : table_(&table) {
  with_context(kConfigFile, [&] {
    if (!config.is_object()) bad_input("not an object");
    read_mtp(options, config);
    scope_.variables.emplace_back("keep_mtp", !options.drop_mtp);
    scope_.variables.emplace_back("keep_quantized", options.keep_quantized);
    scope_.variables.emplace_back("text_only", options.text_only);
    config_ = std::make_shared<const Json>(std::move(config));
    enter_root();
    scope_.defaults = &table.defaults;
    for (const auto& [name, expr] : table.values) {
      scope_.variables.emplace_back(name, expr.evaluate(scope_));
    }
  });
  tied_ = with_context(kConfigFile, [&] { return table.tied.evaluate_bool(scope_); });
  without_head_ = options.without_head && !tied_;
  tied_ = tied_ || without_head_;
  scope_.variables.emplace_back("tied", tied_);
  // Refusals come before dims: "hidden_act 'gelu' is not supported" says more than a missing key.
  for (const Notice& notice : table.refuse) refuse_if_it_holds(notice, scope_);
  bind_quantization_targets();
  with_context(kConfigFile, [&] {
    for (const auto& [name, expr] : table.dims) {
      const int64_t value = expr.evaluate_int(scope_);
      if (value < 0) bad_input(fmt::format("{} is {}", name, value));
      scope_.variables.emplace_back(name, value);
    }
    per_layer_keys_ = table.per_layer_keys.evaluate_bool(scope_);
    uncounted_mtp_ = table.mtp_uncounted && table.mtp_uncounted->when.evaluate_bool(scope_);
    for (const Family& family : table.families) {
      const int64_t count = family.count.evaluate_int(scope_);
      if (count < 0 || count > kMostLayers) {
        bad_input(
            fmt::format("'{}': {} layers (0 to {})", family.count.text(), count, kMostLayers));
      }
      layer_counts_.push_back(count);
      family_per_layer_keys_.push_back(family.per_layer_keys.empty()
                                           ? per_layer_keys_
                                           : family.per_layer_keys.evaluate_bool(scope_));
    }
    bind_name_prefix(options);
    bind_block_schemes();
  });
  check_names();
  bind_parts();
}

int64_t Binding::dim(std::string_view name) const {
  const auto& dims = table_->dims;
  const bool declared =
      std::any_of(dims.begin(), dims.end(), [&](const auto& entry) { return entry.first == name; });
  for (const auto& [variable, value] : scope_.variables) {
    if (declared && variable == name) return value.get<int64_t>();
  }
  bad_input(fmt::format("{}: no dim '{}'", printable(table_->file), printable(name)));
}

int64_t Binding::layer_count(const Family& family) const {
  return layer_counts_.at(static_cast<size_t>(&family - table_->families.data()));
}

std::vector<std::string> Binding::warnings() const {
  std::vector<std::string> texts;
  for (const Notice& notice : table_->warn) {
    const bool applies =
        with_context(kConfigFile, [&] { return notice.when.evaluate_bool(scope_); });
    if (applies) texts.push_back(notice_text(notice, scope_));
  }
  return texts;
}

// Calls fn(namer, scope, family, layer) for every place of a row, drop or module where its
// condition holds. The scope holds the whole configuration and is too large to be copied for each
// item.
template <typename Item, typename Fn>
void Binding::for_each_layer(const Item& item, std::string_view kind, const Walk& walk,
                             Scope& scope, const Fn& fn) const {
  const auto where = [&] {
    return fmt::format("{}: {} at {}", printable(table_->file), kind, item.place.text());
  };
  with_context(where, [&] {
    const Family* const family = item.family.empty() ? nullptr : table_->find_family(item.family);
    if (walk.mtp_only && (family == nullptr || !family->mtp)) return;
    Namer namer(*table_, walk.spelling.value_or(walk.dialect), family);
    if (family == nullptr) {
      if (item.when.evaluate_bool(scope)) fn(namer, scope, family, int64_t{-1});
      return;
    }
    const size_t shared = scope.variables.size();
    const Depths layers = family->mtp && walk.mtp ? *walk.mtp : Depths{0, layer_count(*family)};
    for (int64_t layer = layers.begin; layer < layers.end; ++layer) {
      scope.variables.resize(shared);
      scope.variables.emplace_back("l", layer);
      for (const auto& [name, expr] : family->let) {
        scope.variables.emplace_back(name, expr.evaluate(scope));
      }
      if (!item.when.evaluate_bool(scope)) continue;
      namer.enter_layer(layer, scope);
      fn(namer, scope, family, layer);
    }
    scope.variables.resize(shared);
  });
}

void Binding::for_each_tensor(size_t dialect, bool local_spec,
                              const std::function<void(const LogicalTensor&)>& fn) const {
  walk_tensors({.dialect = dialect, .local_spec = local_spec}, fn);
}

void Binding::walk_tensors(const Walk& walk,
                           const std::function<void(const LogicalTensor&)>& fn) const {
  Scope scope = dialect_scope(walk.dialect);
  for (const Row& row : table_->rows) {
    const int64_t experts = expert_count(row.experts);
    for_each_layer(
        row, "row", walk, scope,
        [&](const Namer& namer, const Scope& in_scope, const Family* family, int64_t layer) {
          RowInLayer in_layer(row, namer, in_scope, walk.local_spec);
          LogicalTensor& tensor = in_layer.tensor();
          tensor.family = family;
          tensor.layer = layer;
          tensor.layer_count = family == nullptr ? 0 : layer_count(*family);
          if (row.experts.empty()) {
            fn(tensor);
            return;
          }
          tensor.expert_count = experts;
          const int64_t step = walk.few_experts ? std::max<int64_t>(1, experts - 1) : 1;
          for (tensor.expert = 0; tensor.expert < experts; tensor.expert += step) {
            in_layer.name_expert(tensor.expert);
            fn(tensor);
          }
        });
  }
}

void Binding::for_each_drop(size_t dialect,
                            const std::function<void(const DroppedTensor&)>& fn) const {
  walk_drops({.dialect = dialect}, fn);
}

void Binding::walk_drops(const Walk& walk,
                         const std::function<void(const DroppedTensor&)>& fn) const {
  Scope scope = dialect_scope(walk.dialect);
  for (const Drop& drop : table_->drops) {
    for_each_layer(drop, "drop", walk, scope,
                   [&](const Namer& namer, const Scope&, const Family*, int64_t) {
                     DroppedTensor tensor{&drop, namer.fill(drop.hf).before, {}};
                     if (!drop.equals.empty()) tensor.equals = namer.fill(drop.equals).before;
                     fn(tensor);
                   });
  }
}

void Binding::for_each_extra_state(bool local_spec,
                                   const std::function<void(const ExtraStateModule&)>& fn) const {
  const std::string_view other = local_spec && !table_->one_spec ? "te" : "local";
  const Walk walk;
  Scope scope = dialect_scope(walk.dialect);
  for (const ExtraState& state : table_->extra_state) {
    if (state.spec == other) continue;
    const int64_t experts = expert_count(state.experts);
    for_each_layer(state, "extra_state", walk, scope,
                   [&](const Namer& namer, const Scope&, const Family* family, int64_t layer) {
                     const Name name = namer.fill(state.module);
                     ExtraStateModule module{name.text(0), family, layer,
                                             family == nullptr ? 0 : layer_count(*family)};
                     module.state = &state;
                     if (state.experts.empty()) {
                       fn(module);
                       return;
                     }
                     module.expert_count = experts;
                     for (module.expert = 0; module.expert < experts; ++module.expert) {
                       module.module = name.text(module.expert);
                       fn(module);
                     }
                   });
  }
}

Scope Binding::dialect_scope(size_t dialect) const {
  Scope scope = scope_;
  for (const auto& [name, text] : table_->dialects.at(dialect)) {
    scope.variables.emplace_back(name, text);
  }
  return scope;
}

// Returns 1 for an item that is not per expert.
int64_t Binding::expert_count(const Expr& experts) const {
  if (experts.empty()) return 1;
  const int64_t count = with_context(kConfigFile, [&] { return experts.evaluate_int(scope_); });
  if (count < 0 || count > kMostExperts) {
    bad_input(fmt::format("{}: '{}': {} experts (0 to {})", kConfigFile, experts.text(), count,
                          kMostExperts));
  }
  return count;
}

size_t Binding::choose_dialect(const std::function<bool(std::string_view)>& has_hf_name,
                               const std::function<bool(const HfTensorSpec&)>& has_shape) const {
  size_t best = 0;
  std::pair<int64_t, int64_t> most = {-1, -1};  // names, shapes
  const Depths mtp = depths_that_tell_dialects();
  for (size_t dialect = 0; dialect < dialect_count(); ++dialect) {
    std::pair<int64_t, int64_t> hits = {0, 0};
    const Walk walk{.dialect = dialect, .mtp = mtp, .few_experts = true};
    walk_tensors(walk, [&](const LogicalTensor& tensor) {
      for (const HfTensorSpec& spec : tensor.hf) {
        if (!has_hf_name(spec.name)) continue;
        ++hits.first;
        if (has_shape != nullptr && has_shape(spec)) ++hits.second;
      }
    });
    if (hits > most) {
      best = dialect;
      most = hits;
    }
  }
  return best;
}

void Binding::check_names() const {
  int64_t elements = 0;
  const auto count = [&](const std::string& family, int64_t experts) {
    elements += experts * (family.empty() ? 1 : layer_count(*table_->find_family(family)));
  };
  for (const Row& row : table_->rows) count(row.family, expert_count(row.experts));
  for (const Drop& drop : table_->drops) count(drop.family, 1);
  for (const ExtraState& state : table_->extra_state) {
    count(state.family, expert_count(state.experts));
  }
  if (elements > kMostTensors) {
    bad_input(fmt::format("{}: {} tensors (at most {})", printable(table_->file), elements,
                          kMostTensors));
  }
  const std::string file = printable(table_->file);
  for (size_t dialect = 0; dialect < dialect_count(); ++dialect) {
    // Names of experts differ only by number, so checking all experts in one dialect is enough.
    const Walk walk{.dialect = dialect, .few_experts = dialect > 0};
    check_unique(file, [&](const NameSink& megatron, const NameSink& hf) {
      walk_tensors(walk, [&](const LogicalTensor& tensor) {
        const auto sink_keys = [&](const std::string& name) {
          if (tensor.row->split.empty()) megatron(name);
          for (const std::string& suffix : tensor.row->split) megatron(name + suffix);
        };
        sink_keys(tensor.name);
        for (const std::string& alias : tensor.aliases) sink_keys(alias);
        for (const HfTensorSpec& spec : tensor.hf) hf(spec.name);
      });
      for_each_drop(dialect, [&](const DroppedTensor& tensor) { hf(tensor.name); });
    });
  }
}

}  // namespace mappings
