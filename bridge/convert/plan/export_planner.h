// Makes the plan of an export (export_plan.h). Internal to plan/.
//
//   export_plan.cpp       what the checkpoint holds, under the names of the origin
//   export_put_back.cpp   what the origin has and the checkpoint has not
//   export_left_out.cpp   what the origin has and the output leaves out on purpose; all else that
//                         the output lacks is an error
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/convert/plan/export_plan.h"

namespace bridge {

class ExportPlanner {
 public:
  ExportPlanner(const MegatronFolder& checkpoint, const mappings::Binding& binding,
                const Origin& origin, const ExportOptions& options, MemoryBudget& budget)
      : checkpoint_(checkpoint),
        binding_(binding),
        origin_(origin),
        layout_(origin.layout()),
        options_(options),
        budget_(budget) {}

  ExportPlan make(FileSystem& fs);

 private:
  void read_text_names();
  const std::string& spelled(const std::string& name) const;
  void add(const CheckpointTensor& tensor);
  Dtype output_dtype(const mappings::Row& row, const HfTensor* before, Dtype current) const;
  void note_new_matrix(const mappings::HfTensorSpec& spec, const mappings::Row& row);
  void add_output(const std::string& name, Dtype dtype, const Shape& shape, Transfer transfer);
  void name_output(const std::string& name, Dtype dtype, const Shape& shape);
  static int64_t output_cost(const std::string& name, const Shape& shape);
  int32_t add_input(ExportPlan::Input input);
  int32_t keep_of_sidecar(const std::string& name);
  int32_t keep_of_reference(const HfTensor& tensor);
  void add_quantized(const mappings::HfTensorSpec& spec, const HfTensor& before,
                     const mappings::BlockScheme& scheme, Transfer transfer);
  void name_in_text_form(const mappings::BlockScheme& scheme, const std::string& weight);
  int64_t glu_interleave() const;
  void refuse_missing_scales() const;

  // export_put_back.cpp
  void put_back_beside(const HfTensor& before);
  std::optional<int32_t> held_input(const HfTensor& before);
  bool sidecar_has(const HfTensor& tensor) const;
  void restore(const mappings::DroppedTensor& drop);
  const mappings::BlockScheme* scheme_of_copy(const HfTensor* before,
                                              const mappings::DroppedTensor& drop) const;
  bool put_back_quantized(const HfTensor& before, const mappings::BlockScheme& scheme);
  void put_back(const HfTensor& before);
  void say_put_back(const std::string& name, bool of_reference, std::string_view why);
  void put_back(const std::string& part);
  void add_as_it_was(const HfTensor& before, int32_t input);
  void add_copy(const std::string& name, const TransferInput& input, Dtype to, const Shape& shape);

  // export_left_out.cpp
  void leave_scales_out(const std::string& name, const mappings::BlockScheme& scheme);
  void leave_stored_out(const std::string& name, const mappings::BlockScheme& scheme);
  void check_origin(size_t dialect);
  void leave_renamed_out();
  void leave_parts_out(size_t dialect);

  const MegatronFolder& checkpoint_;
  const mappings::Binding& binding_;
  const Origin& origin_;
  const HfFolder* layout_;
  const ExportOptions& options_;
  MemoryBudget& budget_;
  Accounting accounting_;
  std::map<std::string, int32_t, std::less<>> by_name_;         // outputs by the origin's names
  std::map<std::string, std::string, std::less<>> text_names_;  // from these to the text form's
  std::vector<int32_t> transfer_of_;  // by output; -1: scales, which come with their tensor
  std::set<std::string, std::less<>> left_out_;
  ExportPlan plan_;
};

}  // namespace bridge
