// Multi-token prediction (MTP) of a bound table:
//   1. how many depths config.json promises
//   2. where the tensors of a depth lie on both sides
//   3. whether a layer of a folder is such a depth
//   4. the names of depths that config.json does not promise
#include <fmt/format.h>

#include <algorithm>

#include "bridge/io/base/error.h"
#include "mappings/binding/binding.h"
#include "mappings/binding/binding_check.h"
#include "mappings/binding/namer.h"
#include "mappings/table/model_parts.h"
#include "mappings/table/pattern.h"
#include "mappings/table/table.h"

namespace mappings {

using bridge::bad_input;

// The most MTP depths that are compared to tell dialects apart.
constexpr int64_t kMostThatTell = 16;

std::vector<std::string> outermost(std::vector<std::string> prefixes) {
  std::sort(prefixes.begin(), prefixes.end());
  const auto last =
      std::unique(prefixes.begin(), prefixes.end(),
                  [](const std::string& a, const std::string& b) { return b.starts_with(a); });
  prefixes.erase(last, prefixes.end());
  return prefixes;
}

// Reads the number of MTP depths; --mtp drop binds the configuration as if it had none.
void Binding::read_mtp(const BindingOptions& options, Json& config) {
  drops_mtp_ = options.drop_mtp;
  if (table_->mtp_key.empty()) return;
  Json* root = &config;
  const std::string key = root_key(*table_, config);
  if (!key.empty()) {
    const Json::iterator sub = config.find(key);
    if (sub == config.end() || !sub->is_object()) return;  // enter_root() reports it
    root = &*sub;
  }
  Json::iterator count = root->find(table_->mtp_key);
  asks_for_mtp_depths_ = table_->mtp_found && (count == root->end() || count->is_null());
  if (asks_for_mtp_depths_) {
    (*root)[table_->mtp_key] = options.mtp_depths;
    count = root->find(table_->mtp_key);
  }
  if (count == root->end() || count->is_null()) return;
  if (!count->is_number_integer() || *count < 0 || *count > kMostLayers) {
    bad_input(fmt::format("{} is not a number of layers (0 to {})", table_->mtp_key, kMostLayers));
  }
  promised_mtp_depths_ = count->get<int64_t>();
  if (options.drop_mtp) *count = 0;
}

// The depths that config.json promises, even when they are dropped; without a promise, the depths
// that may exist uncounted.
Binding::Depths Binding::depths_that_tell_dialects() const {
  const int64_t depths =
      promised_mtp_depths_ == 0 && uncounted_mtp_ ? kMostThatTell : promised_mtp_depths_;
  return {0, std::min(depths, kMostThatTell)};
}

const std::string* Binding::uncounted_mtp() const {
  return uncounted_mtp_ && !drops_mtp_ ? &table_->mtp_uncounted->text : nullptr;
}

void Binding::for_each_mtp_name(size_t dialect, int64_t depth,
                                const std::function<void(const std::string&)>& fn) const {
  Walk walk;
  walk.dialect = dialect;
  walk.mtp = Depths{depth, depth + 1};
  walk.mtp_only = true;
  walk_tensors(walk, [&](const LogicalTensor& tensor) {
    for (const HfTensorSpec& spec : tensor.hf) fn(spec.name);
  });
  walk_drops(walk, [&](const DroppedTensor& tensor) { fn(tensor.name); });
}

std::vector<std::string> Binding::mtp_hf_prefixes(size_t dialect, int64_t depth) const {
  std::vector<std::string> prefixes;
  Scope scope = dialect_scope(dialect);
  scope.variables.emplace_back("l", depth);
  for (const Family& family : table_->families) {
    if (!family.mtp) continue;
    Namer namer(*table_, dialect, &family);
    namer.enter_layer(depth, scope);
    const std::string prefix = namer.hf_layer() + ".";
    if (std::find(prefixes.begin(), prefixes.end(), prefix) == prefixes.end()) {
      prefixes.push_back(prefix);
    }
  }
  return prefixes;
}

// Where MTP layers continue the numbering of the decoder's layers, the number alone cannot tell an
// MTP layer from a further decoder layer. An MTP layer has a tensor of each MTP family.
bool Binding::is_mtp_layer(size_t dialect, int64_t depth,
                           const std::function<bool(std::string_view)>& has_hf_name) const {
  const std::vector<std::string> prefixes = mtp_hf_prefixes(dialect, depth);
  const bool could_be_another =
      std::any_of(table_->families.begin(), table_->families.end(), [&](const Family& family) {
        if (family.mtp) return false;
        Scope next = dialect_scope(dialect);
        const int64_t layer = layer_count(family) + depth;
        next.variables.emplace_back("l", layer);
        Namer namer(*table_, dialect, &family);
        namer.enter_layer(layer, next);
        return std::find(prefixes.begin(), prefixes.end(), namer.hf_layer() + ".") !=
               prefixes.end();
      });
  if (!could_be_another) return true;
  Scope scope = dialect_scope(dialect);
  scope.variables.emplace_back("l", depth);
  return std::all_of(table_->families.begin(), table_->families.end(), [&](const Family& family) {
    if (!family.mtp) return true;
    Namer namer(*table_, dialect, &family);
    namer.enter_layer(depth, scope);
    bool has_rows = false;
    for (const Row& row : table_->rows) {
      if (row.family != family.name || !row.experts.empty()) continue;
      has_rows = true;
      for (const HfPart& part : row.hf) {
        if (has_hf_name(namer.fill(part.name).before)) return true;
      }
    }
    return !has_rows;
  });
}

std::vector<std::string> Binding::mtp_megatron_prefixes(int64_t depth) const {
  std::vector<std::string> prefixes;
  for (const Family& family : table_->families) {
    if (!family.mtp) continue;
    std::vector<std::string> patterns = {family.megatron};
    patterns.insert(patterns.end(), family.aliases.begin(), family.aliases.end());
    for (const std::string& pattern : patterns) {
      prefixes.push_back(fill_pattern(split_pattern(pattern + "."),
                                      [&](const std::string&) { return std::to_string(depth); }));
    }
  }
  // The prefix of the inner layer begins with the prefix of the depth.
  return outermost(std::move(prefixes));
}

}  // namespace mappings
