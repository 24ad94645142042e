// Reads the source tensors that no row writes (scales among them) once, so that their CRCs are
// known, and keeps or compares them.
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

  // Keeps the tensor's bytes as a witness.
  void keep(int32_t tensor, WitnessWriter& witnesses);

  // Errors: kBadInput where the tensor differs from the one that it should repeat.
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
