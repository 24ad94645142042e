// Files beside a model that hold weights outside its weight map: the same model for other programs, shards of an earlier
// upload, an adapter that is not merged. They are no side files: carried through training, old weights would lie beside
// new ones, and some programs would read them.
//
//   by ending       .safetensors .bin .pth .pt .ckpt .gguf .h5 .msgpack .onnx .onnx_data, in capitals too
//   by company      params.json beside consolidated* (what Llama's and Mistral's own programs read)
//   adapters        adapter_config.json, with which transformers and peft look for an adapter's weights
// training_args.bin is none: it holds the arguments of transformers' Trainer.
//
// Truth: transformers/utils/__init__.py (names of weights), transformers/integrations/peft.py (find_adapter_config_file).
#pragma once

#include <string_view>
#include <vector>

#include "bridge/io/hf/hf_folder.h"

namespace bridge {

// Takes those files out of `files` (sorted by name) and returns them in the same order.
std::vector<HfSideFile> take_weight_files(std::vector<HfSideFile>& files);

// With it in a model's folder, programs load an adapter on top of the model. In a subfolder nobody looks for it.
bool is_adapter_of_model(std::string_view name);

}  // namespace bridge
