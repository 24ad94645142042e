// A mapping table: one architecture, as data. The text format is documented in
// docs/mapping-tables.md; a table is checked when it is loaded (unknown key, op or placeholder,
// wrong arity, duplicate target, HF name reachable from two rows of one family), and never trusted:
// --mapping FILE is input.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bridge/io/dtype.h"
#include "mappings/expr.h"

namespace mappings {

// The closed algebra; semantics, inverse and slice rule are in bridge/convert/ops.h.
enum class Op {
  kCopy,      // 1 part
  kConcat,    // n parts joined on axis 0: [gate; up]
  kQkv,       // q, k, v interleaved by query group; weights [rows, hidden] or biases [rows]
  kGatedQkv,  // the same, where each head of q is [query; gate]: a group's queries, then its gates
  kGroup,  // 1 part [a; b; ...] of equal blocks, interleaved by group: the rows of a group from each
  kUngroup,  // 1 part whose row groups are [a; b; ...] each: all of a, then all of b, ...
  kColumns,  // 1 part [r, n * c]: its n blocks of c columns stacked as rows, [n * r, c]
  kVocab,  // 1 part whose rows may be padded with zeros or cut to the vocabulary of the other side
  kMinusOne,  // 1 part, less 1 in every element: the only op that changes values
};
std::string_view op_name(Op op);

// Names are patterns: "{L}.mlp.linear_fc1.weight". {L} and {H} are the family's Megatron and HF
// prefixes, {e} is the expert, other placeholders are dialect variables; inside a family's prefixes {l} or
// {l + expr}.
struct HfPart {
  std::string name;
  std::vector<Expr> shape;
};

struct Row {
  std::string megatron;        // torch_dist name with an explicit layer index, --spec te
  std::string megatron_local;  // --spec local spelling (same unless the table says)
  std::vector<std::string>
      aliases;  // further spellings accepted when reading a Megatron checkpoint
  Op op = Op::kCopy;
  std::vector<HfPart> hf;
  Expr
      groups;  // number of query groups (kQkv, kGatedQkv), of groups (kGroup, kUngroup), of blocks (kColumns)
  Expr heads;                         // kGatedQkv: number of query heads
  Expr blocks;                        // kGroup: number of blocks
  std::vector<bridge::Dtype> dtypes;  // allowed source dtypes
  std::optional<bridge::Dtype> keep;  // dtype on the Megatron side whatever --dtype says
  Expr when;                          // may use the layer index l and what the family lets
  Expr experts;  // not empty: one tensor for each expert e = 0 .. experts - 1, {e} in every name
  std::string family;  // empty: not per layer. A row of the file that names several
                       // families becomes one Row for each.
  // Not empty: the Megatron tensor lies in parts, by rows, under its name with each of these suffixes.
  std::vector<std::string> split;
  std::vector<Expr> split_rows;  // of each part; empty: equal parts
  // Not empty: how many chunks the writer cuts axis 0, axis 1, ... into, where Megatron's own are not the whole.
  std::vector<Expr> chunks;
  bool gated = false;  // two halves written as two chunks, as Megatron does
  std::string part;    // of a multimodal model ("vision"), left out with --parts text; empty: text
  int line = 0;        // in the table's file, for messages
};

struct Drop {
  std::string hf;  // HF name pattern
  std::string family;
  Expr when;
  std::string equals;  // HF name that must hold the same bytes; empty: bytes kept in the sidecar
  bool regenerate =
      false;  // with equals: an export writes it even where nothing shows it was there
  std::string reason;
  std::string part;  // as in Row
  int line = 0;
};

// A module of the TransformerEngine spec that may ask for "<module>._extra_state" objects on load.
struct ExtraState {
  std::string module;  // "{L}.self_attention.linear_qkv"
  std::string family;
  Expr when;
  Expr experts;      // as in Row
  std::string part;  // as in Row
  int line = 0;
};

using NamedExprs = std::vector<std::pair<std::string, Expr>>;

struct Family {
  std::string name;                  // "decoder"
  std::string megatron;              // "decoder.layers.{l}": {l} once, as a component of its own
  std::vector<std::string> aliases;  // further Megatron prefixes accepted when reading
  std::string hf;                    // "{P}layers.{l}"
  Expr count;
  NamedExprs let;       // variables of the family's conditions and shapes, in order; may use l
  bool mtp = false;     // multi-token prediction: left out by --mtp drop, never stacked
  std::string part;     // of its rows, drops and modules
  Expr per_layer_keys;  // empty: the table's
  int line = 0;
};

// How a quantized element type is stored beside its scales: "X.weight" with "X.weight_scale_inv", one scale
// for each block of block_rows x block_columns elements, the last ones partial.
struct Quantization {
  bridge::Dtype dtype = bridge::Dtype::kF8E4M3;   // of the elements
  bridge::Dtype stored = bridge::Dtype::kF8E4M3;  // in HF files: F4_E2M1 lie two to an I8
  std::string weight;                             // suffix of the HF name, replaced by scale
  std::string scale;
  Expr block_rows;
  Expr block_columns;
  std::vector<bridge::Dtype> scale_dtypes;
  Expr
      power_of_two;  // true: new scales are rounded up to powers of two, whatever they are stored in
  int line = 0;
};

struct Notice {  // refusals (exit 5) and warnings
  Expr when;
  std::string text;  // {expr} stands for a value
  int line = 0;
};

// A model that looks like the table's but is another: refused by name.
struct OtherModel {
  std::string name;    // an architecture or a model type
  std::string text;    // why
  std::string remedy;  // what to do
  int line = 0;
};

// A field of the Megatron configuration: an expression, or JSON emitted as it is, in which a string
// that begins with '=' is an expression.
struct ProviderField {
  std::string name;
  Expr value;  // empty: literal counts
  Json literal;
  Expr when;  // empty: always. Later fields of a name replace earlier ones
  int line = 0;
};

// The model that is left of a multimodal one without its parts: an architecture of its own, with its configuration at the
// top of config.json. A table that has it serves both.
struct TextForm {
  Json config;  // keys of its config.json besides those of config_root; "=..." are expressions
  std::vector<std::string> keep;  // keys of the whole config.json that count for it too
  // Placeholders that it spells otherwise: each dialect becomes the one with these texts.
  std::vector<std::pair<std::string, std::string>> dialect;
};

struct Table {
  std::string file;
  std::vector<std::string> architectures;  // config.json "architectures" entries it serves
  std::vector<std::string>
      model_types;          // config.json "model_type", when architectures says nothing
  std::string config_root;  // key of the sub-config that holds the text model; empty: the top
  NamedExprs values;        // named values of any kind, in order
  NamedExprs dims;          // named integers >= 0, in order, after the values
  // Each: placeholder -> text. At least one; all have the same placeholders. Conditions of rows, drops and modules
  // see them as variables.
  std::vector<std::vector<std::pair<std::string, std::string>>> dialects;
  std::vector<Family> families;
  std::string mtp_key;  // key of the (sub-)config that counts the MTP depths; empty: no MTP
  // Where it holds, MTP tensors of depths that config.json does not count are dropped for its text; without it they
  // stop the conversion.
  std::optional<Notice> mtp_uncounted;
  bool mtp_found =
      false;  // where config.json does not count them, MTP depths are those that are there
  std::vector<Quantization> quantization;
  std::vector<Row> rows;
  std::vector<Drop> drops;
  std::vector<ExtraState> extra_state;
  std::vector<Notice> refuse;
  std::vector<Notice> warn;
  std::vector<OtherModel> not_served;
  Expr tied;  // true: no output layer of its own. Also the variable "tied" of later expressions
  Expr per_layer_keys;  // --layer-keys auto: true = per-layer keys
  Expr name_prefix;     // --name-prefix unless given: "" or "language_model."
  std::optional<TextForm> text_form;
  std::vector<ProviderField>
      megatron_config;  // Megatron-Bridge provider fields; "_target_" included

