// The architectures that the view of Hugging Face checkpoints reads. A new one needs a line here
// and a file that defines its descriptor as architectures::NAME. A descriptor without its line does
// not compile; a line without its descriptor does not link.
//
// The list is explicit, because a linker drops everything from a static library that nothing refers
// to.
#pragma once

#include "models/hf/architecture.h"

namespace models {

#define CAUSEWAY_HF_ARCHITECTURES(LINE) \
  LINE(kBailingMoeV2)                   \
  LINE(kDeepseekV2)                     \
  LINE(kDeepseekV3)                     \
  LINE(kDeepseekV32)                    \
  LINE(kDeepseekV4)                     \
  LINE(kGemma2)                         \
  LINE(kGemma3)                         \
  LINE(kGlm4)                           \
  LINE(kGlm4Moe)                        \
  LINE(kGlm4MoeLite)                    \
  LINE(kGlmMoeDsa)                      \
  LINE(kGptOss)                         \
  LINE(kHyV3)                           \
  LINE(kLlama)                          \
  LINE(kLlama4)                         \
  LINE(kMiMo)                           \
  LINE(kMiniMaxM2)                      \
  LINE(kMinistral)                      \
  LINE(kMistral)                        \
  LINE(kMixtral)                        \
  LINE(kNemotron)                       \
  LINE(kNemotronH)                      \
  LINE(kOlmoe)                          \
  LINE(kPhi3)                           \
  LINE(kQwen2)                          \
  LINE(kQwen2Moe)                       \
  LINE(kQwen2_5Vl)                      \
  LINE(kQwen3)                          \
  LINE(kQwen3_5)                        \
  LINE(kQwen3Moe)                       \
  LINE(kQwen3Vl)                        \
  LINE(kQwen3VlMoe)                     \
  LINE(kSeedOss)                        \
  LINE(kStarcoder2)

namespace architectures {
#define CAUSEWAY_DECLARE(name) extern const HfArchitecture name;
CAUSEWAY_HF_ARCHITECTURES(CAUSEWAY_DECLARE)
#undef CAUSEWAY_DECLARE
}  // namespace architectures

// Returns the architecture that has a class in config.json's architectures, else the one of its
// model_type. Errors: kUnsupported, which names the type, for others; kBadInput if architectures is
// not a list of texts.
const HfArchitecture& hf_architecture(const Settings& config);

}  // namespace models
