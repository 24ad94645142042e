// A table applied to one config.json: the tensors of both sides, by name, shape and layer.
//
//   1. Evaluate values, dims and layer counts; raise refusals.
//   2. Prove that every name is unique (binding_check.h).
//   3. for_each_* walk rows, drops and modules in ascending order of layers.
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
#include "mappings/binding/quantization_targets.h"
#include "mappings/expr/expr.h"
#include "mappings/table/table.h"

namespace mappings {

// Returns, sorted, the prefixes that do not begin with another one.
std::vector<std::string> outermost(std::vector<std::string> prefixes);

struct BindingOptions {
  int64_t mtp_depths = 0;      // the depths found in the checkpoint, for a table with mtp_found
  bool drop_mtp = false;       // bind as if the configuration had no MTP depths
  bool text_only = false;      // sets the variable of that name and leaves out the name prefix
  bool keep_quantized = true;  // sets the variable of that name
  // The model has no output layer, whatever the configuration says. It is bound like a model with
  // tied embeddings, which has neither the row nor the key of an output layer, and which Megatron
  // loads without random weights.
  bool without_head = false;
};

// A table bound to one config.json. The constructor evaluates values and dims, raises refusals
// (kUnsupported), checks counts and shapes, and proves that every name is unique. Points into the
// table, which must outlive it. Const members are thread-safe.
class Binding {
 public:
  // config: the whole config.json. Errors: kBadInput, "config.json: num_hidden_layers is missing".
  Binding(const Table& table, Json config, BindingOptions options = {});

  const Table& table() const { return *table_; }
  const Json& config() const { return *config_; }  // the whole config.json
  // Key of the object in config() that describes the text model; empty: the whole config.json does.
  std::string config_root() const;
  int64_t dim(std::string_view name) const;  // a declared dim
  bool tied() const { return tied_; }
  // True if this was requested and the configuration does not tie the embeddings.
  bool without_head() const { return without_head_; }
  bool per_layer_keys() const { return per_layer_keys_; }
  // Whether rows of the family have per-layer keys; nullptr: rows without family.
  bool per_layer_keys(const Family* family) const;
  // The prefix of the Megatron keys that belong to no part: "" or "language_model.".
  const std::string& name_prefix() const { return name_prefix_; }
  // The parts for which this configuration promises tensors, in the order of the rows.
  const std::vector<std::string>& parts() const { return parts_; }
  bool has_parts() const { return !parts_.empty(); }
  std::vector<std::string> warnings() const;
  size_t dialect_count() const { return table_->dialects.size(); }
  int64_t layer_count(const Family& family) const;
  const std::vector<BlockScheme>& block_schemes() const { return block_schemes_; }
  // Which weights are quantized, where the configuration says it; nullptr: the files alone do.
  const QuantizationTargets* quantization_targets() const { return quantization_targets_.get(); }

  // True if config.json does not count the MTP depths of a table with mtp_found;
  // BindingOptions::mtp_depths then counts them.
  bool asks_for_mtp_depths() const { return asks_for_mtp_depths_; }
  // The number of MTP depths that config.json promises, dropped or not.
  int64_t promised_mtp_depths() const { return promised_mtp_depths_; }
  // The HF prefixes ("model.layers.61.") of MTP depth `depth`, which may lie beyond the promised
  // ones; empty without an MTP table.
  std::vector<std::string> mtp_hf_prefixes(size_t dialect, int64_t depth) const;
  // True if the checkpoint has tensors of MTP depth `depth` under that dialect, and they do not
  // belong to some other layer.
  bool is_mtp_layer(size_t dialect, int64_t depth,
                    const std::function<bool(std::string_view)>& has_hf_name) const;
  // The Megatron prefixes of this depth, including aliases; none begins with another.
  std::vector<std::string> mtp_megatron_prefixes(int64_t depth) const;
  // Why MTP depths beyond the promised ones are dropped; nullptr: they stop the conversion.
  const std::string* uncounted_mtp() const;
  // Iterates over the HF names of rows and drops of MTP depth `depth`, which may lie beyond the
  // promised ones.
  void for_each_mtp_name(size_t dialect, int64_t depth,
                         const std::function<void(const std::string&)>& fn) const;

