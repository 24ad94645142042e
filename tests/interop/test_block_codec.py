"""The values that the unit tests of quantized elements expect (data/torch_codecs) are still what torch computes."""
import sys

import safetensors.torch
import torch

from interop.conftest import DATA

sys.path.insert(0, str(DATA / "torch_codecs"))

import make_expected  # noqa: E402  (needs the path above)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def test_expected_values_are_those_of_torch():
    committed = safetensors.torch.load_file(make_expected.FILE)
    made = make_expected.tensors()
    assert sorted(committed) == sorted(made)
    for name, tensor in made.items():
        assert same_bits(committed[name], tensor), name


def test_blocks_come_back_from_the_committed_codes():
    """The file is what a quantized checkpoint holds: codes times scales are the blocks within half a step (1/16)."""
    committed = safetensors.torch.load_file(make_expected.FILE)
    blocks = committed["blocks"].float()
    for name in ("f32", "bf16"):
        codes = committed[f"blocks.{name}_codes"].view(torch.float8_e4m3fn).float()
        scales = committed[f"blocks.{name}_scales"].float()[:, None]
        assert ((codes * scales - blocks).abs() <= (blocks.abs() / 16).maximum(scales * 2.0**-10)).all(), name
