#include "mappings/binding/row_in_layer.h"

#include <fmt/format.h>

#include "bridge/io/base/error.h"
#include "mappings/binding/binding_check.h"

namespace mappings {

RowInLayer::RowInLayer(const Row& row, const Namer& namer, const Scope& scope, bool local_spec)
    : scope_(scope) {
  tensor_.row = &row;
  std::vector<std::string> spellings = {local_spec ? row.megatron_local : row.megatron};
  if (row.megatron_local != row.megatron) {
    spellings.push_back(local_spec ? row.megatron : row.megatron_local);
  }
  spellings.insert(spellings.end(), row.aliases.begin(), row.aliases.end());
  for (size_t prefix = 0; prefix < namer.prefix_count(); ++prefix) {
    for (const std::string& name : spellings) megatron_.push_back(namer.fill(name, prefix));
  }
  for (const HfPart& part : row.hf) {
    hf_.push_back(namer.fill(part.name));
    HfTensorSpec spec;
    for (const Expr& dim : part.shape) spec.shape.push_back(dim.evaluate_int(scope));
    tensor_.hf.push_back(std::move(spec));
  }
  for (size_t i = 0; i < kNumberOptions.size(); ++i) {
    if (row.numbers[i].empty()) continue;
    tensor_.numbers.*kNumberOptions[i].number = row.numbers[i].evaluate_int(scope);
  }
  for (size_t i = 0; i < row.split_rows.size(); ++i) {
    tensor_.numbers.split.push_back({row.split[i], row.split_rows[i].evaluate_int(scope)});
  }
  for (const Expr& chunks : row.chunks) tensor_.chunks.push_back(chunks.evaluate_int(scope));
  tensor_.aliases.resize(megatron_.size() - 1);
  name_expert(0);
  settle_shapes(tensor_);
}

void RowInLayer::name_expert(int64_t expert) {
  tensor_.name = megatron_[0].text(expert);
  for (size_t i = 1; i < megatron_.size(); ++i) {
    tensor_.aliases[i - 1] = megatron_[i].text(expert);
  }
  for (size_t i = 0; i < hf_.size(); ++i) {
    tensor_.hf[i].name = hf_[i].text(hf_[i].number.empty() ? expert : number_of(hf_[i], expert));
  }
}

int64_t RowInLayer::number_of(const Name& name, int64_t expert) const {
  Scope scope = scope_;
  scope.variables.emplace_back("e", expert);
  const int64_t number = name.number.evaluate_int(scope);
  if (number < 0) bridge::bad_input(fmt::format("expert number {} is negative", number));
  return number;
}

}  // namespace mappings
