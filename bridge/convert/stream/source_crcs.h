// The CRC-32 of every source tensor, assembled while the executor reads it in pieces from any
// thread. Tensors that are left out are not read and have no CRC.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "bridge/io/file/range_crc.h"
#include "bridge/io/hf/hf_folder.h"

namespace bridge {

class SourceCrcs {
 public:
  SourceCrcs(const HfFolder& folder, const std::vector<int32_t>& left_out)
      : folder_(folder), crcs_(folder.tensors.size()), left_out_(left_out.size()) {}

  void add(size_t tensor, int64_t begin, int64_t length, uint32_t crc) {
    const std::lock_guard lock(mutex_);
    const int64_t size = folder_.tensors[tensor].end - folder_.tensors[tensor].begin;
    const auto [it, fresh] = open_.try_emplace(tensor, size);
    it->second.add(begin, length, crc);
    if (it->second.complete()) {
      crcs_[tensor] = it->second.value();
      open_.erase(it);
      ++complete_;
    }
  }

  // By index of folder.tensors. Every tensor but those left out must have been read whole.
  const std::vector<std::optional<uint32_t>>& values() const {
    if (complete_ + left_out_ != crcs_.size())
      internal_error("a source tensor was not read to its end");
    return crcs_;
  }

 private:
  const HfFolder& folder_;
  std::mutex mutex_;
  std::map<size_t, RangeCrc> open_;
  std::vector<std::optional<uint32_t>> crcs_;
  size_t left_out_;
  size_t complete_ = 0;
};

}  // namespace bridge
