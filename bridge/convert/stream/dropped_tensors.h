// Source tensors that no row writes (scales among them): read once, so that their CRCs are known,
// and kept or compared.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bridge/convert/match/source_match.h"
#include "bridge/convert/stream/source_crcs.h"
#include "bridge/convert/stream/tensor_reader.h"
#include "bridge/io/sidecar/witness_file.h"

namespace bridge {

class DroppedTensors {
 public:
  DroppedTensors(const HfFolder& source, TensorReader& reader, SourceCrcs& crcs);

  // Its bytes become a witness.
  void keep(int32_t tensor, WitnessWriter& witnesses);

  // Error: kBadInput where it differs from the tensor that it should repeat.
  void compare(const DroppedSource& dropped);

 private:
  std::string name(int32_t tensor) const;

  template <typename Fn>
  void for_each_piece(int32_t index, const Fn& fn);

  const HfFolder& source_;
  TensorReader& reader_;
  SourceCrcs& crcs_;
  std::vector<std::byte> a_;
  std::vector<std::byte> b_;
};

}  // namespace bridge
