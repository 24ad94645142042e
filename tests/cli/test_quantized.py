"""Block-quantized weights (DeepSeek-V3's FP8) as a user meets them: the values against a reading of the format written here, every
byte back whatever the scales hold, and each wrong scale tensor or block size refused by name."""
import json
import math
import struct

import pytest

from helpers import DATA, check_message, convert, copy_tree, edit_config, export, hashes, hf_fixture, refused, run
from safetensors_raw import Model, Tensor, renamed
from torch_dist_raw import Checkpoint

FP8 = hf_fixture("deepseek_v3_fp8")
WEIGHT = "model.layers.1.self_attn.q_b_proj.weight"  # [192, 96]: two blocks, the second partial
SCALES = WEIGHT + "_scale_inv"
KEY = "decoder.layers.1.self_attention.linear_q_up_proj.weight"


@pytest.fixture
def model(tmp_path):
    return Model(copy_tree(FP8, tmp_path / "hf"))


def get(model, name):
    return model.shard_of(name)[name]


# --- an independent reading of the format -------------------------------------------------------------------------


def e4m3(code):
    sign, exponent, mantissa = -1.0 if code & 0x80 else 1.0, code >> 3 & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return math.nan
    return sign * (mantissa * 2.0**-9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10))


def to_f32(value):
    """Rounded to the nearest; larger ones are infinite."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def pack(value, dtype):
    """The bytes of an F32 in `dtype`, rounded once to nearest even."""
    if dtype == "F32":
        return struct.pack("<f", value)
    if dtype == "F16":
        return struct.pack("<e", value)
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).to_bytes(2, "little")


def dequantized(weight, scales, dtype, block=128):
    """One product in F32 an element, rounded once."""
    rows, columns = weight.shape
    values = struct.unpack(f"<{len(scales.data) // 4}f", scales.data)
    tables = [[pack(to_f32(e4m3(code) * scale), dtype) if math.isfinite(e4m3(code)) else None for code in range(256)] for scale in values]
    wide = -(-columns // block)
    return b"".join(
        tables[row // block * wide + column // block][weight.data[row * columns + column]] for row in range(rows) for column in range(columns)
    )


@pytest.mark.parametrize("name,dtype", (("bf16", "BF16"), ("fp16", "F16"), ("fp32", "F32")))
def test_values(name, dtype, tmp_path):
    """--dtype on both ways: what comes out are plain weights, and config.json says so and changes nothing else."""
    convert(FP8, tmp_path / "root", "--dtype", name)
    export(tmp_path / "root", tmp_path / "plain", "--dtype", name)
    source = {n: t for shard in Model(FP8).shards.values() for n, t in shard.items()}
    found = {n: t for shard in Model(tmp_path / "plain").shards.values() for n, t in shard.items()}
    assert found.keys() == {n for n in source if not n.endswith("_scale_inv")}
    quantized = 0
    for n, tensor in source.items():
        if tensor.dtype == "F8_E4M3":
            assert (found[n].dtype, found[n].shape) == (dtype, tensor.shape)
            assert found[n].data == dequantized(tensor, source[n + "_scale_inv"], dtype), n
            quantized += 1
    assert quantized == 104
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (FP8, tmp_path / "plain"))
    del before["quantization_config"]
    assert after == {**before, "torch_dtype": {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[name]}
    assert (tmp_path / "plain" / "tokenizer.json").read_bytes() == (FP8 / "tokenizer.json").read_bytes()
    # The quantized release is still there to come back to.
    export(tmp_path / "root", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(FP8)


# --- scales and codes of every kind -------------------------------------------------------------------------------

F32 = {
    "nan": 0x7FC00000, "another nan": 0x7F800001, "negative nan": 0xFFFFFFFF, "infinity": 0x7F800000, "-infinity": 0xFF800000, "zero": 0, "-zero": 0x80000000,
    "negative": 0xBC23D70A, "smallest subnormal": 1, "subnormal": 0x00400000, "-subnormal": 0x80000123, "smallest normal": 0x00800000,
    "infinite times 448": 0x7C000000,
}


def back_again(folder, tmp_path, *options):
    convert(folder, tmp_path / "root", *options)
    export(tmp_path / "root", tmp_path / "back", "--report", tmp_path / "report.json")
    assert hashes(tmp_path / "back") == hashes(folder)
    assert "identical" in run("verify", folder, tmp_path / "root", "--mode", "hash", expect=0).out
    return json.loads((tmp_path / "report.json").read_text())["blocks"]


@pytest.mark.parametrize("kind", F32)
@pytest.mark.parametrize("block", (0, 1))
def test_odd_scales_come_back(kind, block, model, tmp_path):
    scales = get(model, SCALES)
    assert len(scales.data) == 8
    scales.data = scales.data[: 4 * block] + F32[kind].to_bytes(4, "little") + scales.data[4 * block + 4 :]
    model.save()
    assert back_again(tmp_path / "hf", tmp_path)["clipped"] == 0


@pytest.mark.parametrize("dtype", ("F32", "BF16"))
def test_every_code_comes_back(dtype, model, tmp_path):
    """Not-a-number, both zeros, and every other code, in every tensor; with scales of both types a release may have."""
    for shard in model.shards.values():
        for name, tensor in shard.items():
            if tensor.dtype == "F8_E4M3":
                tensor.data = bytes((i * 37 + len(name)) % 256 for i in range(len(tensor.data)))
            elif name.endswith("_scale_inv") and dtype == "BF16":
                tensor.dtype, tensor.data = "BF16", b"".join(tensor.data[i + 2 : i + 4] for i in range(0, len(tensor.data), 4))
    model.save()
    blocks = back_again(tmp_path / "hf", tmp_path)
    assert blocks["kept"] + blocks["new"] == 112


def test_scales_in_other_shards(model, tmp_path):
    """Nothing says that a weight and its scales share a file."""
    model.split(3).save()
    assert any(SCALES not in shard and WEIGHT in shard for shard in model.shards.values())
    assert back_again(tmp_path / "hf", tmp_path) == {"kept": 112, "new": 0, "clipped": 0}


@pytest.mark.parametrize("scale,name,dtype,wider", ((1024.0, "fp16", "F16", "bf16"), (3.4e38, "source", "BF16", "fp32")))
def test_too_large(scale, name, dtype, wider, model, tmp_path):
    """A finite product that the target type makes infinite stops the run; the type that is named instead holds it."""
    get(model, SCALES).data = struct.pack("<2f", scale, 1.0)
    model.save()
    refused("convert-hf", tmp_path / "hf", tmp_path, 3, KEY, f"too large for {dtype}", f"--dtype {wider}", options=("--dtype", name))
    back_again(tmp_path / "hf", tmp_path, "--dtype", wider)


# --- after training -----------------------------------------------------------------------------------------------


def test_changed_blocks_are_counted(tmp_path, converted):
    """One value of the second block: that block is quantized anew by the owner's rule, every other byte is the source's."""
    root = copy_tree(converted("deepseek_v3_fp8"), tmp_path / "root")
    trained = pack(1.2345, "BF16")

    def change(payload):
        payload[2 * (150 * 96 + 7) : 2 * (150 * 96 + 7) + 2] = trained

    Checkpoint(root).edit(KEY, change)
    export(root, tmp_path / "out", "--report", tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["blocks"] == {"kept": 111, "new": 1, "clipped": 0}
    before, after = Model(FP8), Model(tmp_path / "out")
    differing = {name for name in before.names() if get(before, name) != get(after, name)}
    assert differing == {WEIGHT, SCALES}
    largest = struct.unpack("<f", b"\0\0" + trained)[0]  # everything else in the fixture is smaller
    assert get(after, SCALES).data == get(before, SCALES).data[:4] + struct.pack("<f", to_f32(largest / 448))
    assert get(after, WEIGHT).data[: 128 * 96] == get(before, WEIGHT).data[: 128 * 96]
    assert get(after, WEIGHT).data[150 * 96 + 7] == 0x7E  # 448
    assert run("verify", FP8, root, "--mode", "hash").code == 1


def test_new_scales_in_bf16(model, tmp_path):
    """largest / 448 is rounded to the type of the scales. The largest value stays the largest code, so nothing is clipped."""
    for shard in model.shards.values():
        for name, tensor in shard.items():
            if name.endswith("_scale_inv"):
                tensor.dtype, tensor.data = "BF16", b"".join(tensor.data[i + 2 : i + 4] for i in range(0, len(tensor.data), 4))
    model.save()
    convert(tmp_path / "hf", tmp_path / "root")
    for number, value in enumerate((1.25, 1.2578125, 1.265625, 1.2734375, -1.28125)):
        root = copy_tree(tmp_path / "root", tmp_path / f"root{number}")

        def change(payload):
            payload[0:2] = pack(value, "BF16")

        Checkpoint(root).edit(KEY, change)
        export(root, tmp_path / f"out{number}", "--report", tmp_path / "report.json")
        out = Model(tmp_path / f"out{number}")
        assert get(out, SCALES).data[:2] == pack(to_f32(abs(value) / 448), "BF16")
        assert get(out, WEIGHT).data[0] == (0x7E if value > 0 else 0xFE)
        assert json.loads((tmp_path / "report.json").read_text())["blocks"] == {"kept": 111, "new": 1, "clipped": 0}


def test_nothing_that_holds_scales(tmp_path):
    """What Megatron-Bridge wrote has none: they come from the quantized folder, or the user says what dtype instead."""
    bridge = DATA / "bridge_written" / "deepseek_v3_fp8" / "megatron"
    reference = tmp_path / "config only"
    reference.mkdir()
    (reference / "config.json").write_bytes((FP8 / "config.json").read_bytes())
    refused("export-to-hf", bridge, tmp_path, 2, "scales", "--reference", "--sidecar", "--dtype bf16", options=("--reference", reference))
    export(bridge, tmp_path / "plain", "--reference", reference, "--dtype", "bf16")
    export(bridge, tmp_path / "out", "--reference", FP8, "--report", tmp_path / "report.json")
    assert hashes(tmp_path / "out") == hashes(FP8)
    assert json.loads((tmp_path / "report.json").read_text())["blocks"] == {"kept": 112, "new": 0, "clipped": 0}


# --- wrong scales -------------------------------------------------------------------------------------------------


def remade(dtype, shape, size):
    def change(model):
        model.shard_of(SCALES)[SCALES] = Tensor(dtype, shape, bytes(size))

    return change


def add(name, dtype, shape, size):
    def change(model):
        model.shard_of(WEIGHT)[name] = Tensor(dtype, shape, bytes(size))

    return change


def replace(name, dtype):
    """Another tensor as codes; scales beside it, where it has none."""

    def change(model):
        shard = model.shard_of(name)
        shape = shard[name].shape
        shard[name] = Tensor(dtype, shape, bytes(math.prod(shape)))
        if name != WEIGHT:
            blocks = [-(-rows // 128) for rows in shape]
            shard[name.removesuffix(".weight") + ".weight_scale_inv"] = Tensor("F32", blocks, bytes(4 * math.prod(blocks)))

    return change


WRONG = {
    "no scales": (lambda m: m.shard_of(SCALES).pop(SCALES), [WEIGHT, "without its scales", SCALES]),
    "renamed scales": (renamed(SCALES, WEIGHT + "_scale"), [WEIGHT, "without its scales", WEIGHT + "_scale"]),
    "scales without a weight": (lambda m: m.shard_of(WEIGHT).pop(WEIGHT), [WEIGHT, "missing"]),
    "scales transposed": (remade("F32", [1, 2], 8), [SCALES, "[1, 2]", "[2, 1]"]),
    "scales of rank 1": (remade("F32", [2], 8), [SCALES, "[2]", "[2, 1]"]),
    "scales of rank 3": (remade("F32", [2, 1, 1], 8), [SCALES, "[2, 1, 1]"]),
    "one scale": (remade("F32", [1, 1], 4), [SCALES, "[1, 1]", "[2, 1]"]),
    "a scale": (remade("F32", [], 4), [SCALES, "[]"]),
    "a scale too many": (remade("F32", [3, 1], 12), [SCALES, "[3, 1]"]),
    "no scale": (remade("F32", [0, 1], 0), [SCALES, "[0, 1]"]),
    "scales in F16": (remade("F16", [2, 1], 4), [SCALES, "F16"]),
    "scales in F64": (remade("F64", [2, 1], 16), [SCALES, "F64"]),
    "scales in I32": (remade("I32", [2, 1], 8), [SCALES, "I32"]),
    "scales in E8M0": (remade("F8_E8M0", [2, 1], 2), [SCALES, "F8_E8M0"]),
    "scales in E4M3": (remade("F8_E4M3", [2, 1], 2), [SCALES, "F8_E4M3"]),
    "scales of a plain tensor": (add("model.layers.1.mlp.gate.weight_scale_inv", "F32", [1, 1], 4), ["model.layers.1.mlp.gate.weight_scale_inv", "unknown"]),
    "scales of a norm": (add("model.norm.weight_scale_inv", "F32", [1], 4), ["model.norm.weight_scale_inv", "unknown"]),
    "input scales": (add("model.layers.1.self_attn.q_b_proj.input_scale", "F32", [], 4), ["q_b_proj.input_scale", "unknown"]),
    "quantized norm": (replace("model.layers.1.self_attn.q_a_layernorm.weight", "F8_E4M3"), ["q_a_layernorm.weight", "F8_E4M3"]),
    "quantized embedding": (replace("model.embed_tokens.weight", "F8_E4M3"), ["model.embed_tokens.weight", "F8_E4M3"]),
    "quantized head": (replace("lm_head.weight", "F8_E4M3"), ["lm_head.weight", "F8_E4M3"]),
    "quantized router bias": (replace("model.layers.1.mlp.gate.e_score_correction_bias", "F8_E4M3"), ["e_score_correction_bias", "F8_E4M3"]),
    "codes in E5M2": (replace(WEIGHT, "F8_E5M2"), [WEIGHT, "F8_E5M2"]),
    "codes in U8": (replace(WEIGHT, "U8"), [WEIGHT, "U8"]),
    "codes in I8": (replace(WEIGHT, "I8"), [WEIGHT, "I8"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_scales(case, model, tmp_path):
    change, words = WRONG[case]
    change(model)
    model.save()
    refused("convert-hf", tmp_path / "hf", tmp_path, 3, *words)


BLOCKS = {
    "a string": "128x128", "strings": ["128", "128"], "a number": 128, "true": True, "trues": [True, True], "an object": {"0": 128}, "lists": [[128], [128]],
    "none": [], "one": [128], "three": [128, 128, 128], "null first": [None, 128], "null second": [128, None], "zero": [0, 128], "negative": [128, -128],
    "half": [128, 127.5], "huge": [1 << 40, 1 << 40], "overflowing": [1 << 62, 4], "beyond 64 bits": [1 << 63, 1], "1e300": [1e300, 128],
    "too large to hold": [1024, 1024], "other blocks": [64, 64], "transposed": [128, 32],
}


@pytest.mark.parametrize("case", BLOCKS)
def test_wrong_block_sizes(case, tmp_path):
    """Whatever is not the two positive integers that the scales have. Three of them are another format."""
    folder = copy_tree(FP8, tmp_path / "hf")
    edit_config(folder, quantization_config={"quant_method": "fp8", "weight_block_size": BLOCKS[case]})
    refused("convert-hf", folder, tmp_path, 5 if case == "three" else 3, ("block", "integer is out of range"))


def test_other_block_sizes(model, tmp_path):
    """Blocks of 48 x 40: scales to match, and values that follow them."""
    edit_config(tmp_path / "hf", quantization_config={"quant_method": "fp8", "weight_block_size": [48, 40]})
    for shard in model.shards.values():
        for name, tensor in list(shard.items()):
            if tensor.dtype != "F8_E4M3":
                continue
            shape = [-(-tensor.shape[0] // 48), -(-tensor.shape[1] // 40)]
            count = math.prod(shape)
            model.shard_of(name + "_scale_inv")[name + "_scale_inv"] = Tensor("F32", shape, struct.pack(f"<{count}f", *(0.01 + 0.003 * i for i in range(count))))
    model.save()
    back_again(tmp_path / "hf", tmp_path)


def test_the_message_of_an_export(tmp_path, converted):
    """Damage that only shows on the way back is named too: an infinite value has no scale."""
    root = copy_tree(converted("deepseek_v3_fp8"), tmp_path / "root")

    def change(payload):
        payload[0:2] = b"\x80\x7f"

    Checkpoint(root).edit(KEY, change)
    refused("export-to-hf", root, tmp_path, 3, WEIGHT, "not finite", "--dtype bf16")
    check_message(run("export-to-hf", root, tmp_path / "x", "--dtype", "fp8"), 2, "--dtype")
