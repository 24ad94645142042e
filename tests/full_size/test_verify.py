"""`causeway-verify --layers` on checkpoints of full size: DeepSeek-V4-Flash and DeepSeek-V3, each as published and once more in other
shards, and V3 as published against Megatron's form (megatron_form.py), all of it holes but for the layers that are compared. Little more
is read than these layers and all headers, within 1 GiB, and one value that differs is found. Experts but the first eight stay holes: their
zeros are compared like other numbers. A layer of V3 without experts takes half a minute of one core; those of Flash and V3 with their 256
take longer and are left to CAUSEWAY_FULL_SIZE=whole."""
import json
import math
import os
import pathlib
import random
import struct
import subprocess

import pytest

from helpers import binary
from safetensors_raw import INDEX, SIZES
from sparse_model import write_sparse
from test_full_size import CONFIG as V3
from test_full_size_v4 import FLASH

GIB = 1 << 30
MOST_READ = 1.1  # times the bytes of headers and layers on both sides
# name: (keys, config, largest shards of the two sides, bytes, what a layer's names begin with)
RELEASES = {
    "v3": ("deepseek_v3.tsv.gz", V3, (4_240_000_000, 11_000_000_000), 688_574_839_360, "model.layers."),
    "v4_flash": ("deepseek_v4_flash.tsv.gz", FLASH, (3_700_000_000, 9_000_000_000), 159_609_485_896, "layers."),
}


class Folder:
    """A checkpoint of holes, and where its tensors lie."""

    def __init__(self, path, keys, config, largest_shard):
        self.path, self.tensors, self.header_bytes = path, {}, 0  # tensors: name: (file, offset, dtype, bytes, shape)
        write_sparse(path, keys, config, largest_shard)
        for shard in sorted(set(json.loads((path / INDEX).read_text())["weight_map"].values())):
            with open(path / shard, "rb") as file:
                length = struct.unpack("<Q", file.read(8))[0]
                header = json.loads(file.read(length))
            self.header_bytes += 8 + length
            for name, tensor in header.items():
                begin, _ = tensor["data_offsets"]
                size = SIZES[tensor["dtype"]] * math.prod(tensor["shape"])
                self.tensors[name] = (path / shard, 8 + length + begin, tensor["dtype"], size, tensor["shape"])

    def write(self, name, data, at=0):
        path, offset, _, size, _ = self.tensors[name]
        assert at + len(data) <= size
        with open(path, "r+b") as file:
            file.seek(offset + at)
            file.write(data)

    def read(self, name):
        """(shape, dtype, bytearray)"""
        path, offset, dtype, size, shape = self.tensors[name]
        data = bytearray(size)
        with open(path, "rb") as file:
            file.seek(offset)
            assert file.readinto(data) == size
        return shape, dtype, data


