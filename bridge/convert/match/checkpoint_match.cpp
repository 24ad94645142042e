#include "bridge/convert/match/checkpoint_match.h"

#include <fmt/format.h>

#include <algorithm>

#include "bridge/convert/algebra/layout_cache.h"
#include "bridge/convert/match/foreign_keys.h"
#include "bridge/convert/match/hybrid_keys.h"
#include "bridge/convert/match/mtp.h"

namespace bridge {
namespace {

const PickleNode* find_argument(const MegatronFolder& folder, std::string_view name) {
  const PickleNode* args = folder.common ? folder.common->get("args") : nullptr;
  return args == nullptr ? nullptr : args->get(name);
}

void refuse_other_models(const MegatronFolder& folder) {
  refuse_other_hyper_connections(folder);
  refuse_foreign_keys(folder);
  if (!folder.common) return;
  const PickleNode* version = folder.common->get("checkpoint_version");
  if (version == nullptr) return;
  const double number = version->kind == PickleNode::Kind::kReal
                            ? version->real
                            : static_cast<double>(version->integer);
  if (number < 2.0) {
    unsupported(fmt::format("{}: checkpoint_version {} has another order of QKV rows",
                            printable(folder.dist_dir.string()), number),
                "load and save it with a current Megatron-LM first");
  }
}

KeyLookup lookup_for(const MegatronFolder& folder, const CheckpointMatchOptions& options) {
  return {detect_prefix(folder, options.name_prefix), options.layer_keys != LayerKeys::kPerLayer,
          options.layer_keys != LayerKeys::kStacked};
}

// The keys of a part have no prefix.
KeyLookup lookup_of(const mappings::LogicalTensor& tensor, const KeyLookup& lookup) {
  KeyLookup own = lookup;
  if (!tensor.row->part.empty()) own.prefix.clear();
  return own;
}

// True if the key is of the text model that --name-prefix passes over and the model that counts has
// the same tensor.
bool is_passed_over(const MegatronFolder& folder, const std::string& key,
                    const CheckpointMatchOptions& options) {
  if (!options.name_prefix) return false;
  if (!options.name_prefix->empty()) return folder.find(*options.name_prefix + key) != nullptr;
  return key.starts_with(kLanguageModel) &&
         folder.find(key.substr(kLanguageModel.size())) != nullptr;
}

// Compares the first component of the key ("vision_model"): rows of a part share it with no row of
// the text model.
bool is_of_part(const mappings::Table& table, std::string_view key) {
  const std::string_view module = key.substr(0, key.find('.') + 1);
  const auto is_there = [&](const auto& items, auto name) {
    return std::any_of(items.begin(), items.end(), [&](const auto& item) {
      return !item.part.empty() && (item.*name).starts_with(module);
    });
  };
  return !module.empty() && (is_there(table.families, &mappings::Family::megatron) ||
                             is_there(table.rows, &mappings::Row::megatron));
}

}  // namespace

void refuse_other_hyper_connections(const MegatronFolder& folder) {
  const auto& tensors = folder.metadata.tensors;
  const auto has = [&](std::string_view part) {
    return std::any_of(tensors.begin(), tensors.end(), [&](const DcpTensor& tensor) {
      return tensor.key.find(part) != std::string::npos;
    });
  };
  if (!has("_hyper_connection.")) return;
  const PickleNode* enabled = find_argument(folder, "enable_mhc_connections");
  const bool by_argument =
      enabled != nullptr && enabled->kind == PickleNode::Kind::kBool && enabled->boolean;
  if (by_argument || !has("decoder.hc_head_fn")) {
    unsupported(fmt::format("{}: hyper-connections of Megatron-LM main, which mixes streams "
                            "without the transpose and averages "
                            "them at the end: the same weights would compute something else",
                            printable(folder.dist_dir.string())),
                "train with Megatron-LM dev (enable_hyper_connections), whose hyper-connections "
                "are DeepSeek's");
  }
}

int64_t recorded_glu_interleave(const MegatronFolder& folder) {
  const PickleNode* size = find_argument(folder, "moe_mlp_glu_interleave_size");
  return size != nullptr && size->kind == PickleNode::Kind::kInt
             ? std::max<int64_t>(0, size->integer)
             : 0;
}

std::vector<std::string> absent_parts(const MegatronFolder& folder,
                                      const mappings::Binding& binding,
                                      const CheckpointMatchOptions& options) {
  std::vector<std::string> absent = binding.parts();
  if (absent.empty()) return absent;
  const KeyLookup lookup = lookup_for(folder, options);
  const auto is_there = [&](const mappings::LogicalTensor& logical) {
    try {
      return find_tensor(folder, logical, lookup_of(logical, lookup)).has_value();
    } catch (const Error&) {
      return true;  // it is there in a form that the match reports
    }
  };
  binding.for_each_tensor(
      options.dialect, options.local_spec, [&](const mappings::LogicalTensor& logical) {
        const auto part = std::find(absent.begin(), absent.end(), logical.row->part);
        if (part != absent.end() && is_there(logical)) absent.erase(part);
      });
  return absent;
}

CheckpointMatch match_checkpoint(const MegatronFolder& folder, const mappings::Binding& binding,
                                 const CheckpointMatchOptions& options, Accounting& accounting,
                                 const std::function<void(const CheckpointTensor&)>& fn) {
  refuse_other_models(folder);
  refuse_mamba_unless_in(binding.table(), folder);
  const KeyLookup lookup = lookup_for(folder, options);
  LayoutCache layouts(options.glu_interleave);
  std::vector<int64_t> used_bytes(folder.metadata.tensors.size(), 0);
  const std::vector<std::string> mtp = check_mtp(folder, binding, lookup.prefix, options.keep_mtp);
  CheckpointMatch result;
  if (!options.keep_mtp) {
    for (const std::string& prefix : mtp) {
      for (const DcpTensor& tensor : tensors_with_prefix(folder, prefix)) {
        const auto index = static_cast<size_t>(&tensor - folder.metadata.tensors.data());
        used_bytes[index] = byte_size(tensor.dtype, tensor.shape);
        ++result.mtp_left_out;
      }
    }
  }

  const auto match = [&](mappings::LogicalTensor logical) {
    const std::string& part = logical.row->part;
    if (std::find(options.absent.begin(), options.absent.end(), part) != options.absent.end()) {
      return;
    }
    const bool vocab = logical.row->op->is_vocabulary;
    if (vocab) result.config_vocab_rows = logical.hf[0].shape.at(0);
    if (vocab && options.hf_vocab_rows > 0) logical.hf[0].shape.at(0) = options.hf_vocab_rows;
    std::optional<FoundTensor> found;
    try {
      found = find_tensor(folder, logical, lookup_of(logical, lookup));
    } catch (const Error& error) {
      accounting.wrong(error.message());
      return;
    }
    const bool leave_out = options.text_only && !part.empty();
    if (!found) {
      if (!leave_out) accounting.missing(lookup_of(logical, lookup).prefix + logical.name);
      return;
    }
    for (const RawStretch& stretch : found->stretches) {
      used_bytes[static_cast<size_t>(stretch.tensor)] += stretch.length;
    }
    if (leave_out) {
      ++result.parts_left_out;
      return;
    }
    const int64_t rows = vocab && !found->shape.empty() ? found->shape[0] : 0;
    result.vocab_rows = std::max(result.vocab_rows, rows);
    const auto layout = layouts.get(logical, rows);
    if (found->shape != layout->megatron_shape()) {
      accounting.wrong(logical.name,
                       fmt::format("shape {}, the configuration says {}", shape_text(found->shape),
                                   shape_text(layout->megatron_shape())));
    } else if (vocab && rows < logical.hf[0].shape[0]) {
      accounting.wrong(logical.name,
                       fmt::format("{} rows, the vocabulary has {}", rows, logical.hf[0].shape[0]));
    } else if (std::find(logical.row->dtypes.begin(), logical.row->dtypes.end(), found->dtype) ==
               logical.row->dtypes.end()) {
      accounting.wrong(logical.name, fmt::format("dtype {} is not one the table allows here",
                                                 safetensors_name(found->dtype)));
    } else {
      fn({logical, *found, layout});
    }
  };
  binding.for_each_tensor(options.dialect, options.local_spec,
                          [&](const mappings::LogicalTensor& logical) { match(logical); });
  for (size_t i = 0; i < used_bytes.size(); ++i) {
    const DcpTensor& tensor = folder.metadata.tensors[i];
    const int64_t bytes = byte_size(tensor.dtype, tensor.shape);
    if (used_bytes[i] == 0 && is_passed_over(folder, tensor.key, options)) {
      ++result.other_prefix;
    } else if (used_bytes[i] == 0 && options.no_parts && is_of_part(binding.table(), tensor.key)) {
      ++result.parts_left_out;
    } else if (used_bytes[i] == 0) {
      accounting.unknown(tensor.key);
    } else if (used_bytes[i] != bytes) {
      accounting.wrong(tensor.key, fmt::format("{} of {} bytes are used", used_bytes[i], bytes));
    }
  }
  return result;
}

}  // namespace bridge
