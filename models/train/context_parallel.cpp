#include "models/train/context_parallel.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include "bridge/io/base/error.h"

namespace models {
namespace {

// The first elements of chunk 0 or 1 of every sequence: [..., sequences].
at::Tensor first_elements(const ContextLayout& layout, const at::Tensor& share, int64_t chunk) {
  at::Tensor places = at::empty({std::ssize(layout.sequences())}, at::kLong);
  int64_t* place = places.mutable_data_ptr<int64_t>();
  for (const ContextLayout::Sequence& sequence : layout.sequences()) {
    *place++ = sequence.first + chunk * sequence.chunk;
  }
  return share.index_select(-1, places.to(share.device()));
}

}  // namespace

void InProcessExchange::send(int64_t from, int64_t to, const at::Tensor& message) {
  messages_[{from, to}].push_back(message);
}

at::Tensor InProcessExchange::receive(int64_t from, int64_t to) {
  std::deque<at::Tensor>& waiting = messages_[{from, to}];
  if (waiting.empty()) {
    bridge::internal_error(fmt::format("rank {} sent rank {} nothing", from, to));
  }
  at::Tensor message = waiting.front();
  waiting.pop_front();
  return message;
}

ContextLayout::ContextLayout(Offsets offsets, int64_t ranks)
    : offsets_(std::move(offsets)), ranks_(ranks) {
  for (size_t i = 1; i < offsets_.size(); ++i) {
    const int64_t first = offsets_[i - 1];
    const int64_t length = offsets_[i] - first;
    if (ranks_ > 1 && length % (2 * ranks_) != 0) {
      bridge::bad_input(
          fmt::format("sequence {} has {} tokens, which {} ranks of context parallelism cannot "
                      "cut into {} equal chunks",
                      i - 1, length, ranks_, 2 * ranks_),
          "pad sequences to a multiple of twice the number of ranks");
    }
    if (length > 0) sequences_.push_back({first / ranks_, length / (2 * ranks_), first});
  }
}

at::Tensor ContextLayout::share(const at::Tensor& whole, int64_t rank) const {
  if (ranks_ == 1) return whole;
  std::vector<at::Tensor> chunks;
  for (const Sequence& sequence : sequences_) {
    for (const int64_t chunk : {rank, 2 * ranks_ - 1 - rank}) {
      chunks.push_back(
          whole.narrow(-1, sequence.first_of_row + chunk * sequence.chunk, sequence.chunk));
    }
  }
  return at::cat(chunks, -1);
}

at::Tensor ContextLayout::whole(const std::vector<at::Tensor>& shares) const {
  if (ranks_ == 1) return shares.at(0);
  std::vector<at::Tensor> chunks;
  for (const Sequence& sequence : sequences_) {
    for (int64_t rank = 0; rank < ranks_; ++rank) {
      chunks.push_back(
          shares.at(static_cast<size_t>(rank)).narrow(-1, sequence.first, sequence.chunk));
    }
    for (int64_t rank = ranks_ - 1; rank >= 0; --rank) {
      chunks.push_back(shares.at(static_cast<size_t>(rank))
                           .narrow(-1, sequence.first + sequence.chunk, sequence.chunk));
    }
  }
  return at::cat(chunks, -1);
}

void send_boundaries(const ContextLayout& layout, int64_t rank, const at::Tensor& share,
                     Exchange& exchange) {
  if (rank > 0) exchange.send(rank, rank - 1, first_elements(layout, share, 0));
  if (rank + 1 < layout.ranks()) exchange.send(rank, rank + 1, first_elements(layout, share, 1));
}

Rolled rolled_share(const ContextLayout& layout, int64_t rank, const at::Tensor& share,
                    Exchange& exchange) {
  if (layout.ranks() == 1) return rolled_left(share, layout.offsets());
  const bool is_last = rank + 1 == layout.ranks();
  const at::Tensor into_first =
      is_last ? first_elements(layout, share, 1) : exchange.receive(rank + 1, rank);
  const at::Tensor into_second = rank > 0 ? exchange.receive(rank - 1, rank) : at::Tensor();
  const at::Tensor values = at::zeros_like(share);
  for (int64_t i = 0; i < std::ssize(layout.sequences()); ++i) {
    const ContextLayout::Sequence& sequence = layout.sequences()[static_cast<size_t>(i)];
    for (const int64_t first : {sequence.first, sequence.first + sequence.chunk}) {
      const at::Tensor& comes_in = first == sequence.first ? into_first : into_second;
      const int64_t kept = sequence.chunk - 1;
      if (kept > 0) values.narrow(-1, first, kept).copy_(share.narrow(-1, first + 1, kept));
      if (comes_in.defined()) values.select(-1, first + kept).copy_(comes_in.select(-1, i));
    }
  }
  return {values, values.sum()};
}

std::vector<Rolled> rolled_shares(const ContextLayout& layout,
                                  const std::vector<at::Tensor>& shares) {
  InProcessExchange exchange;
  for (int64_t rank = 0; rank < layout.ranks(); ++rank) {
    send_boundaries(layout, rank, shares.at(static_cast<size_t>(rank)), exchange);
  }
  std::vector<Rolled> rolled;
  for (int64_t rank = 0; rank < layout.ranks(); ++rank) {
    rolled.push_back(rolled_share(layout, rank, shares.at(static_cast<size_t>(rank)), exchange));
  }
  return rolled;
}

}  // namespace models
