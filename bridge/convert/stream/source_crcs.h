// The CRC-32 of every source tensor, assembled while the executor reads it in pieces from any
// thread. Tensors that are left out are not read and have no CRC.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
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
    RangeCrc& range = open(tensor);
    range.add(begin, length, crc);
    if (range.complete()) {
      const uint32_t value = range.value();
      open_.erase(tensor);
      complete(tensor, value);
    }
  }

  // By index of folder.tensors. Every tensor but those left out must have been read whole.
  const std::vector<std::optional<uint32_t>>& values() const {
    if (complete_ + left_out_ != crcs_.size())
      internal_error("a source tensor was not read to its end");
    return crcs_;
  }

  // take_complete() returns the tensors completed since its last call, open_parts() what is known
  // of those that are not complete.
  std::vector<NumberedCrc> take_complete() {
    const std::lock_guard lock(mutex_);
    return std::exchange(fresh_, {});
  }
  std::vector<NumberedPart> open_parts() const {
    const std::lock_guard lock(mutex_);
    std::vector<NumberedPart> parts;
    for (const auto& [tensor, range] : open_) {
      for (const RangeCrc::Part& part : range.parts()) {
        parts.push_back({static_cast<int64_t>(tensor), part});
      }
    }
    return parts;
  }
  // Takes up what another run or process read. Call it before add(). Reports kBadInput for what
  // does not fit.
  void restore(const std::vector<NumberedCrc>& complete_before,
               const std::vector<NumberedPart>& parts) {
    for (const auto& [tensor, crc] : complete_before) {
      check(tensor);
      complete(static_cast<size_t>(tensor), crc);
    }
    fresh_.clear();
    for (const auto& [tensor, part] : parts) {
      check(tensor);
      if (!open(static_cast<size_t>(tensor)).fits(part)) {
        bad_input("a CRC of bytes that the source tensor does not have");
      }
      add(static_cast<size_t>(tensor), part.offset, part.length, part.crc);
    }
  }

 private:
  RangeCrc& open(size_t tensor) {
    const int64_t size = folder_.tensors[tensor].end - folder_.tensors[tensor].begin;
    return open_.try_emplace(tensor, size).first->second;
  }
  void complete(size_t tensor, uint32_t crc) {
    crcs_[tensor] = crc;
    fresh_.push_back({static_cast<int64_t>(tensor), crc});
    ++complete_;
  }
  void check(int64_t tensor) const {
    if (tensor < 0 || tensor >= std::ssize(crcs_) || crcs_[static_cast<size_t>(tensor)]) {
      bad_input("a CRC of a source tensor that is not there, or twice");
    }
  }

  const HfFolder& folder_;
  mutable std::mutex mutex_;
  std::map<size_t, RangeCrc> open_;
  std::vector<std::optional<uint32_t>> crcs_;
  std::vector<NumberedCrc> fresh_;
  size_t left_out_;
  size_t complete_ = 0;
};

}  // namespace bridge
