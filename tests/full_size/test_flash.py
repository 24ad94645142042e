"""DeepSeek-V4-Flash there and back, every tensor in its size: one layer and MTP, or all of it (CAUSEWAY_FULL_SIZE=whole, some
twenty times as long: 160 GB become 582 GB). Memory stays within --memory and 64 MiB, and the tensors that are not holes are what they
should be."""
import os
import random
import struct

import pytest

from helpers import run
from sparse_model import fill, write_sparse
from test_full_size_v4 import FLASH
from torch_dist_raw import Checkpoint

MIB = 1 << 20
LAYERS = {"one layer": 1, "whole": FLASH["num_hidden_layers"]}
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
SCALES = (100, 121, 127)  # 2^(b - 127)


def config_of(layers):
    ratios = FLASH["compress_ratios"]
    return {**FLASH, "num_hidden_layers": layers, "num_hash_layers": min(3, layers), "compress_ratios": [*ratios[:layers], ratios[-1]]}


def wanted(layers):
    return lambda name: not name.startswith("layers.") or int(name.split(".")[1]) < layers


def expert(generator, rows, columns):
    """(codes, scales, what they are in BF16) of an FP4 matrix"""
    pair = {(scale, byte): b"".join(struct.pack("<f", E2M1[code] * 2.0 ** (scale - 127))[2:] for code in (byte & 15, byte >> 4))
            for scale in SCALES for byte in range(256)}
    codes = generator.randbytes(rows * columns // 2)
    scales = bytes(generator.choices(SCALES, k=rows * columns // 32))
    return codes, scales, b"".join(pair[scales[i // 16], byte] for i, byte in enumerate(codes))


def data_of(path):
    """(length, [(begin, end)]) of what is no hole."""
    extents = []
    with open(path, "rb") as file:
        length, at = os.fstat(file.fileno()).st_size, 0
        while at < length:
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            extents.append((begin, at))
    return length, extents


def check_same(a, b):
    """Two files with holes, which read as zeros."""
    (length, of_a), (other_length, of_b) = data_of(a), data_of(b)
    assert length == other_length, (a, length, other_length)
    with open(a, "rb") as file_a, open(b, "rb") as file_b:
        for begin, end in of_a + of_b:
            for at in range(begin, end, 16 * MIB):
                file_a.seek(at)
                file_b.seek(at)
                size = min(16 * MIB, end - at)
                assert file_a.read(size) == file_b.read(size), (a, at)


@pytest.mark.parametrize("which", ["one layer"] + ["whole"] * (os.environ.get("CAUSEWAY_FULL_SIZE") == "whole"))
def test_there_and_back(which, thin_disk, tmp_path):
    layers, source, generator = LAYERS[which], tmp_path / "hf", random.Random(1)
    write_sparse(source, "deepseek_v4_flash.tsv.gz", config_of(layers), 3_700_000_000, wanted(layers))
    codes, scales, values = expert(generator, 2048, 4096)
    fill(source, "layers.0.ffn.experts.255.w3.weight", codes)
    fill(source, "layers.0.ffn.experts.255.w3.scale", scales)
    last_codes, last_scales, last_values = expert(generator, 4096, 2048)
    fill(source, "mtp.0.ffn.experts.0.w2.weight", last_codes)
    fill(source, "mtp.0.ffn.experts.0.w2.scale", last_scales)
    norm = generator.randbytes(8192)
    fill(source, f"layers.{layers - 1}.ffn_norm.weight", norm)
    ids = [generator.randrange(256) for _ in range(129280 * 6)]
    fill(source, "layers.0.ffn.gate.tid2eid", struct.pack(f"<{len(ids)}q", *ids))

    def measured(*arguments):
        done = run(*arguments, "--memory", "256MiB", expect=0, timeout=7200)
        print(done)
        assert done.peak_bytes <= (256 + 64) * MIB, done
        return done

    measured("convert-hf", source, tmp_path / "root")
    checkpoint = Checkpoint(tmp_path / "root")
    if which == "whole":
        assert len(checkpoint.keys()) == 1448
        assert "identical" in measured("verify", source, tmp_path / "root", "--mode", "hash").out
    found = checkpoint.rows("decoder.layers.0.mlp.experts.experts.linear_fc1.weight", 255)
    assert b"".join(found[2048:]) == values and not any(b"".join(found[:2048]))
    assert b"".join(checkpoint.rows("mtp.layers.0.transformer_layer.mlp.experts.experts.linear_fc2.weight", 0)) == last_values
    assert checkpoint.payload(f"decoder.layers.{layers - 1}.pre_mlp_layernorm.weight") == norm
    assert checkpoint.payload("decoder.layers.0.mlp.router.tid2eid") == struct.pack(f"<{len(ids)}i", *ids)
    measured("export-to-hf", tmp_path / "root", tmp_path / "back")
    assert sorted(os.listdir(tmp_path / "back")) == sorted(os.listdir(source))
    for name in os.listdir(source):
        check_same(source / name, tmp_path / "back" / name)
