// The descriptor of an architecture: all that the view of Hugging Face checkpoints knows of it. Each
// lies in a file of its own (mistral.cpp); architectures.h lists them.
//
//   config   reads config.json as transformers reads it, and refuses what is not computed
//   places   what checkpoints call the canonical tensors, in every spelling there is
//   depths   where multi-token prediction is, of which tensors are stored twice or passed over
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

// Columns of a stored matrix that has others beside them.
struct HfColumns {
  int64_t first = 0;
  int64_t count = 0;  // 0: all that there are
  int64_t total = 0;
};

// One way in which a canonical tensor may be stored.
struct HfPlace {
  std::string name;
  bool expert_axis = false;  // the expert's number is an index into a first axis
  RowPattern rows = {};
  HfColumns columns = {};
};

// What names depend on beside the architecture.
struct HfModel {
  const ModelConfig& config;
  // What is in front of the names of the text model, "model.language_model.", "model." or "".
  std::string prefix;

  const LayerConfig& layer(const TensorId& id) const {
    return (id.section == Section::kMtp ? config.mtp : config.layers)
        .at(static_cast<size_t>(id.index));
  }
};

// Names of a multi-token prediction depth begin with this text and a number.
struct HfDepthStart {
  std::string text;
  size_t first;  // the number of the first depth
};

struct HfDepths {
  // Without this no depth is known but those below "mtp.".
  std::vector<HfDepthStart> (*starts)(const HfModel& model) = nullptr;
  // What a depth calls its copies of the embedding and of the output layer.
  std::string_view embedding_copy = {};
  std::string_view output_copy = {};
};

struct HfArchitecture {
  // Which models it describes: those whose config.json names one of the classes in architectures,
  // else those of one of the types. Kimi-K2 has DeepSeek-V3's class under a type of its own. There
  // are no classes where the type says more: which of several forms a model has (Qwen3.5), or that
  // it is a successor that kept the name (DeepSeek-V4.1).
  std::span<const std::string_view> model_types;
  std::span<const std::string_view> classes = {};

  // drop_mtp: as if the model had no multi-token prediction, whatever config.json says of that.
  ModelConfig (*config)(const Settings& config, bool drop_mtp);
  // The ways; a checkpoint has one of them. Never empty. Not for tensors of a vision tower.
  std::vector<HfPlace> (*places)(const HfModel& model, const TensorId& id);

  HfDepths depths = {};
  // Whether runtimes pass over the multi-token prediction of a checkpoint with this config.json.
  bool (*passes_over_mtp)(const Settings& config) = nullptr;
  // Where config.json is not the one to say whether there is multi-token prediction, the tensors
  // are: corrects the configuration by them.
  void (*settle_mtp)(ModelConfig& model, bool has_depths) = nullptr;
};

}  // namespace models
