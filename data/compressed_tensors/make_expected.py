"""Makes expected.safetensors beside this file: what compressed-tensors 0.20.1 packs, unpacks, quantizes and dequantizes.
tests/io/number/compressed_tensors_test.cpp reads it. The package is no requirement of the tests: install it beside torch to make
this again (pip install compressed-tensors==0.20.1).
Usage: python make_expected.py"""
import pathlib

import safetensors.torch
import torch
from compressed_tensors.compressors.naive_quantized.base import FloatQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

FILE = pathlib.Path(__file__).with_name("expected.safetensors")
CODES = torch.arange(-8, 8, dtype=torch.int8)


def scheme(**weights) -> QuantizationScheme:
    return QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(symmetric=True, **weights))


def int4(group: int) -> QuantizationScheme:
    return scheme(num_bits=4, type="int", strategy="group", group_size=group)


def fp8(strategy: str) -> QuantizationScheme:
    return scheme(num_bits=8, type="float", strategy=strategy)


def compressed(weight: torch.Tensor, scales: torch.Tensor, how: QuantizationScheme) -> torch.Tensor:
    return PackedQuantizationCompressor.compress({"weight": weight, "weight_scale": scales}, how)["weight_packed"]


def scales(generator: torch.Generator) -> torch.Tensor:
    """BF16: every exponent that 8 times the scale leaves finite, with three mantissas; and sizes as in models."""
    exponents = torch.arange(1, 251).to(torch.int16) << 7
    all_sizes = torch.cat([exponents, exponents + 1, exponents + 77]).view(torch.bfloat16)
    usual = (torch.rand(250, generator=generator) * 2.0 ** torch.randint(-14, -6, (250,), generator=generator)).bfloat16()
    return torch.cat([all_sizes, usual])[:, None]


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    out = {}
    # Every code under each scale.
    out["int4.scales"] = scales(generator)
    rows = len(out["int4.scales"])
    every_code = CODES.float().repeat(rows, 1)
    out["int4.packed"] = compressed(every_code, torch.ones(rows, 1), int4(16))
    state = {"weight_packed": out["int4.packed"], "weight_scale": out["int4.scales"], "weight_shape": torch.tensor(every_code.shape)}
    out["int4.values"] = PackedQuantizationCompressor.decompress(state, int4(16))["weight"]
    # F32 values in groups of 32, ties and values beyond the largest code among them.
    out["quantized.scales"] = torch.rand(32, 4, generator=generator) + 0.01
    values = torch.randn(32, 128, generator=generator) * 3
    halves = (torch.randint(-20, 20, (32, 128), generator=generator) / 2) * out["quantized.scales"].repeat_interleave(32, 1)
    out["quantized.in"] = torch.where(torch.rand(32, 128, generator=generator) < 0.3, halves, values)
    out["quantized.packed"] = compressed(out["quantized.in"], out["quantized.scales"], int4(32))
    # Every finite code of FP8 under a scale of its row.
    out["fp8.scales"] = out["int4.scales"][::10].clone()
    codes = torch.arange(256).to(torch.uint8)
    codes[[0x7F, 0xFF]] = 0
    out["fp8.codes"] = codes.repeat(len(out["fp8.scales"]), 1).view(torch.float8_e4m3fn)
    state = {"weight": out["fp8.codes"], "weight_scale": out["fp8.scales"]}
    out["fp8.values"] = FloatQuantizationCompressor.decompress(state, fp8("channel"))["weight"]
    return {name: tensor.contiguous() for name, tensor in out.items()}


if __name__ == "__main__":
    safetensors.torch.save_file(tensors(), FILE)
