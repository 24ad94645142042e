"""Every check of the safetensors reference reader (safetensors/src/tensor.rs) and our stricter ones, through the binary: the shard
and, where there is one, the tensor are named."""
import copy
import json
import os

import pytest

from helpers import copy_tree, hf_fixture, refused
from safetensors_raw import header_of, read, write_raw

SHARD = "model.safetensors"
NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def folder(tmp_path):
    return copy_tree(hf_fixture("llama_tied"), tmp_path / "hf")


class File:
    """A shard to be damaged: what it holds, and how it is written."""

    def __init__(self, path):
        self.path = path
        self.tensors, self.metadata = read(path)
        self.header = header_of(self.tensors, self.metadata)
        self.payload = b"".join(tensor.data for tensor in self.tensors.values())

    def entry(self):
        return self.header[NAME]

    def text(self):
        return json.dumps(self.header, separators=(",", ":")).encode()

    def write(self, **how):
        write_raw(self.path, self.header, self.payload, **how)

    def write_text(self, text, **how):
        write_raw(self.path, text, self.payload, **how)


def edit(**fields):
    """The entry of NAME with other fields."""

    def damage(file):
        file.entry().update(copy.deepcopy(fields))
        file.write()

    return damage


def moved(begin, end):
    def damage(file):
        offsets = file.entry()["data_offsets"]
        file.entry()["data_offsets"] = [offsets[0] + begin, offsets[1] + end]
        file.write()

    return damage


def text(replace, by):
    def damage(file):
        changed = file.text().replace(replace, by, 1)
        assert changed != file.text()
        file.write_text(changed)

    return damage


def whole_file(content):
    def damage(file):
        file.path.write_bytes(content)

    return damage


def sparse(size):
    """As large as the header claims, without the disk space."""

    def damage(file):
        with open(file.path, "wb") as out:
            out.write((size - 8).to_bytes(8, "little") + b"{")
            out.truncate(size)

    return damage


def cut(bytes_left):
    def damage(file):
        file.write()
        os.truncate(file.path, bytes_left if bytes_left >= 0 else file.path.stat().st_size + bytes_left)

    return damage


def shifted(file):
    """A hole: everything from NAME on lies two bytes later."""
    start = file.entry()["data_offsets"][0]
    for name, entry in file.header.items():
        if name != "__metadata__" and entry["data_offsets"][0] >= start:
            entry["data_offsets"] = [offset + 2 for offset in entry["data_offsets"]]
    file.payload = file.payload[:start] + b"\0\0" + file.payload[start:]
    file.write()


def hole_at_the_end(file):
    file.payload += b"\0\0"
    file.write()


def no_entry_field(field):
    def damage(file):
        del file.entry()[field]
        file.write()

    return damage


