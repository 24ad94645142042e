// Parts of a multimodal model in a bound table: which object of config.json describes the text
// model, how the Megatron keys of the text model begin, and how the text model is spelled on its
// own.
#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "bridge/io/base/error.h"
#include "mappings/binding/binding.h"
#include "mappings/table/model_parts.h"
#include "mappings/table/table.h"

namespace mappings {

using bridge::bad_input;
using bridge::printable;

std::string Binding::config_root() const {
  return root_key(*table_, *config_);
}

// Expressions look names up in the object of the text model; the variable "config" holds the whole
// file.
void Binding::enter_root() {
  scope_.config = config_.get();
  if (table_->config_root.empty()) return;
  const std::string key = config_root();
  if (!key.empty()) {
    const Json::const_iterator root = config_->find(key);
    if (root == config_->end() || !root->is_object()) {
      bad_input(fmt::format("{} is missing or no object", printable(key)));
    }
    scope_.config = &*root;
  }
  scope_.variables.emplace_back("config", *config_);
}

// With text_only the name prefix stays empty: a text model on its own has keys without a prefix.
void Binding::bind_name_prefix(const BindingOptions& options) {
  const Json prefix = table_->name_prefix.evaluate(scope_);
  if (prefix != "" && prefix != "language_model.") {
    bad_input(fmt::format("{}: name_prefix '{}' gives neither '' nor 'language_model.'",
                          printable(table_->file), printable(table_->name_prefix.text())));
  }
  if (!options.text_only) name_prefix_ = prefix.get<std::string>();
}

bool Binding::per_layer_keys(const Family* family) const {
  if (family == nullptr) return per_layer_keys_;
  return family_per_layer_keys_.at(static_cast<size_t>(family - table_->families.data()));
}

void Binding::bind_parts() {
  const Walk walk{.few_experts = true};
  walk_tensors(walk, [&](const LogicalTensor& tensor) {
    const std::string& part = tensor.row->part;
    if (!part.empty() && std::find(parts_.begin(), parts_.end(), part) == parts_.end()) {
      parts_.push_back(part);
    }
  });
}

size_t Binding::text_dialect(size_t dialect) const {
  if (!table_->text_form) {
    bridge::unsupported(
        fmt::format("--parts text: {} does not say how its text model is spelled on its own",
                    printable(table_->file)),
        "add 'text_form' to the table, or export --parts all");
  }
  return text_dialect_of(*table_, dialect);
}

// A text form whose tensors have the same names may have them in other shapes than this checkpoint.
void Binding::check_text_shapes(size_t dialect) const {
  std::map<std::string, bridge::Shape> shapes;
  const size_t text = text_dialect(dialect);
  const auto for_each_spec = [&](const Walk& walk, const auto& fn) {
    walk_tensors(walk, [&](const LogicalTensor& tensor) {
      if (!tensor.row->part.empty()) return;
      for (const HfTensorSpec& spec : tensor.hf) fn(spec);
    });
  };
  for_each_spec({.dialect = text, .few_experts = true},
                [&](const HfTensorSpec& spec) { shapes.emplace(spec.name, spec.shape); });
  for_each_spec(
      {.dialect = dialect, .spelling = text, .few_experts = true}, [&](const HfTensorSpec& spec) {
        const auto found = shapes.find(spec.name);
        if (found == shapes.end() || found->second == spec.shape) return;
        bridge::unsupported(
            fmt::format("--parts text: {} has shape {} in this checkpoint, and {} where "
                        "the text model is on its own",
                        printable(spec.name), bridge::shape_text(spec.shape),
                        bridge::shape_text(found->second)),
            "export --parts all, or a copy of the Megatron checkpoint without its sidecar");
      });
}

// Both walks evaluate conditions in `dialect`, so that the names come in the same order.
void Binding::for_each_text_name(
    size_t dialect,
    const std::function<void(std::string name, std::string in_text_form)>& fn) const {
  const auto names_of = [&](const Walk& walk, const std::function<void(const std::string&)>& sink) {
    walk_tensors(walk, [&](const LogicalTensor& tensor) {
      if (!tensor.row->part.empty()) return;
      for (const HfTensorSpec& spec : tensor.hf) sink(spec.name);
    });
    walk_drops(walk, [&](const DroppedTensor& dropped) {
      if (dropped.drop->part.empty()) sink(dropped.name);
    });
  };
  check_text_shapes(dialect);
  std::deque<std::string> names;
  names_of({.dialect = dialect}, [&](const std::string& name) { names.push_back(name); });
  names_of({.dialect = dialect, .spelling = text_dialect(dialect)}, [&](const std::string& name) {
    fn(std::move(names.front()), name);
    names.pop_front();
  });
}

}  // namespace mappings
