// Rolling targets under context parallelism, where every rank holds a part of every sequence.
//
//   1. Each sequence of length L is cut into 2 * ranks chunks of equal length. Rank r holds the
//      chunks r and 2 * ranks - 1 - r, in this order, sequence after sequence; so all ranks have
//      the same work in causal attention. The offsets are those of the whole row.
//   2. A shift moves each chunk by itself. What a chunk shifts out, its first element, comes in at
//      the last place of the chunk before it in the sequence. For the two chunks of rank r this is
//        chunk 0, r < ranks - 1   what chunk 0 of rank r + 1 shifts out
//        chunk 0, r = ranks - 1   what chunk 1 of the same rank shifts out
//        chunk 1, r > 0           what chunk 1 of rank r - 1 shifts out
//        chunk 1, r = 0           0: the sequence ends here
//   3. Rank r therefore sends the first elements of its chunks 0 to rank r - 1 and those of its
//      chunks 1 to rank r + 1, one message each for all sequences.
// A single rank holds the whole row, and sequences may then have any length.
// Truth: megatron/core/transformer/multi_token_prediction.py (_roll_tensor_packed_seq).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "models/forward/sequences.h"

namespace models {

// How ranks send each other tensors. Messages from one rank to another arrive in the order in which
// they were sent.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual void send(int64_t from, int64_t to, const at::Tensor& message) = 0;
  // The oldest message from `from` that `to` has not received.
  virtual at::Tensor receive(int64_t from, int64_t to) = 0;
};

// All ranks in one process and one thread: every rank sends before one receives. Error: kInternal
// for a message that nobody sent.
class InProcessExchange : public Exchange {
 public:
  void send(int64_t from, int64_t to, const at::Tensor& message) override;
  at::Tensor receive(int64_t from, int64_t to) override;

 private:
  std::map<std::pair<int64_t, int64_t>, std::deque<at::Tensor>> messages_;
};

// Which tokens of a row each rank holds. Immutable.
class ContextLayout {
 public:
  // offsets: of the whole row. Error: kBadInput naming the sequence whose length 2 * ranks does not
  // divide, if there are several ranks.
  ContextLayout(Offsets offsets, int64_t ranks);

  int64_t ranks() const { return ranks_; }
  const Offsets& offsets() const { return offsets_; }

  // The tokens of one rank along the last axis: [..., T] -> [..., T / ranks].
  at::Tensor share(const at::Tensor& whole, int64_t rank) const;
  // The whole row from the shares of all ranks.
  at::Tensor whole(const std::vector<at::Tensor>& shares) const;

  // A sequence that is not empty, as it lies in every share.
  struct Sequence {
    int64_t first = 0;         // place of chunk 0 in a share
    int64_t chunk = 0;         // tokens of a chunk
    int64_t first_of_row = 0;  // place of the sequence in the row
  };
  const std::vector<Sequence>& sequences() const { return sequences_; }

 private:
  Offsets offsets_;
  int64_t ranks_;
  std::vector<Sequence> sequences_;
};

// The two halves of a shift on one rank: send_boundaries, and then rolled_share, which receives
// what the neighbours sent. share: [..., T / ranks]; the sum of the result is that of the share.
void send_boundaries(const ContextLayout& layout, int64_t rank, const at::Tensor& share,
                     Exchange& exchange);
Rolled rolled_share(const ContextLayout& layout, int64_t rank, const at::Tensor& share,
                    Exchange& exchange);

// One shift of the shares of all ranks, which are in this process.
std::vector<Rolled> rolled_shares(const ContextLayout& layout,
                                  const std::vector<at::Tensor>& shares);

}  // namespace models
