"""Checkpoints of full size whose headers are real and whose payload is a hole, from a list of their tensors (data/keys)."""
import gzip
import json
import math
import struct

from helpers import DATA, check_message, edit_config, run
from safetensors_raw import INDEX, SIZES


def write_sparse(folder, keys, config, largest_shard, wanted=lambda name: True):
    """Shards of the wanted tensors, filled one after the other in the order of the list; returns how many."""
    folder.mkdir()
    with gzip.open(DATA / "keys" / keys, "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    rows = [row for row in rows if wanted(row[0])]
    shards, filled, total = [{}], 0, 0
    for name, dtype, dims in rows:
        shape = [int(dim) for dim in dims.strip("[]").split(",") if dim.strip()]
        size = SIZES[dtype] * math.prod(shape)
        if filled + size > largest_shard:
            shards.append({})
            filled = 0
        shards[-1][name] = {"dtype": dtype, "shape": shape, "data_offsets": [filled, filled + size]}
        filled += size
        total += size
    names = {}
    for number, tensors in enumerate(shards, 1):
        shard = f"model-{number:05}-of-{len(shards):06}.safetensors"
        names.update(dict.fromkeys(tensors, shard))
        header = json.dumps(tensors, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)
        with open(folder / shard, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + max(tensor["data_offsets"][1] for tensor in tensors.values()))
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": names}))
    (folder / "config.json").write_text(json.dumps(config))
    return len(shards)


def check_refused(folder, fields, words, out, mebibytes=256):
    """With these fields in config.json: named in one short line, however many there are, within so much memory and 64 MiB for the program."""
    config = (folder / "config.json").read_text()
    edit_config(folder, **fields)
    try:
        done = run("convert-hf", folder, out, "--memory", f"{mebibytes}MiB")
    finally:
        (folder / "config.json").write_text(config)
    check_message(done, 3, *words)
    assert len(done.err) < 4000 and done.peak_bytes <= (mebibytes + 64) << 20, done
    assert not out.exists()


def fill(folder, name, data):
    """Gives a tensor its bytes."""
    shard = folder / json.loads((folder / INDEX).read_text())["weight_map"][name]
    with open(shard, "r+b") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        begin, end = json.loads(file.read(length))[name]["data_offsets"]
        assert len(data) == end - begin, (name, len(data), end - begin)
        file.seek(8 + length + begin)
        file.write(data)
