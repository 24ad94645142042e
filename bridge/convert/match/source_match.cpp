#include "bridge/convert/match/source_match.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>

#include "bridge/convert/match/fp8_check.h"
#include "bridge/convert/match/mtp.h"
#include "bridge/convert/match/nvfp4_check.h"
#include "bridge/convert/match/quantization_check.h"

namespace bridge {
namespace {

class Matcher {
 public:
  Matcher(const HfFolder& folder, const mappings::Binding& binding, bool unlike_dtypes,
          Accounting& accounting)
      : folder_(folder),
        binding_(binding),
        unlike_dtypes_(unlike_dtypes),
        accounting_(accounting),
        used_(folder.tensors.size(), false) {}

  std::optional<MatchedTensor> match(const mappings::LogicalTensor& logical) {
    MatchedTensor matched{logical, {}, Dtype::kBF16};
    bool fits = true;
    for (const mappings::HfTensorSpec& spec : logical.hf) {
      const HfTensor* tensor = find_stored(folder_, binding_, spec.name);
      if (tensor == nullptr) {
        accounting_.missing(spec.name);
        fits = false;
        continue;
      }
      TransferInput part{use(*tensor), element_dtype(*tensor), {}};
      fits = check(*tensor, spec, *logical.row, part.scales) && fits;
      const Dtype dtype = part.scales.quantized() ? Dtype::kBF16 : tensor->dtype;
      if (matched.parts.empty()) {
        matched.dtype = dtype;
      } else if (dtype != matched.dtype && !unlike_dtypes_ && !logical.row->keep) {
        const HfTensor& first = folder_.tensors[static_cast<size_t>(matched.parts[0].tensor)];
        accounting_.wrong(spec.name, fmt::format("{} where {} is {}; --dtype makes them alike",
                                                 safetensors_name(tensor->dtype), first.name,
                                                 safetensors_name(first.dtype)));
        fits = false;
      }
      matched.parts.push_back(part);
    }
    if (!fits) return std::nullopt;
    return matched;
  }

  // Leaves out the tensors of a part that --parts text excludes. Checks them as if they were
  // converted, so that the user learns of a mistake.
  void leave_out(const mappings::LogicalTensor& logical, SourceMatch& result) {
    auto part = std::find_if(result.parts.begin(), result.parts.end(),
                             [&](const auto& known) { return known.part == logical.row->part; });
    if (part == result.parts.end()) {
      part = result.parts.insert(part, PartLeftOut{logical.row->part});
    }
    const auto drop = [&](int32_t index) {
      result.dropped.push_back({index, -1, fmt::format("{}: --parts text", part->part)});
      ++part->tensors;
    };
    for (const mappings::HfTensorSpec& spec : logical.hf) {
      const HfTensor* tensor = find_stored(folder_, binding_, spec.name);
      if (tensor == nullptr) {
        ++part->missing;
        continue;
      }
      drop(use(*tensor));
      BlockScales scales;
      const size_t before = beside_.size();
      if (!check(*tensor, spec, *logical.row, scales) || !scales.quantized()) continue;
      // The part's scales, and what lies beside them, are among the dropped tensors.
      drop(scales.tensor);
      scales_.pop_back();
      std::for_each(beside_.begin() + static_cast<std::ptrdiff_t>(before), beside_.end(), drop);
      beside_.resize(before);
    }
  }

  void drop(const mappings::DroppedTensor& dropped, SourceMatch& result) {
    const HfTensor* tensor = folder_.find(dropped.name);
    if (tensor == nullptr) return;
    DroppedSource source{use(*tensor), -1, dropped.drop->reason};
    const mappings::Family* family = binding_.table().find_family(dropped.drop->family);
    source.of_mtp = family != nullptr && family->mtp;
    if (!dropped.equals.empty()) {
      const HfTensor* original = folder_.find(dropped.equals);
      if (original == nullptr) return;  // its own row reports it as missing
      const mappings::BlockScheme* scheme = find_scheme(binding_, *tensor);
      if (scheme != nullptr && original->dtype != tensor->dtype) {
        // A quantized copy is another tensor than its original, with scales of its own.
        result.dropped.push_back(source);
        for_each_beside(folder_, *scheme, dropped.name, [&](const HfTensor& beside) {
          source.tensor = use(beside);
          result.dropped.push_back(source);
        });
        return;
      }
      if (original->dtype != tensor->dtype || original->shape != tensor->shape) {
        accounting_.wrong(
            dropped.name,
            fmt::format("{} {} where its original {} is {} {}", safetensors_name(tensor->dtype),
                        shape_text(tensor->shape), dropped.equals,
                        safetensors_name(original->dtype), shape_text(original->shape)));
        return;
      }
      source.equals = index_of(*original);
    }
    result.dropped.push_back(std::move(source));
  }

