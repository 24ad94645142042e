// A mapping table: one architecture, as data. The text format is documented in
// docs/mapping-tables.md; a table is checked when it is loaded (unknown key, op or placeholder,
// wrong arity, duplicate target, HF name reachable from two rows of one family), and never trusted:
// --mapping FILE is input.
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
#include "mappings/table/place.h"

namespace mappings {

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
  const Op* op = &ops::kCopy;
  std::vector<HfPart> hf;
  // Of kNumberOptions, in their order; empty: not given.
  std::array<Expr, kNumberOptions.size()> numbers;
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
  Place place;
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
  Place place;
};

// A module of the TransformerEngine spec that may ask for "<module>._extra_state" objects on load.
struct ExtraState {
  std::string module;  // "{L}.self_attention.linear_qkv"
  std::string family;
  Expr when;
  Expr experts;      // as in Row
  std::string part;  // as in Row
  Place place;
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
  Place place;
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
  Place place;
};

struct Notice {  // refusals (exit 5) and warnings
  Expr when;
  std::string text;  // {expr} stands for a value
  Place place;
};

// A model that looks like the table's but is another: refused by name.
struct OtherModel {
  std::string name;    // an architecture or a model type
  std::string text;    // why
  std::string remedy;  // what to do
  Place place;
};

// A field of the Megatron configuration: an expression, or JSON emitted as it is, in which a string
// that begins with '=' is an expression.
struct ProviderField {
  std::string name;
  Expr value;  // empty: literal counts
  Json literal;
  Expr when;  // empty: always. Later fields of a name replace earlier ones
  Place place;
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

// Errors: kBadInput "file: row at line N: what". fragments: what it may use, else the built-in ones.
Table parse_table(std::string_view text, std::string file);
Table parse_table(std::string_view text, std::string file, std::span<const EmbeddedText> fragments);

}  // namespace mappings
