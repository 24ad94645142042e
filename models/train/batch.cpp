#include "models/train/batch.h"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <string_view>

#include "bridge/io/base/error.h"
#include "bridge/io/number/dtype.h"

namespace models {
namespace {

// [T] or [1, T] as [1, T]; undefined stays undefined.
at::Tensor one_row(std::string_view name, const at::Tensor& given, int64_t tokens) {
  if (!given.defined()) return given;
  const at::Tensor row = given.dim() == 1 ? given.unsqueeze(0) : given;
  if (row.dim() != 2 || row.size(0) != 1 || row.size(1) != tokens) {
    bridge::bad_input(fmt::format("{}: shape {}, but there are [1, {}] tokens", name,
                                  bridge::shape_text(given.sizes().vec()), tokens));
  }
  return row;
}

at::Tensor integers(std::string_view name, const at::Tensor& given) {
  if (!given.defined()) return given;
  if (!at::isIntegralType(given.scalar_type(), /*includeBool=*/false)) {
    bridge::bad_input(fmt::format("{}: integers are expected", name));
  }
  return given.to(at::kLong).contiguous();
}

Offsets offsets_of(std::string_view name, const at::Tensor& given) {
  if (!given.defined()) return {};
  const at::Tensor numbers = integers(name, given);
  if (numbers.dim() != 1) {
    bridge::bad_input(
        fmt::format("{}: shape {}, not a list", name, bridge::shape_text(numbers.sizes().vec())));
  }
  const int64_t* first = numbers.const_data_ptr<int64_t>();
  return {first, first + numbers.numel()};
}

// Where the tokens of each sequence end in the row, its padding left out.
std::vector<int64_t> ends_of(const Offsets& lengths, const Offsets& padded) {
  if (padded.empty()) return {};
  if (lengths.size() != padded.size()) {
    bridge::bad_input(
        fmt::format("{} offsets, cu_seqlens_padded has {}", lengths.size(), padded.size()));
  }
  check_offsets(lengths, lengths.back());
  std::vector<int64_t> ends;
  for (size_t i = 1; i < padded.size(); ++i) {
    const int64_t length = lengths[i] - lengths[i - 1];
    if (length > padded[i] - padded[i - 1]) {
      bridge::bad_input(fmt::format("sequence {} has {} tokens, and {} with padding", i - 1, length,
                                    padded[i] - padded[i - 1]));
    }
    ends.push_back(padded[i - 1] + length);
  }
  return ends;
}

at::Tensor positions_of(const at::Tensor& given, int64_t tokens) {
  if (!given.defined()) return given;
  const at::Tensor numbers = integers("position_ids", given);
  const bool has_sections = numbers.dim() == 3;
  if (has_sections && numbers.size(0) != 3) {
    bridge::bad_input("position_ids: neither one section nor three");
  }
  const at::Tensor first = has_sections ? numbers.select(0, 0) : numbers;
  const at::Tensor row = one_row("position_ids", first, tokens).select(0, 0);
  if (numbers.min().item<int64_t>() < 0) bridge::bad_input("position_ids: a negative position");
  const bool differ = has_sections && !numbers.eq(first).all().item<bool>();
  return differ ? numbers.select(1, 0) : row;
}

}  // namespace

Batch batch_of(const BatchTensors& given) {
  if (!given.input_ids.defined()) bridge::bad_input("input_ids: missing");
  const at::Tensor ids = integers("input_ids", given.input_ids);
  const int64_t tokens = ids.dim() == 0 ? 0 : ids.size(-1);
  if (tokens == 0) bridge::bad_input("input_ids: no tokens");
  if (ids.dim() == 2 && ids.size(0) > 1) {
    bridge::usage_error(fmt::format("{} prompts: a training step takes one", ids.size(0)),
                        "pack them into one row, with cu_seqlens");
  }
  Batch batch;
  batch.ids = one_row("input_ids", ids, tokens);
  const Offsets lengths = offsets_of("cu_seqlens", given.cu_seqlens);
  const Offsets padded = offsets_of("cu_seqlens_padded", given.cu_seqlens_padded);
  if (!padded.empty() && lengths.empty()) {
    bridge::bad_input("cu_seqlens_padded: cu_seqlens is missing");
  }
  batch.offsets = padded.empty() ? lengths : padded;
  if (given.cu_seqlens.defined()) {
    bridge::with_context(padded.empty() ? "cu_seqlens" : "cu_seqlens_padded",
                         [&] { check_offsets(batch.offsets, tokens); });
  }
  const std::vector<int64_t> ends =
      bridge::with_context("cu_seqlens", [&] { return ends_of(lengths, padded); });
  if (given.loss_mask.defined() && !given.loss_mask.isfinite().all().item<bool>()) {
    bridge::bad_input("loss_mask: a number that is not finite");
  }
  batch.targets = targets_of(batch.ids, one_row("labels", integers("labels", given.labels), tokens),
                             one_row("loss_mask", given.loss_mask, tokens), batch.offsets, ends);
  batch.positions = positions_of(given.position_ids, tokens);
  const at::Tensor padding = one_row("padding_mask", given.padding_mask, tokens);
  if (padding.defined()) batch.left_out = padding.to(at::kBool);
  return batch;
}

}  // namespace models