  void leave_out(std::string_view prefix, SourceMatch& result) {
    const auto tensors = tensors_with_prefix(folder_, prefix);
    if (!tensors.empty()) result.mtp_prefixes.emplace_back(prefix);
    for (const HfTensor& tensor : tensors) result.mtp.push_back(use(tensor));
  }

  void drop_uncounted(const HfTensor& tensor, const std::string& reason, SourceMatch& result) {
    if (used_[static_cast<size_t>(index_of(tensor))]) return;
    result.dropped.push_back({use(tensor), -1, reason});
  }

  void report_unused() {
    for (size_t i = 0; i < used_.size(); ++i) {
      if (!used_[i]) accounting_.unknown(folder_.tensors[i].name);
    }
  }

  void take_scales(SourceMatch& result) {
    result.scales = std::move(scales_);
    result.beside = std::move(beside_);
  }

 private:
  int32_t index_of(const HfTensor& tensor) const {
    return static_cast<int32_t>(&tensor - folder_.tensors.data());
  }
  int32_t use(const HfTensor& tensor) {
    const int32_t index = index_of(tensor);
    used_[static_cast<size_t>(index)] = true;
    return index;
  }

  // The dtype of the elements: an I8 may hold two of them.
  Dtype element_dtype(const HfTensor& tensor) const {
    const mappings::BlockScheme* scheme = find_scheme(binding_, tensor);
    return scheme == nullptr ? tensor.dtype : scheme->quantization->dtype;
  }

  bool wrong(std::string_view name, std::string_view why) {
    accounting_.wrong(name, why);
    return false;
  }

  bool check(const HfTensor& tensor, const mappings::HfTensorSpec& spec, const mappings::Row& row,
             BlockScales& scales) {
    const std::string said_otherwise = contradiction(binding_, row, spec, tensor);
    if (!said_otherwise.empty()) return wrong(spec.name, said_otherwise);
    const mappings::BlockScheme* scheme = find_scheme(binding_, tensor);
    const std::optional<Shape> stored =
        scheme == nullptr ? spec.shape : scheme->stored_shape(spec.shape);
    if (tensor.shape != stored) {
      return wrong(spec.name,
                   fmt::format("shape {}, the configuration says {}", shape_text(tensor.shape),
                               shape_text(stored.value_or(spec.shape))));
    }
    if (tensor.begin == tensor.end) return wrong(spec.name, "no elements");
    if (std::find(row.dtypes.begin(), row.dtypes.end(), tensor.dtype) != row.dtypes.end()) {
      return true;  // scales beside such a tensor are reported as unknown
    }
    if (scheme == nullptr || !may_be_quantized(row) || !scheme->fits(spec.shape) ||
        scheme->stored_name(spec.name) != tensor.name) {
      return wrong(spec.name, fmt::format("dtype {} is not one the table allows here",
                                          safetensors_name(tensor.dtype)));
    }
    return find_scales(tensor, spec, *scheme, scales);
  }

  bool find_scales(const HfTensor& tensor, const mappings::HfTensorSpec& weight,
                   const mappings::BlockScheme& scheme, BlockScales& scales) {
    const std::string name = *scheme.scale_name(weight.name);
    const HfTensor* found = folder_.find(name);
    if (found == nullptr) {
      return wrong(tensor.name,
                   fmt::format("{} without its scales {}", safetensors_name(tensor.dtype), name));
    }
    const int32_t index = use(*found);
    const Shape block = scheme.block_of(weight.shape);
    if (!scheme.fits_scales(found->shape, weight.shape)) {
      return wrong(
          name, fmt::format("shape {}, blocks of {} x {} of {} need {}", shape_text(found->shape),
                            block[0], block[1], shape_text(weight.shape),
                            shape_text(scheme.scale_shape(weight.shape))));
    }
    const auto& allowed = scheme.quantization->scale_dtypes;
    if (std::find(allowed.begin(), allowed.end(), found->dtype) == allowed.end()) {
      return wrong(name, fmt::format("dtype {} is not one the table allows for scales",
                                     safetensors_name(found->dtype)));
    }
    scales_.push_back(index);
    for_each_beside(folder_, scheme, weight.name, [&](const HfTensor& beside) {
      if (&beside != found) beside_.push_back(use(beside));
    });
    scales = {index, found->dtype, static_cast<int32_t>(block[0]), static_cast<int32_t>(block[1])};
    return true;
  }