  const Family* find_family(std::string_view name) const;  // nullptr: none
};

// Errors: kBadInput "file: row at line N: what".
Table parse_table(std::string_view text, std::string file);

// All embedded tables, parsed once. Thread-safe.
const std::vector<Table>& builtin_tables();
// By config.json ("architectures", else "model_type"); override_name (--arch: an architecture, a
// model type, or a table's name without ".jsonc") wins. kUnsupported lists what is there.
const Table& find_table(const Json& config, std::string_view override_name);

// --- a table applied to a configuration
// ------------------------------------------------------------

struct HfTensorSpec {
  std::string name;
  bridge::Shape shape;
};

// One logical Megatron tensor, with everything concrete.
struct LogicalTensor {
  const Row* row = nullptr;
  std::string name;                  // "decoder.layers.3.mlp.linear_fc1.weight", the asked spelling
  std::vector<std::string> aliases;  // concrete; the other spec's spelling is among them
  std::vector<HfTensorSpec> hf;
  int64_t groups = 0;  // as in Row
  int64_t heads = 0;
  int64_t blocks = 0;
  std::vector<int64_t> split_rows;  // of each part of Row::split, equal or not
  std::vector<int64_t> chunks;      // as in Row
  const Family* family = nullptr;   // nullptr: not per layer
  int64_t layer = -1;               // index in the family
  int64_t layer_count = 0;
  int64_t expert = -1;  // -1: not per expert
  int64_t expert_count = 0;
};

struct DroppedTensor {
  const Drop* drop = nullptr;
  std::string name;
  std::string equals;
};

struct ExtraStateModule {
  std::string module;              // "decoder.layers.3.mlp.linear_fc1"
  const Family* family = nullptr;  // nullptr: not per layer
  int64_t layer = -1;
  int64_t layer_count = 0;
  int64_t expert = -1;  // -1: not per expert
  int64_t expert_count = 0;
  const ExtraState* state = nullptr;
};

// A Quantization with its block size known.
struct BlockScheme {
  const Quantization* quantization = nullptr;
  int64_t block_rows = 0;
  int64_t block_columns = 0;
  bool power_of_two = false;

  // The HF name of the scales; nullopt for a name without the suffix.
  std::optional<std::string> scale_name(std::string_view weight_name) const;
  // Of the scales of a weight [rows, columns].
  bridge::Shape scale_shape(const bridge::Shape& weight_shape) const;
  // Of the HF tensor that stores a weight; nullopt where its columns do not fill elements.
  std::optional<bridge::Shape> stored_shape(bridge::Shape weight_shape) const;
};

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
  // Before the Megatron keys of what is of no part: "" or "language_model.".
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
