"""What data/megatron_written holds: shapes and the rule that makes each weight from its name.

The weight of parameter NAME (as a single-process model with the local spec calls it) is normal(0, 0.02), seeded with
crc32(NAME), drawn in fp32 and rounded to bf16.
"""
import zlib

import torch

from oracles.arch import Arch

_SIZES = dict(hidden=64, heads=4, groups=2, head_dim=16, ffn=96, vocab=128, dtype="bfloat16", positions=32)
DENSE = Arch(family="qwen2", layers=3, tied=False, **_SIZES)
TIED_QKNORM = Arch(family="qwen3", layers=2, tied=True, **_SIZES)

_LOCAL_NAMES = {"self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight", "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight"}


def _shapes(arch):
    qkv = (arch.heads + 2 * arch.groups) * arch.head_dim
    layer = {
        "self_attention.linear_qkv.layer_norm_weight": (arch.hidden,),
        "self_attention.linear_qkv.weight": (qkv, arch.hidden),
        "self_attention.linear_proj.weight": (arch.hidden, arch.heads * arch.head_dim),
        "mlp.linear_fc1.layer_norm_weight": (arch.hidden,),
        "mlp.linear_fc1.weight": (2 * arch.ffn, arch.hidden),
        "mlp.linear_fc2.weight": (arch.hidden, arch.ffn),
    }
    if arch.qkv_bias:
        layer["self_attention.linear_qkv.bias"] = (qkv,)
    if arch.qk_norm:
        layer["self_attention.q_layernorm.weight"] = layer["self_attention.k_layernorm.weight"] = (arch.head_dim,)
    shapes = {"embedding.word_embeddings.weight": (arch.vocab, arch.hidden), "decoder.final_layernorm.weight": (arch.hidden,)}
    if not arch.tied:
        shapes["output_layer.weight"] = (arch.vocab, arch.hidden)
    shapes.update({f"decoder.layers.{i}.{name}": shape for i in range(arch.layers) for name, shape in layer.items()})
    return shapes


def parameters(arch):
    """{full Megatron parameter name: tensor}"""
    out = {}
    for name, shape in _shapes(arch).items():
        local = name
        for fused, separate in _LOCAL_NAMES.items():
            local = local.replace(fused, separate)
        generator = torch.Generator().manual_seed(zlib.crc32(local.encode()))
        out[name] = torch.randn(shape, generator=generator).mul_(0.02).to(torch.bfloat16)
    return out
