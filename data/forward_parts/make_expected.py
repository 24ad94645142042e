"""Makes expected.safetensors beside this file: what transformers 5.23 computes for the parts of a forward pass that models/ has
(rotary encodings, norms, routers), each for an input of its own. tests/models/parts_test.cpp reads it;
tests/interop/test_forward_parts.py checks that transformers still gives it.
Usage: python make_expected.py"""
import pathlib

import safetensors.torch
import torch
from transformers import DeepseekV3Config, LlamaConfig, MixtralConfig, Qwen3MoeConfig
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek_v3
from transformers.models.llama import modeling_llama as llama
from transformers.models.mixtral.modeling_mixtral import MixtralTopKRouter
from transformers.models.qwen3_5 import modeling_qwen3_5 as qwen3_5
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

FILE = pathlib.Path(__file__).with_name("expected.safetensors")
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=64)
ROPES = {
    "default": dict(rope_type="default", rope_theta=10000.0),
    "linear": dict(rope_type="linear", rope_theta=50000.0, factor=2.5),
    # the wavelengths are 6.3, 20, 63, 199, ...: all three cases of llama3
    "llama3": dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128),
    "yarn": YARN,
    "yarn_mscales": dict(YARN, mscale=1.2, mscale_all_dim=0.7, beta_fast=8.0, beta_slow=2.0),
    "yarn_unrounded": dict(YARN, truncate=False),
    "yarn_narrow": dict(YARN, beta_fast=4.0, beta_slow=4.0, truncate=False),  # the ramp begins and ends at one place
}


def random(generator, *shape):
    return torch.randn(shape, generator=generator)


def frequencies():
    out = {}
    for name, rope in ROPES.items():
        config = LlamaConfig(hidden_size=64, num_attention_heads=4, head_dim=16, max_position_embeddings=256, rope_parameters=rope)
        made = llama.LlamaRotaryEmbedding(config)
        values, magnitude = made.inv_freq, made.attention_scaling
        out[f"rope.{name}.frequencies"], out[f"rope.{name}.magnitude"] = values, torch.tensor([magnitude], dtype=torch.float64)
    return out


def turns(generator):
    """Angles of base 10000 over 8 or 16 channels at positions 0 to 4, of heads of 16."""
    x = random(generator, 2, 3, 5, 16)

    def tables(channels):
        angles = torch.outer(torch.arange(5).float(), 1 / 10000 ** (torch.arange(0, channels, 2).float() / channels))
        both = torch.cat([angles, angles], -1)[None]
        return both.cos(), both.sin()

    halves, _ = llama.apply_rotary_pos_emb(x, x, *tables(16))
    pairs, _ = deepseek_v3.apply_rotary_pos_emb_interleave(x, x, *tables(16))  # puts the first channels of all pairs in front
    partial, _ = qwen3_5.apply_rotary_pos_emb(x, x, *tables(8))
    return {"turn.x": x, "turn.halves": halves, "turn.pairs": torch.stack(pairs.chunk(2, -1), -1).flatten(-2), "turn.partial": partial}


def norms(generator):
    out = {}
    x, weight = 3 * random(generator, 7, 40), 0.5 * random(generator, 40)
    for name, made, kind in [("plain", llama.LlamaRMSNorm(40, eps=1e-3), 1 + weight), ("zero_centred", qwen3_5.Qwen3_5RMSNorm(40, eps=1e-3), weight)]:
        for dtype in (torch.float32, torch.bfloat16):
            made = made.to(dtype)
            made.weight.data = kind.to(dtype)
            key = f"norm.{name}.{str(dtype).removeprefix('torch.')}"
            out |= {f"{key}.x": x.to(dtype), f"{key}.weight": made.weight.data.clone(), f"{key}.y": made(x.to(dtype)).detach()}
    return out


def routers(generator):
    """With the unit matrix as weight, the hidden state is the logits."""
    experts, logits = 12, 2 * random(generator, 64, 12)
    sizes = dict(hidden_size=experts, num_experts_per_tok=4)
    groups = dict(sizes, n_routed_experts=experts, n_group=4, topk_group=2, routed_scaling_factor=2.5)
    made = {
        "mixtral": MixtralTopKRouter(MixtralConfig(**sizes, num_local_experts=experts)),
        "qwen3_moe": Qwen3MoeTopKRouter(Qwen3MoeConfig(**sizes, num_experts=experts, norm_topk_prob=True)),
        "not_normalized": Qwen3MoeTopKRouter(Qwen3MoeConfig(**sizes, num_experts=experts, norm_topk_prob=False)),
        "deepseek_v3": deepseek_v3.DeepseekV3TopkRouter(DeepseekV3Config(**groups, norm_topk_prob=True)),
        "deepseek_v3_not_normalized": deepseek_v3.DeepseekV3TopkRouter(DeepseekV3Config(**groups, norm_topk_prob=False)),
    }
    bias = 0.3 * random(generator, experts)
    out = {"router.logits": logits, "router.bias": bias}
    for name, router in made.items():
        router.weight.data = torch.eye(experts)
        if hasattr(router, "e_score_correction_bias"):
            router.e_score_correction_bias.data = bias.clone()
        _, weights, chosen = router(logits)
        # one weight an expert: the order of the choice says nothing
        out[f"router.{name}"] = torch.zeros(len(logits), experts).scatter(1, chosen, weights.detach())
    return out


def tensors():
    generator = torch.Generator().manual_seed(1)
    out = frequencies() | turns(generator) | norms(generator) | routers(generator)
    return {name: tensor.clone().contiguous() for name, tensor in out.items()}


if __name__ == "__main__":
    safetensors.torch.save_file(tensors(), FILE)
