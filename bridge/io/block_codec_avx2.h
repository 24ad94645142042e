// The AVX2 form of the block codec. block_codec() chooses; tests compare it with the reference.
#pragma once

#include "bridge/io/block_codec.h"

namespace bridge {

bool has_avx2();  // this processor runs it
const BlockCodec& avx2_block_codec();

}  // namespace bridge