KEY = f'"{NAME}":'.encode()
CASES = {
    "empty file": (whole_file(b""), 3, []),
    "shorter than the length": (whole_file(b"\x10\0\0"), 3, []),
    "length of zero": (whole_file(bytes(8)), 3, []),
    "length above the file": (lambda f: f.write(length=1 << 20), 3, []),
    "length above the cap": (sparse(100_000_009), 3, ["100000000"]),
    "length of 2^63": (lambda f: f.write(length=1 << 63), 3, []),
    "length of 2^64-1": (lambda f: f.write(length=(1 << 64) - 1), 3, []),
    "header of zeros": (sparse(50_000_000), 3, []),
    "not JSON": (lambda f: f.write_text(b"not JSON"), 3, []),
    "JSON cut off": (lambda f: f.write_text(f.text()[:-20]), 3, []),
    "bytes after the JSON": (lambda f: f.write_text(f.text() + b"x"), 3, []),
    "an array": (lambda f: f.write_text(b"[]"), 3, []),
    "a deep array": (lambda f: f.write_text(b"[" * 1_000_000), 3, []),
    "a deep object": (lambda f: f.write_text(b'{"a":' * 500_000), 3, []),
    "a comment": (text(b"{", b"{/* */"), 3, []),
    "NaN": (text(b'"shape":[', b'"shape":[NaN,'), 3, []),
    "duplicate key": (text(KEY, KEY + b'{"dtype":"BF16","shape":[0],"data_offsets":[0,0]},' + KEY), 3, [NAME]),
    "duplicate key, escaped": (text(KEY, KEY.replace(b"m", b"\\u006d", 1) + b'{"dtype":"BF16","shape":[0],"data_offsets":[0,0]},' + KEY), 3, [NAME]),
    "duplicate field": (text(KEY + b"{", KEY + b'{"dtype":"F16",'), 3, ["dtype"]),
    "unknown field": (edit(stride=[1]), 3, [NAME, "stride"]),
    "no dtype": (no_entry_field("dtype"), 3, [NAME, "dtype"]),
    "no shape": (no_entry_field("shape"), 3, [NAME, "shape"]),
    "no offsets": (no_entry_field("data_offsets"), 3, [NAME, "data_offsets"]),
    "entry is a number": (lambda f: (f.header.update({NAME: 3}), f.write()), 3, [NAME]),
    "metadata is a number": (lambda f: (f.header.update({"__metadata__": 3}), f.write()), 3, ["__metadata__"]),
    "metadata holds a number": (lambda f: (f.header.update({"__metadata__": {"a": 3}}), f.write()), 3, ["__metadata__"]),
    "unknown dtype": (edit(dtype="BF17"), 3, [NAME, "BF17"]),
    "dtype of the format that we do not read": (edit(dtype="F8_E4M3FNUZ"), 5, [NAME, "F8_E4M3FNUZ"]),
    "dtype is a number": (edit(dtype=1), 3, [NAME]),
    "shape and offsets differ": (edit(shape=[136, 71]), 3, [NAME]),
    "dtype and offsets differ": (edit(dtype="F32"), 3, [NAME]),
    "negative dimension": (edit(shape=[-136, -72]), 3, [NAME, "-136"]),
    "fractional dimension": (edit(shape=[136.0, 72]), 3, [NAME]),
    "dimensions that overflow": (edit(shape=[1 << 62, 1 << 62]), 3, [NAME]),
    "dimension of 2^63": (edit(shape=[1 << 63]), 3, [NAME]),
    "65 dimensions": (edit(shape=[136, 72] + [1] * 63), 3, [NAME]),
    "100,000 dimensions": (edit(shape=[1] * 100_000), 3, [NAME]),
    "three offsets": (edit(data_offsets=[0, 2, 4]), 3, [NAME]),
    "one offset": (edit(data_offsets=[0]), 3, [NAME]),
    "negative offset": (edit(data_offsets=[-2, 0]), 3, [NAME]),
    "end before begin": (moved(19584, -19584), 3, [NAME]),
    "overlap": (moved(-2, -2), 3, [NAME]),
    "hole between tensors": (shifted, 3, [NAME]),
    "far away": (edit(data_offsets=[1 << 40, (1 << 40) + 19584]), 3, ["hole"]),
    "bytes after the last": (hole_at_the_end, 3, []),
    "payload cut by one byte": (cut(-1), 3, []),
    "payload cut by half": (cut(100_000), 3, []),
    "payload missing": (cut(4000), 3, []),
    "header cut": (cut(500), 3, []),
    "key not UTF-8": (text(NAME.encode(), NAME[:-1].encode() + b"\xff"), 3, []),
    "key with a lone surrogate": (text(NAME.encode(), NAME[:-1].encode() + b"\\ud800"), 3, []),
    "key with control characters": (text(NAME.encode(), NAME[:-1].encode() + b"\\u001b[31m\\n"), 3, ["\\x1b[31m\\x0a"]),
    "key of a megabyte": (text(NAME.encode(), b"y" * 1_000_000), 3, ["a tensor name of 1000000 bytes"]),
    "empty key": (text(NAME.encode(), b""), 3, []),
    "200,000 tensors that are not there": (lambda f: (f.header.update({f"x{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(200_000)}), f.write()), 3, ["200000 unknown"]),
}


@pytest.mark.parametrize("case", CASES)
def test_shard(case, folder, tmp_path):
    damage, code, words = CASES[case]
    damage(File(folder / SHARD))
    shard = [] if case in ("key with control characters", "empty key", "200,000 tensors that are not there") else [SHARD]
    refused("convert-hf", folder, tmp_path, code, *shard, *words)


def test_the_instrument(folder, tmp_path):
    """Unchanged, what File writes is accepted."""
    from helpers import convert

    File(folder / SHARD).write()
    convert(folder, tmp_path / "out")
