// Files beside a model that hold weights outside its weight map: the same model for other programs,
// shards of an earlier upload, an adapter that is not merged. They are not side files: carried
// through training, old weights would lie beside new ones, and some programs would read them.
//
//   by ending   .safetensors .bin .pth .pt .ckpt .gguf .h5 .msgpack .onnx .onnx_data, also in
//               capitals
//   by company  params.json beside consolidated* (read by Llama's and Mistral's own programs)
//   adapters    adapter_config.json, by which transformers and peft find an adapter's weights
// training_args.bin does not count: it holds the arguments of transformers' Trainer. Neither does a
// .safetensors file without tensors, such as a shard from which all tensors were dropped.
//
// Truth: transformers/utils/__init__.py (names of weights), transformers/integrations/peft.py
// (find_adapter_config_file).
#pragma once

#include <string_view>
#include <vector>

#include "bridge/io/file/file_system.h"
#include "bridge/io/hf/hf_folder.h"

namespace bridge {

// Takes those files out of `files` (sorted by name), which lie in `folder`, and returns them in the
// same order. A file that cannot be read as safetensors counts as weights.
std::vector<HfSideFile> take_weight_files(FileSystem& fs, const Path& folder,
                                          std::vector<HfSideFile>& files);

// True for the file that makes programs load an adapter on top of the model if it lies in the
// model's folder. No program looks for it in a subfolder.
bool is_adapter_of_model(std::string_view name);

}  // namespace bridge
