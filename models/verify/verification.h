// What causeway-verify does, apart from its command line.
//
//   A B                       two checkpoints of one model: configuration, tensors, forward pass
//   A [B] with a reference    each one's forward pass against recorded logits as well
// Forward passes of equal models are equal bit for bit; where configuration or tensors differ already, what they differ
// by is judged like a difference from recorded logits. Where a side is rounded to a narrower type (models/compare/rounding.h),
// both run on the rounded values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bridge/io/base/progress.h"
#include "bridge/io/file/file_system.h"

namespace models {

struct VerificationOptions {
  std::string a;
  std::string b;           // empty: none
  std::string reference;   // recorded logits; empty: none
  std::string iteration;   // of a Megatron checkpoint
  std::string run_config;  // for one that has none
  std::string tokens;      // file or numbers; empty: a prompt from the seed
  std::string layers;      // "A:B"; empty: all
  std::string compute = "fp32";
  std::string device = "cpu";
  std::string dtype;   // that of the conversion; "": not known
  std::string report;  // JSON file; empty: none
  bridge::ProgressMode progress = bridge::ProgressMode::kAuto;
  bool drop_mtp = false;   // of the Hugging Face side
  bool text_only = false;  // a vision tower that one side alone has is not compared
  bool quiet = false;
  int threads = 0;  // 0: one a core, at most 16
  int caller = 0;   // process that this one shall not outlive; 0: none
  uint64_t memory = 256 << 20;
  std::optional<int64_t> prompt_length;
  std::optional<uint64_t> seed;
};

// Prints what it finds and writes the report; false where something differs. Changes the process: threads, determinism. Errors:
// kUsage for options that do not go together, and those of what it reads.
bool verify(bridge::FileSystem& fs, const VerificationOptions& options);

}  // namespace models
