"""Writes the seed corpora of the fuzz targets to OUT/TARGET/, from the checkpoints and tables of this repository.

    python3 tests/fuzz/make_seeds.py OUT

A large seed is slow and finds nothing that a small one would not: files of more than 6 KiB are left out, but for the smallest four of a target.
OUT/TARGET/ holds nothing else afterwards.
"""

import collections
import hashlib
import json
import pathlib
import pickle
import re
import shutil
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT = 6 * 1024
AT_LEAST = 4

EXPRESSIONS = [
    "hidden_size / num_attention_heads",
    "head_dim ?? a / 2",
    "!yes",
    "nested.c ?? half ?? 10000.0",
    "l >= a && text == 'silu'",
    "list[l] == 'full_attention' ? 1 : (2 + 3) * -4 % 5",
    "[1, 'x', null, [true]]",
]
QUANTIZATION_CONFIGS = [
    {"config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4}}}, "ignore": ["lm_head"]},
    {
        "config_groups": {
            "group_0": {"targets": ["re:.*self_attn.*", "Linear"], "weights": {"num_bits": 8}},
            "group_1": {"targets": ["re:model[.]layers[.]\\d+[.]mlp[.]experts", "lm_head"], "weights": None},
        },
        "ignore": ["re:.*(q|k)_proj$", "model.layers.0.mlp.up_proj"],
    },
]
JSON_TEXTS = [
    "{}",
    '{"a": [1, -2, 3.5e10, "\\u00e9\\ud83d\\ude00", null, true, {"b": {}}]}',
    "[18446744073709551615, -9223372036854775808, 0.1]",
    '// comment\n{"a": /* here */ 1}',
]


def safetensors_file(tensors, metadata=None):
    """The bytes of a safetensors file of zeros; tensors: name -> (dtype, shape, bytes)."""
    header, offset = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(offset)


def first_archive(path):
    """The first item of a .distcp file: up to the end of its first end-of-central-directory record."""
    data = path.read_bytes()
    end = data.find(b"PK\5\6")
    return data[: end + 22] if end >= 0 else b""


def model_section(text):
    """What of a run_config.yaml describes the model, without the options that are off."""
    section = re.search(r"^model:\n(?:[ -].*\n)*", text, re.MULTILINE).group()
    return "".join(line + "\n" for line in section.splitlines() if not line.endswith((": null", ": false"))).encode()


def write(folder, found):
    """The small ones of the files found; returns how many."""
    ordered = sorted(found, key=lambda data: (len(data), data))
    kept = [data for number, data in enumerate(ordered) if len(data) <= LIMIT or number < AT_LEAST]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for data in kept:
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return len(kept)


def main(out):
    found = collections.defaultdict(set)

    def seed(target, data):
        if data:
            found[target].add(data)

    for text in EXPRESSIONS:
        seed("expr_fuzz", text.encode())
    for text in JSON_TEXTS:
        seed("json_strict_fuzz", text.encode())
    for path in sorted((ROOT / "data").rglob("*.json")):
        seed("json_strict_fuzz", path.read_bytes())
    for path in sorted((ROOT / "data").rglob("*config.json")):
        seed("model_config_fuzz", path.read_bytes())
    for path in sorted((ROOT / "data" / "bridge_run_config").glob("*.yaml")):
        seed("model_config_fuzz", model_section(path.read_text()))
    for path in sorted((ROOT / "mappings" / "tables").glob("*.jsonc")):
        seed("mapping_table_fuzz", path.read_bytes())
    # A fragment as a table of its own, so that what tables use is spelled out in some input.
    for path in sorted((ROOT / "mappings" / "tables" / "common").glob("*.jsonc")):
        seed("mapping_table_fuzz", path.read_bytes().replace(b"\n{", b'\n{"architectures": ["F"],', 1))

    for config in QUANTIZATION_CONFIGS:
        seed("quantization_targets_fuzz", json.dumps(config).encode())

    seed("safetensors_fuzz", safetensors_file({}))
    seed("safetensors_fuzz", safetensors_file({"w": ("BF16", [2, 3], 12)}, {"format": "pt"}))
    seed(
        "safetensors_fuzz",
        safetensors_file(
            {"s": ("F32", [], 4), "e": ("F16", [0, 8], 0), "q": ("F8_E4M3", [2, 2], 4), "f": ("F4", [4], 2)}
        ),
    )

    for protocol in range(6):
        value = {"a": [1, 2**40, 2**80, -1.5, None, True], ("t", 1): b"bytes", "s": {"x"}, "e": ()}
        seed("pickle_fuzz", pickle.dumps(value, protocol))
    for path in sorted((ROOT / "data").rglob("*.metadata")):
        seed("pickle_fuzz", path.read_bytes())
        seed("dcp_metadata_fuzz", path.read_bytes())

    for path in sorted((ROOT / "data").rglob("*.pt")):
        seed("zip_item_fuzz", path.read_bytes())
    for path in sorted((ROOT / "data").rglob("*.distcp")):
        seed("zip_item_fuzz", first_archive(path))
    written = sum(write(out / target, files) for target, files in found.items())
    print(f"{written} seeds")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
