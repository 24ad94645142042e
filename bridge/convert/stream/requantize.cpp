#include "bridge/convert/stream/requantize.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "bridge/io/number/block_codec.h"

namespace bridge {
namespace {

class TileQuantizer {
 public:
  TileQuantizer(const Transfer& transfer, const BlockGrid& grid, const Tile& tile,
                const TileBuffers& buffers, const ExecutorHooks& hooks)
      : transfer_(transfer),
        grid_(grid),
        tile_(tile),
        buffers_(buffers),
        hooks_(hooks),
        codec_(block_codec()),
        scale_dtype_(transfer.requantize->source.dtype),
        scale_bytes_(static_cast<size_t>(transfer.requantize->source.scale_bytes())) {}

  // Rows and columns are the tile's own, from 0.
  struct Block {
    int64_t row;
    int64_t rows;
    int64_t column;
    int64_t columns;
  };

  bool keep(const Block& block, float scale) const {
    for (int64_t row = block.row; row < block.row + block.rows; ++row) {
      const auto now = values(block, row);
      const auto found = codes(block, row);
      const int64_t unknown =
          codec_.find_codes(transfer_.to, buffers_.value_dtype, now, scale, found);
      if (hooks_.on_kept_codes) {
        const int64_t begin = (tile_.row + row) * grid_.columns() + tile_.column + block.column;
        hooks_.on_kept_codes({transfer_, begin, scale, now, found});
      }
      // FP4 has no code for a NaN, but the source may have made one of its scale.
      if (unknown > 0 && !gives(found, scale, now)) return false;
    }
    return true;
  }

  // Returns the new scale.
  float quantize(const Block& block, const std::function<std::string(int32_t)>& name_of) const {
    float largest = 0;
    for (int64_t row = block.row; row < block.row + block.rows; ++row) {
      const float amax = codec_.amax(buffers_.value_dtype, values(block, row));
      if (!std::isfinite(amax)) {
        bad_input(fmt::format("{}: a value in row {} is not finite, so its block has no scale",
                              printable(name_of(transfer_.target)), tile_.row + row),
                  "the checkpoint's weights are damaged; --dtype bf16 exports them as they are");
      }
      largest = std::max(largest, amax);
    }
    const Dtype rule = transfer_.requantize->power_of_two ? Dtype::kF8E8M0 : scale_dtype_;
    const float scale = new_scale(transfer_.to, rule, largest);
    int64_t clipped = 0;
    for (int64_t row = block.row; row < block.row + block.rows; ++row) {
      codec_.quantize(transfer_.to, buffers_.value_dtype, values(block, row), scale,
                      codes(block, row), clipped);
    }
    if (clipped > 0) ++hooks_.blocks->clipped;
    return scale;
  }

  size_t scale_bytes() const { return scale_bytes_; }
  Dtype scale_dtype() const { return scale_dtype_; }

 private:
  bool gives(std::span<const std::byte> codes, float scale,
             std::span<const std::byte> values) const {
    std::vector<std::byte> forward(values.size());
    int64_t overflowed = 0;
    codec_.dequantize(transfer_.to, codes, scale, buffers_.value_dtype, forward, overflowed);
    return std::memcmp(forward.data(), values.data(), values.size()) == 0;
  }

  std::span<const std::byte> values(const Block& block, int64_t row) const {
    return buffers_.values.subspan(at(buffers_.value_dtype, block, row),
                                   size(buffers_.value_dtype, block));
  }
  std::span<std::byte> codes(const Block& block, int64_t row) const {
    return buffers_.codes.subspan(at(transfer_.to, block, row), size(transfer_.to, block));
  }
  size_t at(Dtype dtype, const Block& block, int64_t row) const {
    return static_cast<size_t>(bytes_of(dtype, row * tile_.columns + block.column));
  }
  static size_t size(Dtype dtype, const Block& block) {
    return static_cast<size_t>(bytes_of(dtype, block.columns));
  }

  const Transfer& transfer_;
  const BlockGrid& grid_;
  const Tile& tile_;
  const TileBuffers& buffers_;
  const ExecutorHooks& hooks_;
  const BlockCodec& codec_;
  Dtype scale_dtype_;
  size_t scale_bytes_;
};

}  // namespace

void requantize_tile(const Transfer& transfer, const BlockGrid& grid, const Tile& tile,
                     const TileBuffers& buffers, const ExecutorHooks& hooks,
                     const std::function<std::string(int32_t)>& name_of) {
  const TileQuantizer quantizer(transfer, grid, tile, buffers, hooks);
  const size_t bytes = quantizer.scale_bytes();
  std::byte* out = buffers.scales.data();
  for (int64_t row = 0; row < tile.rows; row += grid.block_rows()) {
    for (int64_t column = 0; column < tile.columns; column += grid.block_columns()) {
      const TileQuantizer::Block block{row, std::min(grid.block_rows(), tile.rows - row), column,
                                       std::min(grid.block_columns(), tile.columns - column)};
      const int64_t number = row / grid.block_rows() * grid.grid_columns() +
                             (tile.column + column) / grid.block_columns();
      const std::byte* source = buffers.source_scales.data() + static_cast<size_t>(number) * bytes;
      if (quantizer.keep(block, load_scale(quantizer.scale_dtype(), source))) {
        std::memcpy(out, source, bytes);
        ++hooks.blocks->kept;
      } else {
        store_scale(quantizer.scale_dtype(), quantizer.quantize(block, name_of), out);
        ++hooks.blocks->fresh;
      }
      out += bytes;
    }
  }
}

}  // namespace bridge
