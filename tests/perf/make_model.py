"""Writes a random Hugging Face checkpoint of the bench's models (model_shapes.py).

    python3 tests/perf/make_model.py OUT [--kind dense|moe|transpose|fp8|fp4|many] [--seed S]

The same arguments give the same bytes. Memory stays at one tensor and those that are repeated: the safetensors files
are written by hand. The values look like weights: BF16 2^-7 <= |w| < 2^-5, FP8 every code but NaN, F32 (scales)
2^-14 <= s < 2^-13, FP4 every code, E8M0 scales 2^-15 to 2^0, both signs but for scales; ids below 256. So no run
profits from zeros.
"""

import argparse
import json
import math
import pathlib
import struct

import numpy

import model_shapes

SHARD_BYTES = 600_000_000
SHARD_TENSORS = 5000
ITEM_BYTES = {"BF16": 2, "F8_E4M3": 1, "F8_E8M0": 1, "I8": 1, "F32": 4, "I64": 8}


def size_of(tensor):
    return ITEM_BYTES[tensor.dtype] * math.prod(tensor.shape)


def header(tensors):
    """The bytes of a safetensors file before the payload."""
    entries, offset = {"__metadata__": {"format": "pt"}}, 0
    for tensor in tensors:
        end = offset + size_of(tensor)
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def values(tensor, generator):
    size = size_of(tensor)
    if tensor.dtype == "F8_E4M3":
        codes = numpy.frombuffer(generator.bytes(size), dtype=numpy.uint8)
        return numpy.where(codes & 0x7F == 0x7F, 0x38, codes).astype(numpy.uint8).tobytes()
    if tensor.dtype == "I8":
        return generator.bytes(size)
    if tensor.dtype == "F8_E8M0":
        exponents = numpy.frombuffer(generator.bytes(size), dtype=numpy.uint8)
        return (112 + exponents % 16).astype(numpy.uint8).tobytes()
    if tensor.dtype == "I64":
        return numpy.frombuffer(generator.bytes(size // 8), dtype=numpy.uint8).astype(numpy.int64).tobytes()
    if tensor.dtype == "F32":
        bits = numpy.frombuffer(generator.bytes(size), dtype=numpy.uint32)
        return ((bits & 0x007FFFFF) | 0x38800000).tobytes()
    bits = numpy.frombuffer(generator.bytes(size), dtype=numpy.uint16)
    return ((bits & 0x80FF) | 0x3C00).tobytes()


def shards_of(tensors, shard_bytes):
    shards, room = [], 0
    for tensor in tensors:
        if size_of(tensor) > room or len(shards[-1]) == SHARD_TENSORS:
            shards.append([])
            room = shard_bytes
        shards[-1].append(tensor)
        room -= size_of(tensor)
    return {
        f"model-{number:05d}-of-{len(shards):05d}.safetensors": shard
        for number, shard in enumerate(shards, 1)
    }


def write_model(out, config, tensors, write_payload, shard_bytes=SHARD_BYTES):
    """write_payload(file, tensor) is called for every tensor in order; the file stands where its bytes go."""
    out.mkdir(parents=True)
    weight_map, total = {}, 0
    for name, shard in shards_of(tensors, shard_bytes).items():
        with open(out / name, "wb") as file:
            file.write(header(shard))
            for tensor in shard:
                write_payload(file, tensor)
                weight_map[tensor.name] = name
                total += size_of(tensor)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return total


def make(out, kind, seed=0):
    """Returns the bytes of all tensors."""
    config = model_shapes.CONFIGS[kind]
    tensors = list(model_shapes.tensors(config))
    repeated = {tensor.copy_of for tensor in tensors}
    kept = {}
    generator = numpy.random.default_rng(seed)

    def write_payload(file, tensor):
        data = kept.get(tensor.copy_of) or values(tensor, generator)
        if tensor.name in repeated:
            kept[tensor.name] = data
        file.write(data)

    return write_model(out, config, tensors, write_payload)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--kind", choices=model_shapes.CONFIGS, default="dense")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    total = make(args.out, args.kind, args.seed)
    print(f"{args.out}: {total / 1e9:.2f} GB, {args.kind}")


if __name__ == "__main__":
    main()