  const HfFolder& folder_;
  const mappings::Binding& binding_;
  bool unlike_dtypes_;
  Accounting& accounting_;
  std::vector<bool> used_;
  std::vector<int32_t> scales_;
  std::vector<int32_t> beside_;
};

}  // namespace

const mappings::BlockScheme* find_scheme(const mappings::Binding& binding, const HfTensor& tensor) {
  const mappings::BlockScheme* found = nullptr;
  std::optional<int32_t> group;  // known where several have weights of this dtype
  for (const mappings::BlockScheme& scheme : binding.block_schemes()) {
    if (scheme.quantization->stored != tensor.dtype) continue;
    if (found == nullptr) {
      found = &scheme;
      continue;
    }
    if (!group) {
      group = binding.quantization_targets()->of(mappings::module_of(tensor.name)).group;
      if (found->group != *group) found = nullptr;
    }
    if (scheme.group == *group) found = &scheme;
  }
  return found;
}

const HfTensor* find_stored(const HfFolder& folder, const mappings::Binding& binding,
                            const std::string& weight_name) {
  const HfTensor* found = folder.find(weight_name);
  for (const mappings::BlockScheme& scheme : binding.block_schemes()) {
    if (found != nullptr) break;
    if (const auto name = scheme.stored_name(weight_name)) found = folder.find(*name);
  }
  return found;
}

size_t dialect_of(const HfFolder& folder, const mappings::Binding& binding) {
  const auto find = [&](std::string_view name) {
    return find_stored(folder, binding, std::string(name));
  };
  return binding.choose_dialect(
      [&](std::string_view name) { return find(name) != nullptr; },
      [&](const mappings::HfTensorSpec& spec) { return find(spec.name)->shape == spec.shape; });
}

void for_each_beside(const HfFolder& folder, const mappings::BlockScheme& scheme,
                     const std::string& weight_name,
                     const std::function<void(const HfTensor&)>& fn) {
  std::vector<std::string> names = scheme.names_beside(weight_name);
  if (auto scales = scheme.scale_name(weight_name)) names.insert(names.begin(), *scales);
  for (const std::string& name : names) {
    if (const HfTensor* tensor = folder.find(name)) fn(*tensor);
  }
}

bool may_be_quantized(const mappings::Row& row) {
  return !row.keep && row.op->takes_quantized;
}

SourceMatch match_source(const HfFolder& folder, const mappings::Binding& binding,
                         const SourceMatchOptions& options, Accounting& accounting,
                         const std::function<void(const MatchedTensor&)>& fn) {
  refuse_nvfp4(folder);
  refuse_fp8_with_one_scale(folder, binding);
  SourceMatch result;
  result.dialect = dialect_of(folder, binding);
  Matcher matcher(folder, binding, options.unlike_dtypes, accounting);
  const std::vector<std::string> present =
      check_mtp(folder, binding, result.dialect, options.keep_mtp);
  if (!options.keep_mtp) {
    for (const std::string& prefix : present) matcher.leave_out(prefix, result);
  }
  const auto match = [&](const mappings::LogicalTensor& logical) {
    if (options.text_only && !logical.row->part.empty()) {
      matcher.leave_out(logical, result);
    } else if (const auto matched = matcher.match(logical)) {
      fn(*matched);
    }
  };
  binding.for_each_tensor(result.dialect, options.local_spec, match);
  binding.for_each_drop(result.dialect, [&](const mappings::DroppedTensor& dropped) {
    matcher.drop(dropped, result);
  });
  for (const HfTensor* tensor : uncounted_mtp(folder, binding, result.dialect)) {
    matcher.drop_uncounted(*tensor, *binding.uncounted_mtp(), result);
  }
  matcher.report_unused();
  matcher.take_scales(result);
  return result;
}

void match_part(const HfFolder& folder, const mappings::Binding& binding, size_t dialect,
                std::string_view part, Accounting& accounting,
                const std::function<void(const MatchedTensor&)>& fn) {
  Matcher matcher(folder, binding, /*unlike_dtypes=*/false, accounting);
  binding.for_each_tensor(dialect, false, [&](const mappings::LogicalTensor& logical) {
    if (logical.row->part != part) return;
    if (const auto matched = matcher.match(logical)) fn(*matched);
  });
}

}  // namespace bridge
