// By name alone: nothing is read. Names are compared as lower case.
#include "bridge/io/hf/weight_files.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <string>

namespace bridge {
namespace {

constexpr std::string_view kAdapterConfig = "adapter_config.json";
constexpr std::string_view kParams = "params.json";
constexpr std::string_view kTrainingArguments = "training_args.bin";
constexpr std::array<std::string_view, 10> kEndings = {
    ".safetensors", ".bin", ".pth",     ".pt",   ".ckpt",
    ".gguf",        ".h5",  ".msgpack", ".onnx", ".onnx_data"};

std::string lower_case(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

// With its last slash; empty for a file of the folder itself.
std::string_view folder_of(std::string_view name) {
  return name.substr(0, name.rfind('/') + 1);
}

bool holds_weights(std::string_view base) {
  return base != kTrainingArguments &&
         std::any_of(kEndings.begin(), kEndings.end(),
                     [&](auto ending) { return base.ends_with(ending); });
}

}  // namespace

std::vector<HfSideFile> take_weight_files(std::vector<HfSideFile>& files) {
  std::set<std::string, std::less<>> with_consolidated;  // folders
  for (const HfSideFile& file : files) {
    const std::string_view folder = folder_of(file.name);
    const std::string base = lower_case(std::string_view(file.name).substr(folder.size()));
    if (base.starts_with("consolidated") && holds_weights(base)) with_consolidated.emplace(folder);
  }
  const auto is_side_file = [&](const HfSideFile& file) {
    const std::string_view folder = folder_of(file.name);
    const std::string base = lower_case(std::string_view(file.name).substr(folder.size()));
    return !holds_weights(base) && base != kAdapterConfig &&
           !(base == kParams && with_consolidated.contains(folder));
  };
  const auto first = std::stable_partition(files.begin(), files.end(), is_side_file);
  std::vector<HfSideFile> weights(std::make_move_iterator(first),
                                  std::make_move_iterator(files.end()));
  files.erase(first, files.end());
  return weights;
}

bool is_adapter_of_model(std::string_view name) {
  return lower_case(name) == kAdapterConfig;
}

}  // namespace bridge
