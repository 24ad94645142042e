#include "bridge/convert/match/output_layer.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/convert/match/key_naming.h"
#include "bridge/io/base/error.h"

namespace bridge {
namespace {

// Megatron-Core's key, which every table uses.
constexpr std::string_view kOutputLayer = "output_layer.weight";

// Returns the HF name of the output layer in a dialect; empty: the table has none.
std::string output_layer_name(const mappings::Binding& binding, size_t dialect) {
  std::string name;
  binding.for_each_tensor(dialect, false, [&](const mappings::LogicalTensor& tensor) {
    if (tensor.name == kOutputLayer && !tensor.hf.empty()) name = tensor.hf[0].name;
  });
  return name;
}

// Returns the name of the output layer in a folder; empty: it has none.
std::string find_output_layer(const HfFolder& folder, const mappings::Binding& binding) {
  for (size_t dialect = 0; dialect < binding.dialect_count(); ++dialect) {
    std::string name = output_layer_name(binding, dialect);
    if (!name.empty() && folder.find(name) != nullptr) return name;
  }
  const auto head = std::find_if(
      folder.tensors.begin(), folder.tensors.end(),
      [](const HfTensor& tensor) { return tensor.name.find("lm_head") != std::string::npos; });
  return head == folder.tensors.end() ? std::string() : head->name;
}

bool is_bare_class(const mappings::Json& config) {
  const mappings::Json names = config.value("architectures", mappings::Json());
  return names.is_array() && !names.empty() && names[0].is_string() &&
         names[0].get_ref<const std::string&>().ends_with("Model");
}

// True if the names are those that transformers gives a bare model's tensors. DeepSeek-V4's own
// names have no "model." either, but name the embedding otherwise.
bool has_bare_names(const HfFolder& folder) {
  return folder.find("embed_tokens.weight") != nullptr &&
         std::none_of(folder.tensors.begin(), folder.tensors.end(),
                      [](const HfTensor& tensor) { return tensor.name.starts_with("model."); });
}

}  // namespace

bool lacks_output_layer(const HfFolder& folder, const mappings::Binding& binding) {
  return (is_bare_class(binding.config()) || has_bare_names(folder)) &&
         find_output_layer(folder, binding).empty();
}

bool lacks_output_layer(const Origin& origin, const MegatronFolder& checkpoint,
                        const mappings::Binding& binding) {
  if (origin.head_was_left_out()) return true;
  if (origin.from_reference()) return lacks_output_layer(*origin.reference, binding);
  if (origin.sidecar) return false;  // the conversion wrote an output layer
  const std::string key = detect_prefix(checkpoint) + std::string(kOutputLayer);
  return is_bare_class(binding.config()) && checkpoint.find(key) == nullptr;
}

bool is_asked_for_without(const HfFolder& folder, const mappings::Binding& binding) {
  const std::string found = find_output_layer(folder, binding);
  if (!found.empty()) {
    usage_error(fmt::format("--head none: {} has an output layer, {}",
                            printable(folder.path.string()), printable(found)),
                "leave the option out: it is for models without one");
  }
  return true;
}

std::string hint_for_missing_output_layer(const HfFolder& folder, const mappings::Binding& binding,
                                          size_t dialect) {
  const std::string name = output_layer_name(binding, dialect);
  if (name.empty() || !find_output_layer(folder, binding).empty()) return {};
  return fmt::format(
      "{} is the output layer: the upload may be incomplete; if the model has none, --head none "
      "converts it without",
      name);
}

}  // namespace bridge
