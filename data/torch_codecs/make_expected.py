"""Makes expected.safetensors beside this file: what torch 2.11 computes for the quantized elements that bridge/io/number/block_codec.h
converts. tests/io/block_codec_torch_test.cpp reads it; tests/interop/test_block_codec.py checks that torch still gives it.
Usage: python make_expected.py

Scales go down, codes (0..255; FP4 0..15) across. The bits of a NaN depend on how torch vectorises: here they are all the same.
torch has no arithmetic on FP4; its values are a table (OCP Microscaling Formats 1.0, table 7). Products of MXFP4 are those of
transformers; its new scales and codes follow the definition in triton_kernels' downcast_to_mxfp_torch (ROUND_UP, ties to even)."""
import pathlib

import safetensors.torch
import torch
from transformers.integrations import mxfp4

FILE = pathlib.Path(__file__).with_name("expected.safetensors")
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
EXTREMES = [0, 2.0**-149, 1.5 * 2.0**-149, 2.0**-127, 2.0**-126, 1.7 * 2.0**-119, 1, 146, 147, 2.0**118, 1.75 * 2.0**119, 3.4e38,
            float("inf"), float("nan")]


def one_nan(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x.isnan(), torch.full_like(x, float("nan")), x)


def scales(generator: torch.Generator) -> torch.Tensor:
    """Every kind of F32: any bits, and sizes as in models; half of the extremes' signs are negative."""
    any_bits = torch.randint(-(2**31), 2**31, (40,), generator=generator).to(torch.int32).view(torch.float32)
    usual = torch.rand(40, generator=generator) * 2.0 ** torch.randint(-20, -8, (40,), generator=generator)
    extremes = torch.tensor(EXTREMES, dtype=torch.float64).float()
    return torch.cat([one_nan(any_bits), usual, extremes, -extremes])


def products(values: torch.Tensor, scales: torch.Tensor, name: str, dtypes: dict[str, torch.dtype]) -> dict[str, torch.Tensor]:
    f32 = values.float()[None, :] * scales.float()[:, None]
    return {f"{name}.{dtype}": one_nan(f32.to(as_dtype)) for dtype, as_dtype in dtypes.items()}


def to_e4m3(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(-448, 448).to(torch.float8_e4m3fn).view(torch.uint8)


def roundings(generator: torch.Generator) -> torch.Tensor:
    """Every value of e4m3, every midpoint, both neighbours of each; and 17,000 of sizes from 2^-14 to 2^10."""
    values = torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    edges = torch.cat([values, (values[1:] + values[:-1]) / 2, torch.tensor([464.0])])
    infinity = torch.tensor(float("inf"))
    edges = torch.cat([edges, edges.nextafter(infinity), edges.nextafter(-infinity)])
    some = torch.rand(8500, generator=generator) * 2.0 ** torch.randint(-14, 11, (8500,), generator=generator)
    positive = torch.cat([edges, some, torch.tensor([1e38, float("inf"), float("nan")])])
    return torch.cat([positive, -positive])


def mxfp4_products() -> torch.Tensor:
    """[scale, code], for every byte of a scale."""
    pairs = torch.tensor([0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE], dtype=torch.uint8)
    values = mxfp4._convert_moe_packed_tensors(pairs.expand(1, 256, 1, 8), torch.arange(256).to(torch.uint8)[None, :, None])
    return one_nan(values[0].T)


def mxfp4_blocks(generator: torch.Generator) -> torch.Tensor:
    """Blocks of 32: of many sizes, with every tie of every binade, of zeros, and with the smallest and largest of BF16."""
    sizes = torch.randn(48, 32, generator=generator) * 2.0 ** torch.arange(-136, 104, 5)[:, None]
    ties = torch.tensor([6.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0] * 4) * torch.tensor([1.0, -1.0]).repeat_interleave(16)
    extremes = torch.zeros(4, 32)
    extremes[1, 3], extremes[2, :2], extremes[3, 5] = -0.0, torch.tensor([2.0**-133, -(2.0**-130)]), 3.38e38
    return torch.cat([sizes, ties * 2.0 ** torch.arange(-20, 12)[:, None], extremes]).bfloat16()


def mxfp4_quantized(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bytes of scales, and a code a byte: the least power of two that reaches amax / 6, and the nearest code."""
    wanted = blocks.float().abs().amax(1) / 6
    mantissa, exponent = torch.frexp(wanted)
    scales = torch.where(wanted == 0, 0, (exponent - (mantissa == 0.5).int() + 127).clamp(min=1))
    values = blocks.double() / 2.0 ** (scales.double()[:, None] - 127)
    distances = (values.abs()[..., None] - E2M1[:8].double()).abs()
    even_first = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
    codes = even_first[distances[..., even_first].argmin(-1)] + 8 * values.signbit()
    return scales.to(torch.uint8), codes.to(torch.uint8)


def tensors() -> dict[str, torch.Tensor]:
    torch.set_flush_denormal(False)
    generator = torch.Generator().manual_seed(11)
    e4m3 = torch.arange(256).to(torch.uint8).view(torch.float8_e4m3fn)
    e8m0 = torch.arange(256).to(torch.uint8).view(torch.float8_e8m0fnu)
    all_types = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
    two_types = {"bf16": torch.bfloat16, "f32": torch.float32}
    out = {"e8m0.f32": one_nan(e8m0.float()), "e4m3.f32": one_nan(e4m3.float())}
    out |= products(e4m3, e8m0, "e4m3_by_e8m0", two_types)
    out |= products(E2M1, e8m0, "e2m1_by_e8m0", all_types)
    out["f32_scales"] = scales(generator)
    out |= products(e4m3, out["f32_scales"], "e4m3_by_f32", all_types)
    out["bf16_scales"] = scales(generator).bfloat16()
    out |= products(e4m3, out["bf16_scales"], "e4m3_by_bf16", two_types)

    out["round.in"] = roundings(generator)
    out["round.out"] = to_e4m3(out["round.in"])

    # Blocks of one row as a model owner quantizes them: a scale from the largest magnitude.
    blocks = torch.randn(32, 128, generator=generator).bfloat16() * 2.0 ** torch.arange(-24, 8)[:, None]
    out["blocks"] = blocks.bfloat16()
    amax = out["blocks"].float().abs().amax(1)
    exact = amax.clamp_min(1e-4) / 448
    for name, scale in (("f32", exact), ("bf16", exact.bfloat16())):
        out[f"blocks.{name}_scales"] = scale
        out[f"blocks.{name}_codes"] = to_e4m3(out["blocks"].float() / scale.float()[:, None])

    out["mxfp4.bf16"] = mxfp4_products()
    out["mxfp4.blocks"] = mxfp4_blocks(generator)
    out["mxfp4.scales"], out["mxfp4.codes"] = mxfp4_quantized(out["mxfp4.blocks"])
    return {name: tensor.contiguous() for name, tensor in out.items()}


if __name__ == "__main__":
    safetensors.torch.save_file(tensors(), FILE)
