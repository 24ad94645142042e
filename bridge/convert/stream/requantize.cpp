#include "bridge/convert/stream/requantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "bridge/io/number/block_codec.h"

namespace bridge {
namespace {

// Of the values of one block.
struct Magnitudes {
  float largest = 0;
  std::optional<int64_t> damaged_row;  // the first row with a value that is not finite
};

float new_scale_of(const Transfer& transfer, const Magnitudes& magnitudes, const NameOf& name_of) {
  if (magnitudes.damaged_row) {
    bad_input(fmt::format("{}: a value in row {} is not finite, so its block has no scale",
                          printable(name_of(transfer.target)), *magnitudes.damaged_row),
              "the checkpoint's weights are damaged; --dtype bf16 exports them as they are");
  }
  const Requantize& again = *transfer.requantize;
  return new_scale(transfer.to, again.power_of_two ? Dtype::kF8E8M0 : again.source.dtype,
                   magnitudes.largest);
}

// Counts a block that got its codes.
void count_kept(BlockCounts& counts, int64_t changed) {
  counts.witnesses += changed;
  ++counts.kept;
}

void count_fresh(BlockCounts& counts, int64_t clipped) {
  if (clipped > 0) ++counts.clipped;
  ++counts.fresh;
}

class TileQuantizer {
 public:
  TileQuantizer(const Transfer& transfer, const BlockGrid& grid, const Tile& tile,
                const TileBuffers& buffers, const ExecutorHooks& hooks)
      : transfer_(transfer),
        grid_(grid),
        tile_(tile),
        buffers_(buffers),
        hooks_(hooks),
        codec_(block_codec()) {}

  // Rows and columns are the tile's own, from 0.
  struct Block {
    int64_t row;
    int64_t rows;
    int64_t column;
    int64_t columns;
  };

  // Finds the codes that the values have under a scale; returns whether they have some. changed
  // grows by the bytes of codes that are the source's own instead.
  bool find(const Block& block, float scale, int64_t& changed) const {
    for (int64_t row = block.row; row < block.row + block.rows; ++row) {
      const auto now = values(block, row);
      const auto found = codes(block, row);
      const int64_t unknown =
          codec_.find_codes(transfer_.to, buffers_.value_dtype, now, scale, found);
      if (hooks_.on_kept_codes) {
        const int64_t begin = (tile_.row + row) * grid_.columns() + tile_.column + block.column;
        changed += hooks_.on_kept_codes({transfer_, begin, scale, now, found});
      }
      // FP4 has no code for NaN, but the source may have made a NaN from its scale.
      if (unknown > 0 && !gives(found, scale, now)) return false;
    }
    return true;
  }

  // Adds to what is known of the magnitudes of a block.
  void look(const Block& block, Magnitudes& magnitudes) const {
    for (int64_t row = block.row; row < block.row + block.rows; ++row) {
      const float amax = codec_.amax(buffers_.value_dtype, values(block, row));
      if (std::isfinite(amax)) {
        magnitudes.largest = std::max(magnitudes.largest, amax);
      } else if (!magnitudes.damaged_row) {
        magnitudes.damaged_row = tile_.row + row;
      }
    }
  }

  // clipped grows by the values beyond the largest code.
  void quantize(const Block& block, float scale, int64_t& clipped) const {
    for (int64_t row = block.row; row < block.row + block.rows; ++row) {
      codec_.quantize(transfer_.to, buffers_.value_dtype, values(block, row), scale,
                      codes(block, row), clipped);
    }
  }

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
};

}  // namespace

void requantize_tile(const Transfer& transfer, const BlockGrid& grid, const Tile& tile,
                     const TileBuffers& buffers, const ExecutorHooks& hooks,
                     const NameOf& name_of) {
  const TileQuantizer quantizer(transfer, grid, tile, buffers, hooks);
  const BlockScales& scales = transfer.requantize->source;
  const auto bytes = static_cast<size_t>(scales.scale_bytes());
  std::byte* out = buffers.scales.data();
  for (int64_t row = 0; row < tile.rows; row += grid.block_rows()) {
    for (int64_t column = 0; column < tile.columns; column += grid.block_columns()) {
      const TileQuantizer::Block block{row, std::min(grid.block_rows(), tile.rows - row), column,
                                       std::min(grid.block_columns(), tile.columns - column)};
      const int64_t number = row / grid.block_rows() * grid.grid_columns() +
                             (tile.column + column) / grid.block_columns();
      const std::byte* source = buffers.source_scales.data() + static_cast<size_t>(number) * bytes;
      int64_t changed = 0;
      if (quantizer.find(block, load_scale(scales.dtype, source), changed)) {
        std::memcpy(out, source, bytes);
        count_kept(*hooks.blocks, changed);
      } else {
        Magnitudes magnitudes;
        quantizer.look(block, magnitudes);
        const float scale = new_scale_of(transfer, magnitudes, name_of);
        int64_t clipped = 0;
        quantizer.quantize(block, scale, clipped);
        store_scale(scales.dtype, scale, out);
        count_fresh(*hooks.blocks, clipped);
      }
      out += bytes;
    }
  }
}

void requantize_in_pieces(const Transfer& transfer, const BlockGrid& grid,
                          std::span<const Tile> pieces, const BlockInPieces& block,
                          const ExecutorHooks& hooks, const NameOf& name_of) {
  const Dtype scale_dtype = transfer.requantize->source.dtype;
  const float source_scale = load_scale(scale_dtype, block.source_scale.data());
  const auto each = [&](const auto& fn) {
    for (const Tile& piece : pieces) {
      const TileBuffers buffers = block.load(piece);
      fn(TileQuantizer(transfer, grid, piece, buffers, hooks),
         TileQuantizer::Block{0, piece.rows, 0, piece.columns}, piece, buffers);
    }
  };
  bool kept = true;
  int64_t changed = 0;
  Magnitudes magnitudes;
  each([&](const TileQuantizer& quantizer, const TileQuantizer::Block& whole, const Tile&,
           const TileBuffers&) {
    kept = kept && quantizer.find(whole, source_scale, changed);
    quantizer.look(whole, magnitudes);
  });
  const float scale = kept ? source_scale : new_scale_of(transfer, magnitudes, name_of);
  int64_t again = 0;  // what the first pass counted already
  int64_t clipped = 0;
  each([&](const TileQuantizer& quantizer, const TileQuantizer::Block& whole, const Tile& piece,
           const TileBuffers& buffers) {
    if (kept) {
      quantizer.find(whole, scale, again);
    } else {
      quantizer.quantize(whole, scale, clipped);
    }
    block.store(piece, buffers.codes);
  });
  if (kept) {
    std::copy(block.source_scale.begin(), block.source_scale.end(), block.scale.begin());
    count_kept(*hooks.blocks, changed);
  } else {
    store_scale(scale_dtype, scale, block.scale.data());
    count_fresh(*hooks.blocks, clipped);
  }
}

}  // namespace bridge
