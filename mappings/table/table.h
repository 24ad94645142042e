// A mapping table: one architecture, as data. docs/mapping-tables.md documents the text format. A
// table is checked when it is loaded (unknown key, op or placeholder, wrong arity, duplicate
// target, an HF name reachable from two rows of one family) and never trusted: --mapping FILE is
// input.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bridge/io/number/dtype.h"
#include "mappings/expr/expr.h"
#include "mappings/op/ops.h"
#include "mappings/table/embedded.h"
#include "mappings/table/hf_config.h"
#include "mappings/table/place.h"

namespace mappings {

// Names are patterns: "{L}.mlp.linear_fc1.weight". {L} and {H} are the family's Megatron and HF
// prefixes, {e} is the expert, other placeholders are dialect variables. A family's prefixes
// contain {l} or {l + expr}.
struct HfPart {
  std::string name;
  std::vector<Expr> shape;
};

struct Row {
  std::string megatron;        // torch_dist name with an explicit layer index, --spec te
  std::string megatron_local;  // --spec local spelling (same unless the table says)
  // Further spellings that are accepted when reading a Megatron checkpoint.
  std::vector<std::string> aliases;
  const Op* op = &ops::kCopy;
  std::vector<HfPart> hf;
  // In the order of kNumberOptions; empty: not given.
  std::array<Expr, kNumberOptions.size()> numbers;
  std::vector<bridge::Dtype> dtypes;  // allowed source dtypes
  std::optional<bridge::Dtype> keep;  // dtype on the Megatron side, whatever --dtype says
  Expr when;                          // may use the layer index l and the family's let variables
  // Not empty: one tensor for each expert e = 0 .. experts - 1; every name contains {e}.
  Expr experts;
  // Empty: not per layer. A row of the file that names several families becomes one Row for each.
  std::string family;
  // Not empty: the Megatron tensor is split by rows into parts, stored under its name with each of
  // these suffixes.
  std::vector<std::string> split;
  std::vector<Expr> split_rows;  // rows of each part; empty: equal parts
  // Not empty: the number of chunks into which the writer cuts axis 0, axis 1, ..., where Megatron
  // does not write the tensor as one chunk.
  std::vector<Expr> chunks;
  bool gated = false;  // two halves written as two chunks, as Megatron does
  // The part of a multimodal model ("vision") that --parts text leaves out; empty: text.
  std::string part;
  Place place;
};

struct Drop {
  std::string hf;  // HF name pattern
  std::string family;
  Expr when;
  // HF name of the tensor that must hold the same bytes; empty: the sidecar keeps the bytes.
  std::string equals;
  // With equals: an export writes the tensor even where nothing shows that the source had it.
  bool regenerate = false;
  std::string reason;
  std::string part;  // as in Row
  Place place;
};

// A module of the TransformerEngine spec that may ask for "<module>._extra_state" objects on load.
struct ExtraState {
  std::string module;  // "{L}.self_attention.linear_qkv"
  std::string family;
  Expr when;
  Expr experts;      // as in Row
  std::string part;  // as in Row
  std::string spec;  // "te" or "local": the only layer specification that asks for it; empty: both
  Place place;
};

using NamedExprs = std::vector<std::pair<std::string, Expr>>;

struct Family {
  std::string name;                  // "decoder"
  std::string megatron;              // "decoder.layers.{l}": {l} once, as a component of its own
  std::vector<std::string> aliases;  // further Megatron prefixes that are accepted when reading
  std::string hf;                    // "{P}layers.{l}"
  Expr count;
  // Variables of the family's conditions and shapes, in order; may use l.
  NamedExprs let;
  bool mtp = false;     // multi-token prediction: --mtp drop leaves it out; never stacked
  std::string part;     // the part of its rows, drops and modules
  Expr per_layer_keys;  // empty: as in the table
  Place place;
};

// The elements that share a scale.
enum class ScalePer { kBlock, kRow, kTensor };

// How a quantized element type is stored beside its scales: "X.weight" with "X.weight_scale_inv",
// one scale for each row, for the whole tensor, or for each block of block_rows x block_columns
// elements; the last blocks may be partial.
struct Quantization {
  bridge::Dtype dtype = bridge::Dtype::kF8E4M3;  // dtype of the elements
  // The dtype in HF files: two F4_E2M1 codes share an I8 or a U8, eight I4 codes an I32.
  bridge::Dtype stored = bridge::Dtype::kF8E4M3;
  std::string weight;  // suffix of the HF name, replaced by packed in files, and by scale
  std::string packed;  // the same as weight where elements have the name of values
  std::string scale;
  // Suffixes of what else may lie beside a weight, for other readers; only kept.
  std::vector<std::string> beside;
  Expr when;             // whether the configuration has such weights
  bool grouped = false;  // one for each of the table's QuantizationGroups where `when` holds
  ScalePer per = ScalePer::kBlock;
  Expr block_rows;  // with kBlock
  Expr block_columns;
  std::vector<bridge::Dtype> scale_dtypes;
  // True: new scales are rounded up to powers of two, in whatever dtype they are stored.
  Expr power_of_two;
  Place place;

