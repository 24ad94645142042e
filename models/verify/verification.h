// The work of causeway-verify, apart from its command line.
//
//   A B                       two checkpoints of one model: configuration, tensors, forward pass
//   A [B] with a reference    also each one's forward pass against recorded logits
//   A [B] with train-step     a training step instead (train_verification.h)
//   A B, several processes    each compares its share (ranks.h); rank 0 reports
// Forward passes of equal models are equal bit for bit. If configuration or tensors already differ,
// the difference of the passes is judged like one from recorded logits. If a side is rounded to a
// narrower type (models/compare/rounding.h), both run on the rounded values.
// Truth: docs/verification.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bridge/io/base/progress.h"
#include "bridge/io/file/file_system.h"
#include "bridge/io/launch/rank.h"

namespace models {

constexpr uint64_t kDefaultMemory = 256 << 20;

struct VerificationOptions {
  std::string a;
  std::string b;           // empty: none
  std::string reference;   // recorded logits; empty: none
  std::string iteration;   // of a Megatron checkpoint
  std::string run_config;  // for a Megatron checkpoint that has none
  std::string tokens;      // file or numbers; empty: a prompt from the seed
  std::string layers;      // "A:B"; empty: all
  std::string compute = "fp32";
  std::string device = "auto";
  std::string cuda_libraries;   // models/verify/device.h; empty: not given
  std::string dtype;            // --dtype of the conversion; empty: not known
  std::string report;           // JSON file; empty: none
  std::string mode = "logits";  // or "train-step"
  std::string dump;             // train-step: file of gradients; empty: none
  int64_t ranks = 1;            // train-step: of context parallelism, in this process
  bool router_loss = false;     // train-step: adds the routers' losses
  std::string recompute;        // train-step: models/forward/recompute.h; empty: not given
  std::string fp8 = "none";     // train-step: models/train/fp8.h
  int64_t mhc_block = 0;        // train-step: --mhc-recompute-layers; 0: not given
  bridge::ProgressMode progress = bridge::ProgressMode::kAuto;
  // Leaves out the MTP depths of the Hugging Face side, and of every side of a training step.
  bool drop_mtp = false;
  bool text_only = false;  // leaves out a vision tower that only one side has
  bool quiet = false;
  bool seeded_layers = false;  // makes the input of every layer (LayerInputs::seed)
  bridge::Rank rank;           // of several processes that share the comparison
  std::string meeting;         // the report beside which they meet; empty: `report`
  bool only_checks = false;    // ends before a checkpoint is opened
  std::string version;         // of the program, which must be that of all processes
  int threads = 0;             // 0: one per core, at most 16
  int caller = 0;              // the process that this one must not outlive; 0: none
  // A hard cap on headers, metadata and weights; nullopt: kDefaultMemory for headers and metadata,
  // and what the largest tensor needs.
  std::optional<uint64_t> memory;
  // A hard cap on tensors and workspaces on a GPU; nullopt: what is free there.
  std::optional<uint64_t> device_memory;
  std::optional<int64_t> prompt_length;
  std::optional<uint64_t> seed;
};

// Prints what it finds and writes the report; false if something differs. Of several processes rank
// 0 does so, and the others return true. It changes the threads
// and determinism settings of the process. Errors: kUsage for options that do not go together, and
// the errors of reading the inputs.
bool verify(bridge::FileSystem& fs, const VerificationOptions& options);

}  // namespace models
