#include "models/verify/shared_comparison.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "bridge/io/base/error.h"
#include "bridge/io/base/progress.h"
#include "bridge/io/base/standard_output.h"
#include "bridge/io/file/sha256.h"
#include "models/compare/forward_comparison.h"
#include "models/compare/pair_memory.h"
#include "models/compare/paired_weights.h"
#include "models/compare/tensor_comparison.h"
#include "models/verify/counted_weights.h"
#include "models/verify/device.h"
#include "models/verify/shares.h"
#include "models/weights/tensor_bytes.h"

namespace models {
namespace {

std::string hash_of(const ModelConfig& config) {
  bridge::Sha256 hash;
  for (const auto& [field, value] : describe(config)) {
    hash.add(fmt::format("{} = {}\n", field, value));
  }
  return hash.hex();
}

std::string hash_of(const at::Tensor& ids) {
  at::Tensor flat = ids.contiguous();
  bridge::Sha256 hash;
  hash.add(fmt::format("{} x {}\n", ids.size(0), ids.size(1)));
  hash.add(bytes_of(flat));
  return hash.hex();
}

// The last process needs the embedding's rounding, if its heads read the embedding.
bool borrows_embedding(const LayerRange& share, const ModelConfig& config) {
  return share.has_heads && !share.has_embedding && (config.tied || !config.mtp.empty());
}

}  // namespace

SharedComparison::SharedComparison(bridge::FileSystem& fs, const VerificationOptions& options,
                                   const Compute& compute, const at::Tensor& ids,
                                   const std::optional<LayerRange>& layers,
                                   const std::optional<uint64_t>& seed)
    : fs_(fs), options_(options), compute_(compute), ids_(ids), layers_(layers), seed_(seed) {}

ReportPart SharedComparison::run(Weights& a, Weights& b, const RoundedTypes& types,
                                 bridge::MemoryBudget& budget) {
  const std::string& place = options_.meeting.empty() ? options_.report : options_.meeting;
  if (options_.memory) {
    budget.reserve(pair_bytes(a, b, layers_), "the weights of the largest tensor of both sides");
  }
  Ranks ranks(fs_, place, options_.rank, budget);
  try {
    ranks.join(facts(a.config(), b.config()));
    ReportPart part = compare(ranks, a, b, types);
    part.process = ranks.merge(part, a.config(), b.config());
    return part;
  } catch (const bridge::Error& error) {
    ranks.fail(error.code(), error.message());
    throw;
  } catch (...) {
    ranks.fail(bridge::Code::kIo, "it ended early; its own message says why");
    throw;
  }
}

// Paths may differ between machines.
bridge::PlanFacts SharedComparison::facts(const ModelConfig& a, const ModelConfig& b) const {
  return {{"version", options_.version},
          {"--iteration", options_.iteration.empty() ? "by the tracker" : options_.iteration},
          {"--layers", options_.layers.empty() ? "all" : options_.layers},
          {"--layers-input", seed_ ? fmt::format("seeded by {}", *seed_) : "computed"},
          {"--compute", options_.compute},
          {"--device", compute_.device.is_cpu() ? "cpu" : "cuda"},
          {"--dtype", options_.dtype.empty() ? "not known" : options_.dtype},
          {"the prompt", hash_of(ids_)},
          {"the first configuration", hash_of(a)},
          {"the second configuration", hash_of(b)}};
}

// A rank that waits for nobody has its tensors compared by the reading of the passes. The others
// compare them first, and read again what their layers need.
ReportPart SharedComparison::compare(Ranks& ranks, Weights& a, Weights& b,
                                     const RoundedTypes& types) const {
  const LayerRange share =
      share_of(a.config(), b.config(), layers_, options_.rank.index, options_.rank.count);
  const bool shown = !options_.quiet && options_.progress != bridge::ProgressMode::kNever;
  bridge::Progress progress(options_.progress, options_.quiet, options_.rank.label("forward"),
                            shown ? bytes_of(a, share) + bytes_of(b, share) : 0);
  CountedWeights counted_a(a, progress);
  CountedWeights counted_b(b, progress);
  ReportPart part;
  std::optional<int64_t> ahead;
  if (at::get_num_threads() > 1 && !options_.memory) ahead = kWorthReadingAhead;
  const bool borrows = borrows_embedding(share, a.config()) || borrows_embedding(share, b.config());
  if (!borrows && (options_.rank.leads() || seed_)) {
    PairedWeights pair(counted_a, counted_b, share, types, ahead, compute_);
    part.forward = forward(ranks, pair, share);
    part.forward.seconds -= pair.seconds();
    part.tensors = pair.finish();
  } else {
    part.tensors = compare_tensors(counted_a, counted_b, share, types);
    Roundings rounded_a = part.tensors.rounded_a;
    Roundings rounded_b = part.tensors.rounded_b;
    if (borrows) {
      TensorVerdict embedding = compare_tensors(a, b, LayerRange{.has_embedding = true}, types);
      rounded_a.merge(embedding.rounded_a);
      rounded_b.merge(embedding.rounded_b);
    }
    ranks.check();
    RoundedWeights view_a(a, rounded_a);
    RoundedWeights view_b(b, rounded_b);
    PairedWeights pair(view_a, view_b, LayerRange{});  // compares no tensor
    part.forward = forward(ranks, pair, share);
  }
  progress.finish();
  part.process = {{"rank", options_.rank.index},
                  {"layers", {share.begin, share.end}},
                  {"tensors", part.tensors.compared},
                  {"peak_rss_bytes", bridge::peak_rss_bytes()},
                  {"peak_device_bytes", peak_device_bytes(compute_.device)}};
  return part;
}

ForwardVerdict SharedComparison::forward(Ranks& ranks, PairedWeights& pair,
                                         const LayerRange& share) const {
  const auto start = std::chrono::steady_clock::now();
  ForwardVerdict found = compare_forward(pair, compute_, ids_, share, ranks.inputs(seed_));
  found.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return found;
}

}  // namespace models
