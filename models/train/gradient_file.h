// The losses and gradients of a training step as a safetensors file, all in F32.
//
//   loss.main     [2]: the sum over tokens, and the count
//   loss.mtp.K    the same of depth K, from 0
//   grad.KEY      the gradient of the checkpoint's tensor KEY, of its shape
// Tensors without a gradient are not in the file.
#pragma once

#include "bridge/io/file/file_system.h"
#include "models/train/train_step.h"

namespace models {

// Refuses a path that cannot be written, before the work whose result it will hold: kUsage for a
// path that names something other than a file or that lies in no folder.
void check_gradient_file(bridge::FileSystem& fs, const bridge::Path& path);

// Writes the file whole or not at all; it replaces one that is there. Memory holds one gradient at
// a time. Error: kIo.
void write_gradients(bridge::FileSystem& fs, const bridge::Path& path, const StepLosses& losses,
                     LeafWeights& weights);

}  // namespace models
