// What a training step runs on: one row of tokens, and what is known of them.
//
//   input_ids           [1, T] integers
//   labels              [1, T] integers, optional; -100 does not count
//   loss_mask           [1, T], optional: what each label counts
//   cu_seqlens          [sequences + 1] integers, optional: the offsets of a packed row
//   cu_seqlens_padded   of the same length, optional beside cu_seqlens: the offsets in the row of
//                       sequences that were padded; cu_seqlens then says how long they are without
//   position_ids        [1, T] integers, optional, or [3, 1, T]: in time, height and width
//   padding_mask        [1, T], optional: true for a token that routers' losses leave out
// A file is safetensors, or JSON: an object with lists of numbers under these names. [T] stands for
// [1, T].
// Truth: megatron/core/packed_seq_params.py; Megatron-Bridge's _get_mtp_packed_seq_params, by which
// padded offsets, where there are some, are those of the shift too.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "bridge/io/base/memory_budget.h"
#include "bridge/io/file/file_system.h"
#include "models/forward/sequences.h"
#include "models/train/loss.h"

namespace models {

// As given; undefined: not given.
struct BatchTensors {
  at::Tensor input_ids;
  at::Tensor labels;
  at::Tensor loss_mask;
  at::Tensor cu_seqlens;
  at::Tensor cu_seqlens_padded;
  at::Tensor position_ids;
  at::Tensor padding_mask;
};

struct Batch {
  at::Tensor ids;        // [B, S] int64
  Targets targets;       // of the main head
  Offsets offsets;       // of the sequences in the row, padding included; empty: not packed
  at::Tensor positions;  // [S] int64, or undefined; [3, S]: three of a token, which differ
  at::Tensor left_out;   // [B, S] bool, or undefined: tokens that routers' losses leave out
};

// Error: kBadInput naming the tensor for shapes, offsets and lengths that do not fit.
Batch batch_of(const BatchTensors& given);

// True if the file holds a batch in one of the two formats, false if it holds numbers as text.
bool holds_batch(bridge::FileSystem& fs, const bridge::Path& path);

// Errors: kBadInput "file: name: what", kIo. budget: for the header.
BatchTensors read_batch(bridge::FileSystem& fs, const bridge::Path& path,
                        bridge::MemoryBudget& budget);

}  // namespace models