def values(name, dtype, size):
    """Finite and small: codes of FP8 but its NaN, two of FP4 a byte, BF16 from 1/2 to 2; F32 and scales 2^-6."""
    generator = random.Random(name)
    if dtype == "F8_E4M3":
        return generator.randbytes(size).translate(bytes(0 if byte & 127 == 127 else byte for byte in range(256)))
    if dtype == "I8":
        return generator.randbytes(size)
    if dtype == "F8_E8M0":
        return bytes([121]) * size
    if dtype == "F32":
        return struct.pack("<f", 2.0**-6) * (size // 4)
    assert dtype == "BF16", (name, dtype)
    pairs = bytearray(b"\x00\x3f" * (size // 2))
    pairs[::2] = generator.randbytes(size // 2)
    return bytes(pairs)


def is_filled(name):
    parts = name.split(".experts.")
    return len(parts) == 1 or int(parts[1].split(".")[0]) < 8


def fill(folders, begin):
    """Gives the tensors whose names begin so their values, in all folders. Returns how many bytes they are of each."""
    size = 0
    for tensor, (_, _, dtype, length, _) in folders[0].tensors.items():
        if not tensor.startswith(begin):
            continue
        size += length
        if is_filled(tensor):
            data = values(tensor, dtype, length)
            for folder in folders:
                folder.write(tensor, data)
    return size


def verify(paths, layers, report, *options):
    """(exit status, report, bytes read, peak of memory, seconds of CPU)"""
    program = pathlib.Path(binary()).with_name("causeway-verify")
    process = subprocess.Popen([program, *paths, "--layers", layers, "--threads", "1", "--quiet", "--prompt-length", "8", "--report", report, *options])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    counts = dict(line.split(": ") for line in pathlib.Path(f"/proc/{process.pid}/io").read_text().splitlines())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, json.loads(report.read_text()), int(counts["rchar"]), usage.ru_maxrss << 10, usage.ru_utime + usage.ru_stime


CASES = [("v3", 1, None, None)]  # name, layer, tensor that one side has changed, its canonical name
if os.environ.get("CAUSEWAY_FULL_SIZE") == "whole":
    CASES.append(("v4_flash", 3, "layers.3.ffn.experts.200.w2.weight", "layers.3.experts.200.down"))


@pytest.mark.parametrize("name, layer, changed, reported_as", CASES)
def test_layers(name, layer, changed, reported_as, tmp_path):
    keys, config, shards, size, begin = RELEASES[name]
    folders = [Folder(tmp_path / side, keys, config, largest) for side, largest in zip(("published", "again"), shards)]
    assert all(sum(tensor[3] for tensor in folder.tensors.values()) == size for folder in folders)
    of_layer = fill(folders, f"{begin}{layer}.")
    if changed:
        folders[1].write(changed, b"\x07", at=12345)
        folders[1].write(changed.replace(".weight", ".scale"), b"\x79", at=12345 // 16)
    expected = 2 * of_layer + sum(folder.header_bytes for folder in folders)

    status, found, read, peak, seconds = verify([folder.path for folder in folders], f"{layer}:{layer + 1}", tmp_path / "report.json")
    print(f"{name} layer {layer}: {read / 1e9:.2f} GB read of {expected / 1e9:.2f} GB of headers and layer, peak {peak >> 20} MiB, {seconds:.1f} s of CPU")
    assert found["partial"] == {"first_layer": layer, "end_layer": layer + 1} and [state["name"] for state in found["forward"]["states"]] == ["hidden_embed", f"hidden.{layer}"]
    assert [tensor["name"] for tensor in found["tensors"]["differences"]] == ([reported_as] if changed else [])
    assert status == (1 if changed else 0) and (changed or found["forward"]["identical"])
    assert found["peak_rss_bytes"] <= peak <= GIB
    assert expected <= read <= MOST_READ * expected


# layer; whether a value of the published side is changed behind Megatron's back
PAIRS = [(1, False)]
if os.environ.get("CAUSEWAY_FULL_SIZE") == "whole":
    PAIRS += [(1, True), (3, False)]


@pytest.mark.parametrize("layer, changed", PAIRS)
def test_hugging_face_and_megatron(layer, changed, tmp_path):
    """The published FP8 against Megatron's BF16, in its keys and chunks, which PyTorch wrote."""
    from megatron_form import write_megatron  # not above: torch would count in the peaks of the tests above

    keys, config, (largest, _), _, begin = RELEASES["v3"]
    folder = Folder(tmp_path / "published", keys, config, largest)
    of_layer = fill([folder], f"{begin}{layer}.")
    metadata_bytes, written = write_megatron(tmp_path / "megatron", folder, config, layer)
    if changed:
        folder.write(f"{begin}{layer}.mlp.down_proj.weight", b"\x07", at=12345)
    expected = folder.header_bytes + of_layer + metadata_bytes + written

    status, found, read, _, seconds = verify(
        [folder.path, tmp_path / "megatron"], f"{layer}:{layer + 1}", tmp_path / "report.json", "--memory", "1GiB")
    peak = found["peak_rss_bytes"]  # the system's figure begins with what this process has, which wrote large tensors
    print(f"v3 and Megatron layer {layer}: {read / 1e9:.2f} GB read of {expected / 1e9:.2f} GB of headers and layer, peak {peak >> 20} MiB, {seconds:.1f} s of CPU")
    assert found["configuration"] == {"equal": True, "differences": []}
    assert [tensor["name"] for tensor in found["tensors"]["differences"]] == ([f"layers.{layer}.down"] if changed else [])
    assert status == (1 if changed else 0) and found["forward"]["identical"] == (not changed)
    assert peak <= GIB
    assert expected <= read <= MOST_READ * expected
