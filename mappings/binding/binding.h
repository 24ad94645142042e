// A table applied to one config.json: which tensors there are on both sides, by name, shape and layer.
//
//   1. values, dims and layer counts are evaluated, refusals raised
//   2. every name is proved unique (binding_check.h)
//   3. for_each_* walk rows, drops and modules, layers ascending
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mappings/binding/logical_tensor.h"
#include "mappings/expr/expr.h"
#include "mappings/table/table.h"

namespace mappings {

// Those of these prefixes that begin with no other, sorted.
std::vector<std::string> outermost(std::vector<std::string> prefixes);

struct BindingOptions {
  int64_t mtp_depths = 0;  // those that are there, for a table with mtp_found
  bool drop_mtp = false;   // as if the configuration had no MTP depths
  bool text_only = false;  // the variable of that name, and no name prefix
};

// The table bound to one config.json: values and dims evaluated, refusals raised (kUnsupported),
// counts and shapes checked, every name proved unique. Points into the table, which must outlive
// it; const members are thread-safe.
class Binding {
 public:
  // config: the whole config.json. Errors: kBadInput, "config.json: num_hidden_layers is missing".
  Binding(const Table& table, Json config, BindingOptions options = {});

  const Table& table() const { return *table_; }
  const Json& config() const { return *config_; }  // whole
  // Key of the object in it that describes the text model; empty: the whole does.
  std::string config_root() const;
  int64_t dim(std::string_view name) const;  // a declared dim
  bool tied() const { return tied_; }
  bool per_layer_keys() const { return per_layer_keys_; }
  bool per_layer_keys(const Family* family) const;  // of its rows; nullptr: of no family
  // The prefix of Megatron keys that belong to no part: "" or "language_model.".
  const std::string& name_prefix() const { return name_prefix_; }
  // Those that this configuration promises tensors of, in order of the rows.
  const std::vector<std::string>& parts() const { return parts_; }
  bool has_parts() const { return !parts_.empty(); }
  std::vector<std::string> warnings() const;
  size_t dialect_count() const { return table_->dialects.size(); }
  int64_t layer_count(const Family& family) const;
  const std::vector<BlockScheme>& block_schemes() const { return block_schemes_; }

  // Whether config.json does not count the MTP depths of a table with mtp_found: BindingOptions::mtp_depths does.
  bool asks_for_mtp_depths() const { return asks_for_mtp_depths_; }
  // MTP depths that config.json promises, dropped or not.
  int64_t promised_mtp_depths() const { return promised_mtp_depths_; }
  // HF prefixes ("model.layers.61.") of MTP depth `depth`, also beyond the promised ones; none: no MTP table.
  std::vector<std::string> mtp_hf_prefixes(size_t dialect, int64_t depth) const;
  // Whether tensors of MTP depth `depth` are there under that dialect, and not those of some other layer.
  bool is_mtp_layer(size_t dialect, int64_t depth,
                    const std::function<bool(std::string_view)>& has_hf_name) const;
  // Megatron prefixes of it, aliases among them; none is the beginning of another.
  std::vector<std::string> mtp_megatron_prefixes(int64_t depth) const;
  // Why MTP depths beyond the promised ones are dropped; nullptr: they are not, and stop the conversion.
  const std::string* uncounted_mtp() const;
  // HF names of rows and drops of MTP depth `depth`, also beyond the promised ones.
  void for_each_mtp_name(size_t dialect, int64_t depth,
                         const std::function<void(const std::string&)>& fn) const;

  // Every logical tensor / droppable HF name in table order, layers ascending, under one dialect.
  // local_spec picks the spelling.
  void for_each_tensor(size_t dialect, bool local_spec,
                       const std::function<void(const LogicalTensor&)>& fn) const;
  void for_each_drop(size_t dialect, const std::function<void(const DroppedTensor&)>& fn) const;
  void for_each_extra_state(const std::function<void(const ExtraStateModule&)>& fn) const;

  // The dialect under which most of these HF names are known; ties go to the first.
  size_t choose_dialect(const std::function<bool(std::string_view)>& has_hf_name) const;
  // The dialect of the same checkpoint as the table's text form. kUnsupported: the table has none.
  size_t text_dialect(size_t dialect) const;
  // The table's own keys of the text form's config.json.
  Json text_form_config() const;
  // Every HF name of rows and drops that are of no part, under a dialect and as the text form spells it.
  void for_each_text_name(
      size_t dialect,
      const std::function<void(std::string name, std::string in_text_form)>& fn) const;

  // Provider fields (Megatron-Bridge / TransformerConfig names) in table order.
  // dtype: "bf16", "fp16", "fp32", the variable of that name in the table's expressions.
  Json megatron_config(std::string_view dtype) const;

 private:
  void read_mtp(const BindingOptions& options, Json& config);
  void enter_root();
  void bind_name_prefix(const BindingOptions& options);
  void bind_parts();
  void bind_block_schemes();
  int64_t expert_count(const Expr& experts) const;
  Scope dialect_scope(size_t dialect) const;  // the placeholders of the dialect are variables
  struct Depths {
    int64_t begin = 0;
    int64_t end = 0;
  };
  Depths depths_that_tell_dialects() const;
  // Which names an iteration gives.
  struct Walk {
    size_t dialect = 0;
    std::optional<size_t> spelling{};  // dialect of the names, where conditions have another
    bool local_spec = false;
    std::optional<Depths> mtp{};  // of MTP, instead of those that config.json counts and are kept
    bool mtp_only = false;        // no other families
    bool few_experts = false;     // the first and the last of each layer
  };
  template <typename Item, typename Fn>
  void for_each_layer(const Item& item, std::string_view kind, const Walk& walk,
                      const Fn& fn) const;
  void walk_tensors(const Walk& walk, const std::function<void(const LogicalTensor&)>& fn) const;
  void walk_drops(const Walk& walk, const std::function<void(const DroppedTensor&)>& fn) const;
  void check_names() const;

  const Table* table_;
  std::shared_ptr<const Json> config_;  // shared, so that scope_ stays valid in copies
  Scope scope_;
  std::vector<int64_t> layer_counts_;        // by family
  std::vector<bool> family_per_layer_keys_;  // by family
  std::string name_prefix_;
  std::vector<std::string> parts_;
  std::vector<BlockScheme> block_schemes_;
  int64_t promised_mtp_depths_ = 0;
  bool asks_for_mtp_depths_ = false;
  bool drops_mtp_ = false;      // --mtp drop
  bool uncounted_mtp_ = false;  // the condition of the table's mtp_uncounted
  bool tied_ = false;
  bool per_layer_keys_ = false;
};

}  // namespace mappings