  // Whether each block of columns is an axis of its own: [..., columns / block, bytes of a block].
  // Such a tensor has another name than the weight that it stands for.
  bool blocks_have_an_axis() const { return stored == bridge::Dtype::kU8; }
};

struct Notice {  // refusals (exit 5) and warnings
  Expr when;
  std::string text;  // {expr} is replaced by its value
  Place place;
};

// How config.json divides the weights among several quantizations, as compressed-tensors does
// (mappings/binding/quantization_targets.h). Expressions but `groups` and `ignore` see each group
// as the variable "group".
struct QuantizationGroups {
  Expr groups;                 // an object of groups, which have "targets"; null: none
  Expr ignore;                 // the list of what no group has; null: nothing
  NamedExprs values;           // of a group, in order
  std::vector<Notice> refuse;  // of a group
};

// A model that resembles the table's but is a different one; it is refused by name.
struct OtherModel {
  std::string name;    // an architecture or a model type
  std::string text;    // why
  std::string remedy;  // what to do
  Place place;
};

// What `causeway mappings list` and the README say of a built-in table. No conversion depends on
// it, and it does not enter the hash of the table.
struct About {
  std::string models;                  // as their releases are called: "GLM-4.5, 4.6, 4.7"
  std::vector<std::string> quantized;  // what it reads besides BF16, F16 and F32: "FP8 blocks"
  std::string mtp;                     // how many depths: "any number"
  std::vector<std::string> checked;    // the software that the tests compare it with
};

// A field of the Megatron configuration: an expression, or JSON that is emitted unchanged except
// that a string that begins with '=' is an expression.
struct ProviderField {
  std::string name;
  Expr value;  // empty: use the literal
  Json literal;
  // Empty: always. Later fields of the same name replace earlier ones.
  Expr when;
  Place place;
};

// The model that remains of a multimodal one without its parts. It is an architecture of its own,
// with its configuration at the top of config.json. A table with a text form serves both.
struct TextForm {
  // Keys of its config.json besides those of config_root; "=..." are expressions.
  Json config;
  std::vector<std::string> keep;  // keys of the whole config.json that it keeps
  // Placeholders that it spells differently: each dialect becomes the one with these texts.
  std::vector<std::pair<std::string, std::string>> dialect;
};

struct Table {
  std::string file;
  // Hash of the table's content: table_text.h, without the first line.
  std::string sha256;
  std::vector<std::string> architectures;  // entries of config.json "architectures" that it serves
  // Values of config.json "model_type" that it serves if architectures says nothing.
  std::vector<std::string> model_types;
  About about;
  // Key of the sub-config that holds the text model; empty: the top.
  std::string config_root;
  // Values of keys that the (sub-)config lacks: the defaults of transformers' configuration class.
  Json defaults = Json::object();
  NamedExprs values;  // named values of any kind, in order
  NamedExprs dims;    // named integers >= 0, in order, after the values
  // Each maps placeholders to text. There is at least one; all have the same placeholders.
  // Conditions of rows, drops and modules see the placeholders as variables.
  std::vector<std::vector<std::pair<std::string, std::string>>> dialects;
  std::vector<Family> families;
  // Key of the (sub-)config that counts the MTP depths; empty: no MTP.
  std::string mtp_key;
  // Where its condition holds, MTP tensors of depths that config.json does not count are dropped,
  // and its text says why; otherwise they stop the conversion.
  std::optional<Notice> mtp_uncounted;
  // If config.json does not count the MTP depths, those found in the checkpoint count.
  bool mtp_found = false;
  std::vector<Quantization> quantization;
  std::optional<QuantizationGroups> quantization_groups;
  std::vector<Row> rows;
  std::vector<Drop> drops;
  std::vector<ExtraState> extra_state;
  std::vector<Notice> refuse;
  std::vector<Notice> warn;
  std::vector<OtherModel> not_served;
  // True: the model has no output layer of its own. Later expressions see it as the variable
  // "tied".
  Expr tied;
  Expr per_layer_keys;  // for --layer-keys auto; true: per-layer keys
  // Megatron-Core has one layer specification of the model, so that --spec local means the same.
  bool one_spec = false;
  Expr name_prefix;  // used unless --name-prefix is given: "" or "language_model."
  std::optional<TextForm> text_form;
  // Fields of Megatron-Bridge's provider, including "_target_".
  std::vector<ProviderField> megatron_config;
  // Arguments of Megatron-LM that no provider field gives: names and plain values.
  Json megatron_args = Json::object();
  std::vector<HfConfigEntry> hf_config;

  const Family* find_family(std::string_view name) const;  // nullptr: none
};

// fragments: what the table may use; without it, the built-in ones. Errors: kBadInput "file: row at
// line N: what".
Table parse_table(std::string_view text, std::string file);
Table parse_table(std::string_view text, std::string file, std::span<const EmbeddedText> fragments);

}  // namespace mappings
