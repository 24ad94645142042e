// The canonical tensors of a model: the purpose of each weight, in terms of neither format. Both
// weight views deliver these tensors, so that they can be compared one by one, and the forward pass
// asks for them.
//
//   "embedding", "output", "final_norm"           of the model
//   "layers.3.q", "layers.3.experts.5.gate"       of a decoder layer
//   "mtp.0.projection", "mtp.0.layer.q"           of a multi-token prediction depth: its frame and
//                                                 its layer
//   "vision.places", "vision.blocks.3.q",         of a vision tower (vision_tensors.h): its frame,
//   "vision.deepstack.0.merger.up"                a block and a further merger
//
// A linear weight is [out, in], however it is packed or stacked on disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "bridge/io/base/checked.h"
#include "models/model/model_config.h"

namespace models {

enum class Role {
  // the model
  kEmbedding,
  kFinalNorm,
  kFinalNormBias,
  kOutput,  // absent if tied to the embedding
  // any layer
  kAttentionNorm,
  kMlpNorm,
  kAttentionPostNorm,  // of the result of attention
  kMlpPostNorm,        // of the result of the MLP
  // of norms that have one
  kAttentionNormBias,
  kMlpNormBias,
  // attention
  kQ,
  kK,
  kV,
  kO,
  kQBias,
  kKBias,
  kVBias,
  kOBias,
  kQNorm,
  kKNorm,
  // latent attention: kQ where queries are not compressed, and kO
  kQDown,
  kQDownNorm,
  kQUp,
  kKvDown,  // rows of the latent vector, then of the shared rotated key
  kKvDownNorm,
  kKvUp,  // of each head, rows of the key, then of the value
  // gated attention: [heads * head_dim, D], as kQ
  kQGate,
  // compressed attention: kQDown, kQDownNorm, kQUp, and
  kKv,
  kKvNorm,
  kSink,
  kODown,  // rows of each group, columns of its heads
  kOUp,
  kSummaryValue,
  kSummaryGate,
  kSummaryPlace,  // [ratio, channels], added to the gates
  kSummaryNorm,
  kIndexQ,
  kIndexWeights,
  kIndexValue,
  kIndexGate,
  kIndexPlace,
  kIndexNorm,
  // the index of latent attention: kIndexQ, kIndexWeights, and
  kIndexKey,
  kIndexKeyNorm,
  kIndexKeyNormBias,
  // linear attention: kQ, kK, kV of all heads, kO, and
  kZ,
  kBeta,
  kAlpha,
  kQConv,  // [channels, 1, kernel]
  kKConv,
  kVConv,
  kDecay,  // A_log
  kDecayBias,
  kHeadNorm,
  // Mamba-2: kZ, kDecay and kO, and
  kScanX,  // [heads * head_dim, D]
  kScanB,  // [groups * state, D]
  kScanC,
  kScanXConv,  // [channels, 1, kernel]
  kScanBConv,
  kScanCConv,
  kScanXConvBias,
  kScanBConvBias,
  kScanCConvBias,
  kStep,  // dt
  kStepBias,
  kSkip,  // D
  kScanNorm,
  // dense MLP
  kGate,
  kUp,
  kDown,
  kGateBias,
  kUpBias,
  kDownBias,
  // experts
  kRouter,
  kRouterBias,
  kRouterLogitBias,
  kRouterTable,  // integers: the experts of each token of the vocabulary
  kExpertGate,
  kExpertUp,
  kExpertDown,
  kExpertGateBias,
  kExpertUpBias,
  kExpertDownBias,
  kSharedGate,
  kSharedUp,
  kSharedDown,
  kSharedWeight,  // [1, D]: gives the weight of the shared experts' result
  kLatentDown,    // to the channels that routed experts read
  kLatentUp,      // from those that they write
  // hyper-connections: of a layer, and before the head of the model or of a multi-token prediction
  // depth
  kAttentionMapping,
  kAttentionMappingBase,
  kAttentionMappingScale,
  kMlpMapping,
  kMlpMappingBase,
  kMlpMappingScale,
  kHeadMapping,
  kHeadMappingBase,
  kHeadMappingScale,
  // frame of a multi-token prediction depth
  kMtpEmbeddingNorm,
  kMtpHiddenNorm,
  kMtpProjection,           // columns of the embedding, then of the hidden state
  kMtpEmbeddingProjection,  // with hyper-connections each input has its own
  kMtpHiddenProjection,
  kMtpFinalNorm,
  // vision tower: a block has kAttentionNorm, kQ, kK, kV, kO, kMlpNorm, kUp and kDown, all with
  // biases, or kGate too and norms without; these roles are those of the tower, and those of
  // mergers are those of the further ones too
  kPatchEmbedding,  // [width, channels, frames, patch, patch]
  kPatchEmbeddingBias,
  kPlaces,  // one row per place of the grid
  kMergerNorm,
  kMergerNormBias,
  kMergerUp,  // columns of each merged patch, one patch after the other
  kMergerUpBias,
  kMergerDown,
  kMergerDownBias,
};

enum class Section { kModel, kLayer, kMtp, kVision, kVisionBlock, kVisionMerger };

struct TensorId {
  Role role;
  Section section = Section::kModel;
  int64_t index = 0;    // of the layer, depth, block or further merger
  int64_t expert = -1;  // -1: not of an expert
  bool operator==(const TensorId&) const = default;
};

struct TensorIdHash {
  size_t operator()(const TensorId& id) const {
    constexpr size_t kFactor = 1'000'003;
    size_t hash = static_cast<size_t>(id.role) * kFactor + static_cast<size_t>(id.section);
    for (const int64_t number : {id.index, id.expert}) {
      hash = hash * kFactor + static_cast<size_t>(number);
    }
    return hash;
  }
};

std::string_view role_name(Role role);
// True for a role of a multi-token prediction depth outside its layer.
bool is_of_frame(Role role);
std::string to_string(const TensorId& id);

using TensorVisitor = std::function<void(const TensorId&, const bridge::Shape&)>;

// Visits every tensor that the model must have, with its shape, in the order in which a forward
// pass uses them. Those of a vision tower, which it does not use, come last.
void for_each_tensor(const ModelConfig& config, const TensorVisitor& visit);

}  // namespace models
