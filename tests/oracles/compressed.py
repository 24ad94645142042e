"""Weights quantized as releases are that have no scales by block, computed with torch alone.

int4      compressed-tensors, packed: a number from -8 to 7 times the scale of its group in a row; eight of them, each plus 8, in an
          int32, the first in the lowest bits
row       compressed-tensors: FP8 (e4m3), a scale a row
block     compressed-tensors: FP8, a scale for each 16 x 24 of a matrix
whole     compressed-tensors: FP8, one scale, and one for the activations
mixed     compressed-tensors: two groups, attention as `row` and the rest as `int4`
tensor    transformers' fp8 without weight_block_size: FP8, one scale, and one for the activations
modelopt  ModelOpt: the same under other names
The value of a code is float(code) * scale, rounded once to bf16."""
import json
import pathlib

import torch

from oracles import fp8

GROUP = 8
BLOCK = (16, 24)
KEPT = ("embed_tokens", "lm_head", "norm", "mlp.gate.", "block_sparse_moe.gate.", "eh_proj", "shared_head")


def _group(*targets, format=None, **weights):
    return {"targets": list(targets), "input_activations": None, "output_activations": None, "format": format,
            "weights": dict(weights, symmetric=True, dynamic=False)}


def _config(format, *groups):
    return {"quant_method": "compressed-tensors", "quantization_status": "compressed", "format": format,
            "config_groups": {f"group_{i}": group for i, group in enumerate(groups)}, "kv_cache_scheme": None}


_INT4 = dict(num_bits=4, type="int", strategy="group", group_size=GROUP, actorder=None)
_ROW = dict(num_bits=8, type="float", strategy="channel")
CONFIGS = {
    "int4": _config("pack-quantized", _group("Linear", **_INT4)),
    "row": _config("float-quantized", _group("Linear", **_ROW)),
    "block": _config("float-quantized", _group("Linear", num_bits=8, type="float", strategy="block", block_structure=list(BLOCK))),
    "whole": _config("naive-quantized", _group("Linear", num_bits=8, type="float", strategy="tensor")),
    "mixed": _config("mixed-precision", _group("Linear", format="pack-quantized", **_INT4),
                     _group(r"re:.*self_attn\.[a-z_]*proj(_with_mqa)?$", format="float-quantized", **_ROW)),
    "tensor": {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None},
    "modelopt": {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]},
}


def _packed(numbers):
    places = torch.arange(8, dtype=torch.int64) * 4
    words = ((numbers.long() + 8).unflatten(1, (-1, 8)) << places).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).int()


def _int4(base, weight, factor):
    groups = weight.float().unflatten(1, (-1, GROUP))
    scales = (groups.abs().amax(-1) / 7 * factor).bfloat16()
    numbers = (groups / scales.float()[..., None]).round().clamp(-8, 7) + 0.0  # whole numbers have one zero
    plain = (numbers * scales.float()[..., None]).bfloat16().flatten(1)
    stored = {base + "weight_packed": _packed(numbers.flatten(1)), base + "weight_scale": scales, base + "weight_shape": torch.tensor(weight.shape)}
    return stored, plain


def _fp8(base, weight, scales, names, block=None):
    block = block or weight.shape
    grid = scales.reshape(1, 1) if scales.numel() == 1 else scales
    codes = fp8.codes(weight, grid, block)
    scale, *beside = names
    stored = {base + "weight": codes, base + scale: scales} | {base + name: torch.tensor(0.75) for name in beside}
    return stored, fp8.dequantize(codes, grid, block)


def quantized(state, kind, kept=KEPT):
    """(the tensors of a release, the state dict that they stand for). Scales are those of the rule times 1.2: a release need not
    have used it."""
    out, plain = {}, {}
    for name, weight in state.items():
        plain[name] = weight
        if weight.ndim != 2 or not name.endswith(".weight") or any(part in name for part in kept):
            out[name] = weight
            continue
        how = kind if kind != "mixed" else "row" if "self_attn" in name else "int4"
        if how == "int4" and weight.shape[1] % 8:
            out[name] = weight
            continue
        base, amax = name.removesuffix("weight"), weight.float().abs()
        if how == "int4":
            stored, plain[name] = _int4(base, weight, 1.2)
        elif how == "row":
            scales = (amax.amax(1, keepdim=True) / 448 * 1.2).bfloat16()
            stored, plain[name] = _fp8(base, weight, scales, ["weight_scale"], (1, weight.shape[1]))
        elif how == "block":
            scales = (fp8.owner_scales(weight, BLOCK, torch.float32) * 1.2).bfloat16()
            stored, plain[name] = _fp8(base, weight, scales, ["weight_scale"], BLOCK)
        elif how == "whole":
            stored, plain[name] = _fp8(base, weight, (amax.amax().reshape(1) / 448 * 1.2).bfloat16(), ["weight_scale", "input_scale"])
        else:
            names = ["weight_scale_inv", "activation_scale"] if how == "tensor" else ["weight_scale", "input_scale"]
            scale = amax.amax() / 448 * 1.2
            stored, plain[name] = _fp8(base, weight, scale.bfloat16() if how == "tensor" else scale, names)
        out |= stored
    return out, plain


def add_config(folder, kind, stored):
    """As the tool writes it: `ignore` names the linear modules that are not quantized."""
    config = dict(CONFIGS[kind])
    if config["quant_method"] == "compressed-tensors":
        config["ignore"] = [name.removesuffix(".weight") for name, tensor in stored.items()
                            if name.endswith(".weight") and tensor.ndim == 2 and tensor.dtype != torch.float8_e4m3fn and "embed" not in name]
    file = pathlib.Path(folder) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": config}, indent=2))
