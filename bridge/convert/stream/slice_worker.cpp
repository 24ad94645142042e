#include "bridge/convert/stream/slice_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "bridge/convert/stream/requantize.h"
#include "bridge/io/file/crc32.h"
#include "bridge/io/number/block_codec.h"

namespace bridge {

std::span<std::byte> SliceWorker::sized(Buffer& buffer, int64_t bytes) {
  const auto size = static_cast<size_t>(bytes);
  if (buffer.size() < size) buffer.resize(size);
  return std::span(buffer).first(size);
}

void SliceWorker::run(const Slice& slice) {
  if (!slice.tile) return run_elements(slice);
  const Transfer& transfer = execution_.transfers[slice.transfer];
  const int64_t bytes = slice.tile->rows * slice.tile->columns * transfer.widest_bits() / 8;
  bytes > execution_.options.tile_bytes ? run_large_block(slice) : run_tile(slice);
}

void SliceWorker::run_elements(const Slice& slice) {
  const Transfer& transfer = execution_.transfers[slice.transfer];
  const bool scattered = transfer.scattered();
  runs_.clear();
  if (scattered) {
    runs_.push_back({0, slice.begin, slice.end - slice.begin});
  } else {
    transfer.runs(slice.begin, slice.end, runs_);
  }
  int64_t in_bytes = 0;
  for (const Run& run : runs_) {
    const Dtype dtype = run.input == Run::kZeros
                            ? transfer.to
                            : transfer.inputs[static_cast<size_t>(run.input)].dtype;
    in_bytes += bytes_of(dtype, run.length);
  }
  const std::span<std::byte> input = sized(input_, in_bytes);
  const bool wants_crc = execution_.sink.wants_crc(slice.transfer);
  const bool verbatim = transfer.verbatim();
  uint32_t crc = scattered ? gather_scattered(slice, input, wants_crc && verbatim)
                           : gather(transfer, input, wants_crc && verbatim);

  std::span<std::byte> output = input;
  if (!verbatim) {
    output = sized(output_, bytes_of(transfer.to, slice.end - slice.begin));
    const int64_t overflowed = convert(transfer, input, output);
    if (execution_.hooks.on_slice)
      execution_.hooks.on_slice({transfer, slice.ticket, slice.begin, segments_});
    if (overflowed > 0) check_overflow(transfer, overflowed);
    if (wants_crc) crc = crc32(output);
  } else if (execution_.hooks.on_slice) {
    execution_.hooks.on_slice({transfer, slice.ticket, slice.begin, {}});
  }
  execution_.sink.write(transfer, slice.transfer, slice.begin, output, crc);
  progress_.add(static_cast<int64_t>(output.size()));
}

uint32_t SliceWorker::gather(const Transfer& transfer, std::span<std::byte> input, bool wants_crc) {
  const bool need_crc = execution_.hooks.on_read || wants_crc;
  uint32_t crc = 0;
  size_t filled = 0;
  for (const Run& run : runs_) {
    if (run.input == Run::kZeros) {
      const auto into =
          input.subspan(filled, static_cast<size_t>(bytes_of(transfer.to, run.length)));
      filled += into.size();
      std::fill(into.begin(), into.end(), std::byte{0});
      if (need_crc) crc = crc32(into, crc);
      continue;
    }
    const TransferInput& from = transfer.inputs[static_cast<size_t>(run.input)];
    const auto into = input.subspan(filled, static_cast<size_t>(bytes_of(from.dtype, run.length)));
    filled += into.size();
    const int64_t begin = bytes_of(from.dtype, run.begin);
    execution_.reader.read(static_cast<size_t>(from.tensor), begin, into);
    if (!need_crc) continue;
    const auto length = static_cast<int64_t>(into.size());
    const uint32_t run_crc = crc32(into);
    if (execution_.hooks.on_read) {
      execution_.hooks.on_read(static_cast<size_t>(from.tensor), begin, length, run_crc);
    }
    crc = filled == into.size() ? run_crc : crc32_combine(crc, run_crc, length);
  }
  return crc;
}

uint32_t SliceWorker::gather_scattered(const Slice& slice, std::span<std::byte> input,
                                       bool wants_crc) {
  const Transfer& transfer = execution_.transfers[slice.transfer];
  const TransferInput& from = transfer.inputs[0];
  const auto tensor = static_cast<size_t>(from.tensor);
  gather_box(transfer.box(slice.begin, slice.end, slice.end - slice.begin),
             static_cast<size_t>(bytes_of(from.dtype, 1)),
             sized(scratch_, execution_.options.slice_bytes), input,
             [&](int64_t first, std::span<std::byte> into, bool owned) {
               const int64_t begin = bytes_of(from.dtype, first);
               execution_.reader.read(tensor, begin, into);
               if (owned && execution_.hooks.on_read) {
                 execution_.hooks.on_read(tensor, begin, std::ssize(into), crc32(into));
               }
             });
  return wants_crc ? crc32(input) : 0;
}

int64_t SliceWorker::convert(const Transfer& transfer, std::span<const std::byte> input,
                             std::span<std::byte> output) {
  segments_.clear();
  scales_.clear();
  size_t read = 0;
  size_t written = 0;
  // Read all scales first: the buffer must not move once segments point into it.
  std::vector<size_t> scale_offsets;
  for (const Run& run : runs_) {
    scale_offsets.push_back(scales_.size());
    if (run.input == Run::kZeros) continue;
    const TransferInput& from = transfer.inputs[static_cast<size_t>(run.input)];
    if (!from.scales.quantized()) continue;
    const BlockGrid grid(from.scales, transfer.layout->part_shape(run.input));
    read_scales(from.scales, grid, grid.grid_row_of(run.begin),
                grid.grid_row_of(run.begin + run.length - 1) + 1, scales_, scales_.size());
  }
  scale_offsets.push_back(scales_.size());
  int64_t overflowed = 0;
  for (size_t i = 0; i < runs_.size(); ++i) {
    const Run& run = runs_[i];
    Segment segment{run.input, run.begin, run.length, {}, {}, {}, 0};
    segment.result =
        output.subspan(written, static_cast<size_t>(bytes_of(transfer.to, run.length)));
    written += segment.result.size();
    if (run.input == Run::kZeros) {
      read += segment.result.size();
      std::fill(segment.result.begin(), segment.result.end(), std::byte{0});
    } else {
      const TransferInput& from = transfer.inputs[static_cast<size_t>(run.input)];
      segment.source = input.subspan(read, static_cast<size_t>(bytes_of(from.dtype, run.length)));
      read += segment.source.size();
      segment.scales =
          std::span(scales_).subspan(scale_offsets[i], scale_offsets[i + 1] - scale_offsets[i]);
      if (from.scales.quantized()) {
        const BlockGrid grid(from.scales, transfer.layout->part_shape(run.input));
        segment.first_scale = grid.grid_row_of(run.begin) * grid.grid_columns();
      }
      convert_run(transfer, segment, overflowed);
    }
    segments_.push_back(segment);
  }
  return overflowed;
}

void SliceWorker::check_overflow(const Transfer& transfer, int64_t overflowed) {
  const auto to_bytes = static_cast<size_t>(bits_of(transfer.to)) / 8;
  std::array<std::byte, 8> value;
  for (const Segment& segment : segments_) {
    if (segment.input == Run::kZeros) continue;
    const TransferInput& from = transfer.inputs[static_cast<size_t>(segment.input)];
    if (from.scales.quantized()) continue;  // no hook changes what was dequantized
    const auto from_bytes = static_cast<size_t>(bits_of(from.dtype)) / 8;
    for (size_t i = 0; i < static_cast<size_t>(segment.length); ++i) {
      int64_t lost = 0;
      const std::span<std::byte> own = segment.result.subspan(i * to_bytes, to_bytes);
      change_values(transfer.value_change(), from.dtype,
                    segment.source.subspan(i * from_bytes, from_bytes), transfer.to,
                    std::span(value).first(to_bytes), lost);
      if (lost > 0 && !std::equal(own.begin(), own.end(), value.begin())) --overflowed;
    }
  }
  if (overflowed == 0) return;
  int64_t elements = 0;
  for (const Segment& segment : segments_) elements += segment.length;
  bad_input(fmt::format("{}: {} of {} values are too large for {}",
                        printable(execution_.name_of(transfer.target)), overflowed, elements,
                        safetensors_name(transfer.to)),
            !is_plain_float(transfer.to)     ? "Megatron has no wider ids"
            : execution_.hooks.overflow_hint ? execution_.hooks.overflow_hint(transfer)
            : transfer.to == Dtype::kBF16    ? "use --dtype fp32"
                                             : "use --dtype source or --dtype bf16");
}

void SliceWorker::convert_run(const Transfer& transfer, const Segment& segment,
                              int64_t& overflowed) {
  const TransferInput& from = transfer.inputs[static_cast<size_t>(segment.input)];
  if (!from.scales.quantized()) {
    change_values(transfer.value_change(), from.dtype, segment.source, transfer.to, segment.result,
                  overflowed);
    return;
  }
  for_each_scaled_run(transfer, segment,
                      [&](float scale, std::span<const std::byte> codes,
                          std::span<std::byte> values, int64_t /*begin*/) {
                        if (from.scales.dtype == Dtype::kU8 && std::isinf(scale)) {
                          bad_input(fmt::format("{}: a scale is 255, which stands for 2^128",
                                                printable(execution_.name_of(transfer.target))),
                                    "no finite weights have it; is the file damaged?");
                        }
                        block_codec().dequantize(from.dtype, codes, scale, transfer.to, values,
                                                 overflowed);
                      });
}

std::span<const std::byte> SliceWorker::read_scales(const BlockScales& scales,
                                                    const BlockGrid& grid, int64_t first,
                                                    int64_t last, Buffer& buffer, size_t at) {
  const int64_t row_bytes = grid.grid_columns() * scales.scale_bytes();
  const auto size = static_cast<size_t>((last - first) * row_bytes);
  if (buffer.size() < at + size) buffer.resize(at + size);
  const auto into = std::span(buffer).subspan(at, size);
  execution_.reader.read(static_cast<size_t>(scales.tensor), first * row_bytes, into);
  return into;
}

void SliceWorker::run_tile(const Slice& slice) {
  const Transfer& transfer = execution_.transfers[slice.transfer];
  const Tile& tile = *slice.tile;
  const TransferInput& from = transfer.inputs[0];
  const BlockScales& source = transfer.requantize->source;
  const BlockGrid grid(source, transfer.layout->part_shape(transfer.part));
  const int64_t elements = tile.rows * tile.columns;
  const std::span<std::byte> values = sized(input_, bytes_of(from.dtype, elements));
  // A tile as wide as the matrix is one stretch of elements.
  const int64_t stretches = tile.columns == grid.columns() ? 1 : tile.rows;
  const int64_t stretch = elements / stretches;
  const auto first_of = [&](int64_t i) { return (tile.row + i) * grid.columns() + tile.column; };
  const auto part = [&](std::span<std::byte> all, Dtype dtype, int64_t i) {
    return all.subspan(static_cast<size_t>(bytes_of(dtype, i * stretch)),
                       static_cast<size_t>(bytes_of(dtype, stretch)));
  };
  for (int64_t i = 0; i < stretches; ++i) {
    runs_.clear();
    transfer.runs(first_of(i), first_of(i) + stretch, runs_);
    gather(transfer, part(values, from.dtype, i), false);
  }

  const int64_t first_grid_row = tile.row / grid.block_rows();
  const int64_t grid_rows = (tile.rows - 1) / grid.block_rows() + 1;
  const int64_t grid_columns = (tile.columns - 1) / grid.block_columns() + 1;
  const std::span<std::byte> codes = sized(output_, bytes_of(transfer.to, elements));
  const std::span<std::byte> scales =
      sized(new_scales_, grid_rows * grid_columns * source.scale_bytes());
  requantize_tile(
      transfer, grid, tile,
      {from.dtype, values,
       read_scales(source, grid, first_grid_row, first_grid_row + grid_rows, scales_, 0), codes,
       scales},
      execution_.hooks, execution_.name_of);

  for (int64_t i = 0; i < stretches; ++i) {
    const std::span<std::byte> written = part(codes, transfer.to, i);
    execution_.sink.write(transfer, slice.transfer, first_of(i), written,
                          execution_.sink.wants_crc(slice.transfer) ? crc32(written) : 0);
  }
  const auto row_bytes = static_cast<size_t>(grid_columns * source.scale_bytes());
  for (int64_t row = 0; row < grid_rows; ++row) {
    execution_.sink.write_scales(
        transfer, slice.transfer,
        (first_grid_row + row) * grid.grid_columns() + tile.column / grid.block_columns(),
        scales.subspan(static_cast<size_t>(row) * row_bytes, row_bytes));
  }
  progress_.add(static_cast<int64_t>(codes.size() + scales.size()));
}

void SliceWorker::run_large_block(const Slice& slice) {
  const Transfer& transfer = execution_.transfers[slice.transfer];
  const Tile& tile = *slice.tile;
  const Dtype from = transfer.inputs[0].dtype;
  const BlockScales& source = transfer.requantize->source;
  const BlockGrid grid(source, transfer.layout->part_shape(transfer.part));
  const int64_t most = execution_.options.slice_bytes * 8 / transfer.widest_bits() / 2 * 2;
  const std::vector<Tile> pieces = pieces_of(tile, most);
  const int64_t number = tile.row / grid.block_rows();
  BlockInPieces block;
  block.source_scale = read_scales(source, grid, number, number + 1, scales_, 0);
  block.scale = sized(new_scales_, source.scale_bytes());
  const auto first_of = [&](const Tile& piece) {
    return piece.row * grid.columns() + piece.column;
  };
  block.load = [&](const Tile& piece) {
    const int64_t elements = piece.rows * piece.columns;
    const std::span<std::byte> values = sized(input_, bytes_of(from, elements));
    runs_.clear();
    transfer.runs(first_of(piece), first_of(piece) + elements, runs_);
    gather(transfer, values, false);
    return TileBuffers{from, values, {}, sized(output_, bytes_of(transfer.to, elements)), {}};
  };
  const bool wants_crc = execution_.sink.wants_crc(slice.transfer);
  block.store = [&](const Tile& piece, std::span<const std::byte> codes) {
    execution_.sink.write(transfer, slice.transfer, first_of(piece), codes,
                          wants_crc ? crc32(codes) : 0);
    progress_.add(std::ssize(codes));
  };
  requantize_in_pieces(transfer, grid, pieces, block, execution_.hooks, execution_.name_of);
  execution_.sink.write_scales(transfer, slice.transfer, number, block.scale);
  progress_.add(std::ssize(block.scale));
}

}  // namespace bridge
