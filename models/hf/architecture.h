// The descriptor of an architecture: everything that the view of Hugging Face checkpoints knows
// about it. Each descriptor lies in its own file (mistral.cpp); architectures.h lists them.
//
//   config   reads config.json as transformers reads it, and refuses what is not computed
//   places   gives the names that checkpoints use for the canonical tensors, in every spelling
//   depths   says where multi-token prediction lies, and which of its tensors are stored twice or
//            skipped
//
// Nothing else in the view asks which architecture a model has.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/model/model_config.h"
#include "models/model/tensor_id.h"
#include "models/weights/row_pattern.h"
#include "models/weights/settings.h"

namespace models {

// Selects columns of a stored matrix, which may hold others beside them. After the last column of
// the matrix they go on at its first.
struct HfColumns {
  int64_t first = 0;
  int64_t count = 0;  // 0: all columns
  int64_t total = 0;
};

// One way in which a canonical tensor may be stored.
struct HfPlace {
  std::string name;
  bool expert_axis = false;  // the expert's number is an index into a first axis
  RowPattern rows = {};
  HfColumns columns = {};
  bool transposed = false;  // a matrix is stored [in, out]; `rows` are of its [out, in]
};

// What names depend on besides the architecture.
struct HfModel {
  const ModelConfig& config;
  // The prefix of the names of the text model: "model.language_model.", "model." or "".
  std::string prefix;
  // The matrices of experts that lie in one tensor are stored [in, out].
  bool transposed_experts = false;

  const LayerConfig& layer(const TensorId& id) const {
    return (id.section == Section::kMtp ? config.mtp : config.layers)
        .at(static_cast<size_t>(id.index));
  }
};

// The names of a multi-token prediction depth begin with this text and a number.
struct HfDepthStart {
  std::string text;
  size_t first;  // the number of the first depth
};

struct HfDepths {
  // nullptr: the only known depths are those below "mtp.".
  std::vector<HfDepthStart> (*starts)(const HfModel& model) = nullptr;
  // The name of a depth's copy of the embedding, and of its copy of the output layer.
  std::string_view embedding_copy = {};
  std::string_view output_copy = {};
};

struct HfArchitecture {
  // The models that it describes: those whose config.json names one of the classes in
  // architectures, else those of one of these types. Kimi-K2 has DeepSeek-V3's class under a type
  // of its own. The list of classes is empty where the type says which of several forms a model has
  // (Qwen3.5).
  std::span<const std::string_view> model_types;
  std::span<const std::string_view> classes = {};
  // Types of other models that kept the name of a class.
  std::span<const std::string_view> not_types = {};

  // drop_mtp: reads the configuration as if the model had no multi-token prediction.
  ModelConfig (*config)(const Settings& config, bool drop_mtp);
  // Returns the possible places, never empty; a checkpoint uses one of them. Not called for tensors
  // of a vision tower.
  std::vector<HfPlace> (*places)(const HfModel& model, const TensorId& id);

  // Checkpoints store the matrices of experts that lie in one tensor either way round.
  bool turns_experts = false;

  HfDepths depths = {};
  // True if runtimes skip the multi-token prediction of a checkpoint with this config.json.
  bool (*passes_over_mtp)(const Settings& config) = nullptr;
  // Corrects the configuration where the tensors, not config.json, decide whether there is
  // multi-token prediction.
  void (*settle_mtp)(ModelConfig& model, bool has_depths) = nullptr;
};

}  // namespace models
