#include "bridge/io/block_codec_avx2.h"
namespace bridge {
bool has_avx2() {
  return false;
}
const BlockCodec& avx2_block_codec() {
  return scalar_block_codec();
}
}  // namespace bridge
