"""gpt-oss's experts in MXFP4, as the releases hold them: made with torch alone, read as transformers reads them.

1. A matrix [in, out] of the model is stored as [out, in], its columns in blocks of 32: X_blocks [..., blocks, 16] in U8 has two
   codes a byte, the even column in the low half; X_scales [..., blocks] in U8 has the exponent of each block's scale plus 127.
2. The values are those of transformers' integrations/mxfp4.py, which transposes them back.
"""
import torch
from transformers.integrations import mxfp4

MATRICES = (".experts.gate_up_proj", ".experts.down_proj")
# Even codes first: of two that are equally near, argmin takes the first.
CODES = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
MAGNITUDES = torch.tensor([0, 1, 2, 4, 0.5, 1.5, 3, 6])
# As openai/gpt-oss-20b says it.
CONFIG = {"modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"], "quant_method": "mxfp4"}


def pack(matrices, exponents):
    """The bytes of [..., blocks, 32] values whose blocks have these exponents: the nearest code of each, ties to even."""
    values = matrices / 2.0 ** exponents[..., None]
    codes = CODES[(values.abs()[..., None] - MAGNITUDES).abs().argmin(-1)] + 8 * values.signbit()
    return (codes[..., ::2] + 16 * codes[..., 1::2]).to(torch.uint8)


def quantized(state):
    """A released state dict. A scale is the least that reaches the largest value, or twice that: these bytes are to come back,
    whatever rule made them."""
    out, generator = {}, torch.Generator().manual_seed(12)
    for name, tensor in state.items():
        if not name.endswith(MATRICES):
            out[name] = tensor
            continue
        blocks = tensor.float().transpose(1, 2).unflatten(-1, (-1, 32))
        exponents = torch.log2(blocks.abs().amax(-1) / 6).ceil()
        exponents += torch.randint(0, 2, exponents.shape, generator=generator)
        out[name + "_blocks"], out[name + "_scales"] = pack(blocks, exponents), (exponents + 127).to(torch.uint8)
    return out


def plain(state):
    """The state dict a quantized one stands for."""
    out = {}
    for name, tensor in state.items():
        if name.endswith("_blocks"):
            name = name.removesuffix("_blocks")
            out[name] = mxfp4._convert_moe_packed_tensors(tensor, state[name + "_scales"])
        elif not name.endswith("_scales"):
            out[name] = tensor
    return out