  // Iterate over every logical tensor or droppable HF name under one dialect, in table order,
  // layers ascending. local_spec picks the spelling.
  void for_each_tensor(size_t dialect, bool local_spec,
                       const std::function<void(const LogicalTensor&)>& fn) const;
  void for_each_drop(size_t dialect, const std::function<void(const DroppedTensor&)>& fn) const;
  // Of the modules that the specification asks for.
  void for_each_extra_state(bool local_spec,
                            const std::function<void(const ExtraStateModule&)>& fn) const;

  // Returns the dialect that knows most of these HF names; of several, the one that has most of
  // their shapes; the first one wins ties. has_shape: whether the tensor of a name that is there
  // has this shape; nullptr: nothing is known of shapes.
  size_t choose_dialect(const std::function<bool(std::string_view)>& has_hf_name,
                        const std::function<bool(const HfTensorSpec&)>& has_shape = nullptr) const;
  // Returns the dialect of the same checkpoint in the table's text form. Error: kUnsupported if the
  // table has no text form.
  size_t text_dialect(size_t dialect) const;
  // Returns the table's own keys of the text form's config.json.
  Json text_form_config() const;
  // Iterates over every HF name of rows and drops that belong to no part, under a dialect and in
  // the text form's spelling. Error: kUnsupported if a tensor has another shape in the text form.
  void for_each_text_name(
      size_t dialect,
      const std::function<void(std::string name, std::string in_text_form)>& fn) const;

  // Returns provider fields (names of Megatron-Bridge and TransformerConfig) in table order. dtype:
  // "bf16", "fp16" or "fp32"; expressions of the table see it as the variable of that name.
  Json megatron_config(std::string_view dtype) const;

 private:
  void read_mtp(const BindingOptions& options, Json& config);
  void enter_root();
  void bind_name_prefix(const BindingOptions& options);
  void bind_parts();
  void bind_quantization_targets();
  void bind_block_schemes();
  template <typename Fn>
  void for_each_quantization_group(const Fn& fn) const;
  int64_t expert_count(const Expr& experts) const;
  Scope dialect_scope(size_t dialect) const;  // sees the placeholders of the dialect as variables
  struct Depths {
    int64_t begin = 0;
    int64_t end = 0;
  };
  Depths depths_that_tell_dialects() const;
  // Selects the names of one iteration.
  struct Walk {
    size_t dialect = 0;
    // The dialect of the names, if it differs from that of the conditions.
    std::optional<size_t> spelling{};
    bool local_spec = false;
    // MTP depths, instead of those that config.json counts and that are kept.
    std::optional<Depths> mtp{};
    bool mtp_only = false;     // skips the other families
    bool few_experts = false;  // only the first and the last of each layer
  };
  // scope: the dialect's, of which each walk makes one; it is left as it was found.
  template <typename Item, typename Fn>
  void for_each_layer(const Item& item, std::string_view kind, const Walk& walk, Scope& scope,
                      const Fn& fn) const;
  void walk_tensors(const Walk& walk, const std::function<void(const LogicalTensor&)>& fn) const;
  void walk_drops(const Walk& walk, const std::function<void(const DroppedTensor&)>& fn) const;
  void check_names() const;
  void check_text_shapes(size_t dialect) const;

  const Table* table_;
  std::shared_ptr<const Json> config_;  // shared, so that scope_ stays valid in copies
  Scope scope_;
  std::vector<int64_t> layer_counts_;        // by family
  std::vector<bool> family_per_layer_keys_;  // by family
  std::string name_prefix_;
  std::vector<std::string> parts_;
  std::vector<BlockScheme> block_schemes_;
  std::shared_ptr<const QuantizationTargets> quantization_targets_;  // shared by copies
  int64_t promised_mtp_depths_ = 0;
  bool asks_for_mtp_depths_ = false;
  bool drops_mtp_ = false;      // --mtp drop
  bool uncounted_mtp_ = false;  // the value of the table's mtp_uncounted condition
  bool tied_ = false;
  bool without_head_ = false;
  bool per_layer_keys_ = false;
};

}  // namespace mappings
