#include "bridge/convert/match/part_origin.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace bridge {
namespace {

constexpr const char* kRemedy =
    "give the original model as --reference HF_DIR, or export the text model alone with "
    "--parts text";

void for_each_name(const mappings::Binding& binding, size_t dialect, const std::string& part,
                   const std::function<void(const std::string&)>& fn) {
  binding.for_each_tensor(dialect, false, [&](const mappings::LogicalTensor& logical) {
    if (logical.row->part != part) return;
    for (const mappings::HfTensorSpec& spec : logical.hf) fn(spec.name);
  });
}

std::vector<PartTensor> tensors_of(const HfFolder& folder, const std::string& where,
                                   const mappings::Binding& binding, size_t dialect,
                                   const std::string& part) {
  std::vector<PartTensor> tensors;
  Accounting accounting;
  match_part(folder, binding, dialect, part, accounting, [&](const MatchedTensor& matched) {
    for (size_t i = 0; i < matched.parts.size(); ++i) {
      const mappings::HfTensorSpec& spec = matched.logical.hf[i];
      tensors.push_back({spec.name, matched.logical.row, spec.shape, matched.parts[i]});
    }
  });
  accounting.raise_unless_clean(fmt::format("{}: {}", where, part), kRemedy);
  return tensors;
}

}  // namespace

PartOrigin find_part_origin(const mappings::Binding& binding, const Origin& origin, size_t dialect,
                            const std::string& part) {
  const bool was_converted = origin.sidecar && !origin.parts_were_left_out();
  int64_t promised = 0;
  int64_t kept = 0;
  int64_t converted = 0;
  int64_t in_reference = 0;
  std::string first;
  for_each_name(binding, dialect, part, [&](const std::string& name) {
    if (promised++ == 0) first = name;
    if (origin.sidecar_keeps(name)) ++kept;
    if (was_converted && origin.sidecar_tensor(name) >= 0) ++converted;
    if (origin.from_reference() && origin.reference->find(name) != nullptr) ++in_reference;
  });
  if (converted > 0) {
    bad_input(fmt::format("{}: the checkpoint lacks all {} tensors ({}, ...), though its "
                          "conversion wrote {}",
                          part, promised, printable(first), converted),
              "they were lost since; --parts text exports the text model alone");
  }
  PartOrigin found;
  if (kept == promised) {
    found.tensors = tensors_of(origin.sidecar->source, "the sidecar", binding, dialect, part);
  } else if (in_reference > 0) {
    found.of_reference = true;
    found.tensors = tensors_of(*origin.reference, printable(origin.reference->path.string()),
                               binding, dialect, part);
  } else {
    bad_input(fmt::format("{}: the checkpoint lacks all {} tensors ({}, ...); the sidecar keeps {} "
                          "of them and the reference has none",
                          part, promised, printable(first), kept),
              kRemedy);
  }
  return found;
}

}  // namespace bridge
