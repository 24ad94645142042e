#include "models/compare/reference_logits.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "models/forward/prompt.h"
#include "models/weights/tensor_bytes.h"

namespace models {
namespace {

constexpr double kNearTie = 1e-4;
constexpr int64_t kMostExcluded = 20;  // at most one row in 20

[[noreturn]] void refuse(const std::string& tensor, const std::string& what) {
  bridge::bad_input(fmt::format("{}: {}", bridge::printable(tensor), what));
}

}  // namespace

ReferenceLogits::ReferenceLogits(bridge::FileSystem& fs, const bridge::Path& path,
                                 bridge::MemoryBudget& budget)
    : file_(fs.open_read(path)), header_(bridge::read_safetensors_header(*file_, budget)) {
  bridge::with_context(bridge::printable(path.filename().native()), [&] {
    read_ids();
    judged_rows_ = ids_.size(1);
    read_margins();
  });
}

std::string ReferenceLogits::head_name(int64_t head) {
  return head == 0 ? "logits" : fmt::format("mtp_logits.{}", head - 1);
}

const bridge::SafetensorsEntry* ReferenceLogits::find(const std::string& name) const {
  for (const bridge::SafetensorsEntry& entry : header_.entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

std::vector<std::string> ReferenceLogits::names() const {
  std::vector<std::string> names;
  for (const bridge::SafetensorsEntry& entry : header_.entries) names.push_back(entry.name);
  return names;
}

bool ReferenceLogits::has(const std::string& name) const {
  return find(name) != nullptr;
}

at::Tensor ReferenceLogits::read(const bridge::SafetensorsEntry& entry) const {
  at::Tensor out = at::empty(entry.shape, at::TensorOptions().dtype(torch_type(entry.dtype)));
  file_->read_at(header_.payload_offset + entry.begin, bytes_of(out));
  return out;
}

void ReferenceLogits::read_ids() {
  const bridge::SafetensorsEntry* entry = find("input_ids");
  if (entry == nullptr) refuse("input_ids", "missing: no file of reference logits");
  const size_t axes = entry->shape.size();
  if (entry->dtype != bridge::Dtype::kI64 || axes < 1 || axes > 2 ||
      bridge::element_count(entry->shape) == 0) {
    refuse("input_ids",
           fmt::format("{} {}, not a prompt: [S] or [B, S] of I64",
                       bridge::safetensors_name(entry->dtype), bridge::shape_text(entry->shape)));
  }
  if (bridge::element_count(entry->shape) > kMostTokens) {
    refuse("input_ids", fmt::format("{} tokens, more than {}", bridge::element_count(entry->shape),
                                    kMostTokens));
  }
  batched_ = axes == 2;
  ids_ = batched_ ? read(*entry) : read(*entry).unsqueeze(0);
}

void ReferenceLogits::read_margins() {
  const bridge::SafetensorsEntry* entry = find("topk_margin");
  if (entry == nullptr) return;
  const int64_t rows = ids_.size(1);
  if (entry->dtype != bridge::Dtype::kF32 || entry->shape != bridge::Shape{rows}) {
    refuse("topk_margin", fmt::format("{} {}, not F32 [{}]", bridge::safetensors_name(entry->dtype),
                                      bridge::shape_text(entry->shape), rows));
  }
  const at::Tensor margins = read(*entry);
  const float* margin = margins.const_data_ptr<float>();
  judged_rows_ = 0;
  while (judged_rows_ < rows && margin[judged_rows_] >= kNearTie) ++judged_rows_;
  if ((rows - judged_rows_) * kMostExcluded > rows) {
    refuse("topk_margin", fmt::format("row {} of {} is a near-tie (margin {}): too many rows "
                                      "follow it to judge by this prompt",
                                      judged_rows_, rows, margin[judged_rows_]));
  }
}

const bridge::SafetensorsEntry& ReferenceLogits::checked(const std::string& name,
                                                         at::IntArrayRef sizes) const {
  return bridge::with_context(
      bridge::printable(file_->path().filename().native()),
      [&]() -> const bridge::SafetensorsEntry& {
        const bridge::SafetensorsEntry* entry = find(name);
        if (entry == nullptr) refuse(name, "missing");
        bridge::Shape shape = {ids_.size(0), ids_.size(1)};
        shape.insert(shape.end(), sizes.begin(), sizes.end());
        if (!batched_) shape.erase(shape.begin());
        if (entry->dtype != bridge::Dtype::kF32 || entry->shape != shape) {
          refuse(name, fmt::format("{} {}, this model and prompt make F32 {}",
                                   bridge::safetensors_name(entry->dtype),
                                   bridge::shape_text(entry->shape), bridge::shape_text(shape)));
        }
        return *entry;
      });
}

void ReferenceLogits::check_finite(const std::string& name, int64_t unusable,
                                   int64_t values) const {
  if (unusable == 0) return;
  bridge::with_context(bridge::printable(file_->path().filename().native()), [&] {
    refuse(name, fmt::format("{} of {} values are not finite", unusable, values));
  });
}

at::Tensor ReferenceLogits::tensor(const std::string& name, at::IntArrayRef sizes) const {
  const at::Tensor values = read(checked(name, sizes));
  check_finite(name, values.numel() - values.isfinite().sum().item<int64_t>(), values.numel());
  return batched_ ? values : values.unsqueeze(0);
}

at::Tensor ReferenceLogits::logits(const std::string& name, int64_t vocab, int64_t row,
                                   int64_t rows, int64_t first, int64_t count) const {
  const int64_t begin = header_.payload_offset + checked(name, {vocab}).begin;
  at::Tensor out = at::empty({rows, count}, at::kFloat);
  const std::span<std::byte> bytes = bytes_of(out);
  const int64_t row_bytes = count * static_cast<int64_t>(sizeof(float));
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t at = ((row + i) * vocab + first) * static_cast<int64_t>(sizeof(float));
    file_->read_at(begin + at, bytes.subspan(static_cast<size_t>(i * row_bytes),
                                             static_cast<size_t>(row_bytes)));
  }
  return out;
}

}  // namespace models
