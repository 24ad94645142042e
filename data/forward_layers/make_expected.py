"""Makes deepseek_v4, qwen3_5, token_index and nemotron_h.safetensors beside this file: what layers of transformers 5.23 make of an input, with
random weights, and what is inside them. The tests of tests/models/forward read them;
tests/interop/test_forward_parts.py checks that transformers still gives it.
Usage: python make_expected.py

CASE.x, CASE.y            input and output of a layer
CASE.layers.0.ROLE        its weights by the names of models/model/tensor_id.h, those stored together taken apart by hand
CASE.ids                  token numbers, where they matter
Sizes are small and no two of them equal; windows, ratios and limits are such that each of them shows."""
import pathlib

import safetensors.torch
import torch
from transformers import DeepseekV4Config, DeepseekV32Config, GlmMoeDsaConfig, NemotronHConfig
from transformers.models.deepseek_v4 import modeling_deepseek_v4 as v4
from transformers.models.deepseek_v32 import modeling_deepseek_v32 as v32
from transformers.models.glm_moe_dsa import modeling_glm_moe_dsa as glm
from transformers.models.nemotron_h import modeling_nemotron_h as nemotron
from transformers.models.qwen3_5 import modeling_qwen3_5 as qwen
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5TextConfig
from transformers.models.qwen3_5_moe import modeling_qwen3_5_moe as qwen_moe
from transformers.models.qwen3_5_moe.configuration_qwen3_5_moe import Qwen3_5MoeTextConfig

FOLDER = pathlib.Path(__file__).parent


def filled(module, generator, scale=0.5):
    """With random weights; norms are near one."""
    for name, parameter in [*module.named_parameters(), *module.named_buffers()]:
        if parameter.is_floating_point() and "inv_freq" not in name:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data = 1 + 0.2 * noise if "norm" in name else noise * (scale if parameter.dim() < 2 else 1.5 * parameter.shape[-1] ** -0.5)
    return module.float().eval()


def random(generator, *shape):
    return torch.randn(shape, generator=generator)


# ---- DeepSeek-V4 ----

V4 = DeepseekV4Config(
    vocab_size=29, hidden_size=20, moe_intermediate_size=14, num_hidden_layers=3, num_attention_heads=6, head_dim=16, partial_rotary_factor=0.25, q_lora_rank=10,
    num_experts_per_tok=2, n_routed_experts=5, n_shared_experts=1, routed_scaling_factor=1.7, layer_types=[
        "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"],
    compress_rates={"compressed_sparse_attention": 4, "heavily_compressed_attention": 7}, mlp_layer_types=["hash_moe", "moe", "moe"], hc_mult=3, hc_sinkhorn_iters=5,
    hc_eps=1e-3, swiglu_limit=0.4, sliding_window=5, o_groups=3, o_lora_rank=4, index_n_heads=9, index_head_dim=8, index_topk=3, rms_norm_eps=1e-3,
    max_position_embeddings=256, rope_theta=50.0, compress_rope_theta=300.0,
    rope_scaling=dict(type="yarn", rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=2.0, beta_slow=0.25), attn_implementation="eager")

_SUMMARY = {"kv_proj.weight": "value", "gate_proj.weight": "gate", "position_bias": "place", "kv_norm.weight": "norm"}
_ATTENTION = {
    "q_a_proj.weight": "q_down", "q_a_norm.weight": "q_down_norm", "q_b_proj.weight": "q_up", "kv_proj.weight": "kv", "kv_norm.weight": "kv_norm", "sinks": "sink",
    "o_a_proj.weight": "o_down", "o_b_proj.weight": "o_up", **{f"compressor.{name}": f"summary.{role}" for name, role in _SUMMARY.items()},
    **{f"compressor.indexer.{name}": f"index.{role}" for name, role in _SUMMARY.items()}, "compressor.indexer.q_b_proj.weight": "index.q",
    "compressor.indexer.scorer.weights_proj.weight": "index.weights"}


def v4_attention(generator):
    out, tokens = {}, 23
    rotary = v4.DeepseekV4RotaryEmbedding(V4)
    positions = torch.arange(tokens)[None]
    before = positions[0][:, None] - positions[0]
    mask = torch.zeros(1, 1, tokens, tokens).masked_fill((before < 0) | (before >= V4.sliding_window), -torch.inf)
    for layer, case in enumerate(["sliding", "sparse", "heavy"]):
        made, x = filled(v4.DeepseekV4Attention(V4, layer), generator), random(generator, 2, tokens, V4.hidden_size)
        rotation = {name: rotary(x, position_ids=positions, layer_type=name) for name in ("main", "compress")}
        y, _ = made(x, rotation, positions.expand(2, -1), mask.expand(2, -1, -1, -1))
        out |= {f"{case}.x": x, f"{case}.y": y}
        out |= {f"{case}.layers.0.{_ATTENTION[name]}": tensor for name, tensor in made.state_dict().items()}
    return out


def v4_hyper(generator):
    """A layer whose parts triple what their norms give; and the mixing before a head."""
    layer = filled(v4.DeepseekV4DecoderLayer(V4, 0), generator, 1.0)
    for norm in (layer.input_layernorm, layer.post_attention_layernorm):
        norm.weight.data = torch.ones(V4.hidden_size)
    layer.self_attn.forward = lambda hidden_states, **other: (3 * hidden_states, None)
    layer.mlp.forward = lambda hidden_states, **other: 3 * hidden_states
    head = filled(v4.DeepseekV4HyperHead(V4), generator, 1.0)
    x = 2 * random(generator, 2, 4, V4.hc_mult, V4.hidden_size)
    out = {"hyper.x": x, "hyper.y": layer(x), "hyper.head": head(x)}
    for part, made in (("attention", layer.attn_hc), ("mlp", layer.ffn_hc)):
        out |= {f"hyper.{part}_mapping": made.fn, f"hyper.{part}_mapping.base": made.base, f"hyper.{part}_mapping.scale": made.scale}
    return out | {"hyper.head_mapping": head.hc_fn, "hyper.head_mapping.base": head.hc_base, "hyper.head_mapping.scale": head.hc_scale}


def _mlp_weights(case, gate_up, down, shared, width):
    out = {}
    for expert, (both, last) in enumerate(zip(gate_up, down)):
        out |= {f"{case}.layers.0.experts.{expert}.{role}": tensor for role, tensor in (("gate", both[:width]), ("up", both[width:]), ("down", last))}
    return out | {f"{case}.layers.0.shared.{role}": getattr(shared, f"{role}_proj").weight for role in ("gate", "up", "down")}


def v4_mlp(generator):
    out = {}
    for layer, case in enumerate(["hashed", "biased"]):
        made = filled(v4.DeepseekV4SparseMoeBlock(V4, layer), generator)
        x, ids = random(generator, 2, 9, V4.hidden_size), torch.randint(0, V4.vocab_size, (2, 9), generator=generator)
        if case == "hashed":
            made.gate.tid2eid = torch.stack([torch.randperm(V4.n_routed_experts, generator=generator)[: V4.num_experts_per_tok] for _ in range(V4.vocab_size)])
            out[f"{case}.layers.0.router_table"] = made.gate.tid2eid
        else:
            out[f"{case}.layers.0.router_bias"] = made.gate.e_score_correction_bias
        out |= {f"{case}.x": x, f"{case}.ids": ids, f"{case}.y": made(x, input_ids=ids), f"{case}.layers.0.router": made.gate.weight}
        out |= _mlp_weights(case, made.experts.gate_up_proj, made.experts.down_proj, made.shared_experts, V4.moe_intermediate_size)
    return out


# ---- Qwen3.5 ----

_QWEN = dict(vocab_size=29, hidden_size=20, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, head_dim=16, layer_types=["linear_attention", "full_attention"],
             linear_num_key_heads=2, linear_num_value_heads=6, linear_key_head_dim=5, linear_value_head_dim=7, linear_conv_kernel_dim=4, rms_norm_eps=1e-3,
             rope_parameters=dict(rope_type="default", rope_theta=50.0, partial_rotary_factor=0.5, mrope_section=[2, 1, 1], mrope_interleaved=True),
             attn_implementation="eager")
QWEN = Qwen3_5TextConfig(intermediate_size=12, **_QWEN)
QWEN_MOE = Qwen3_5MoeTextConfig(moe_intermediate_size=14, shared_expert_intermediate_size=11, num_experts=5, num_experts_per_tok=2, **_QWEN)


def qwen_full(generator):
    made, tokens = filled(qwen.Qwen3_5Attention(QWEN, 1), generator), 9
    for norm in (made.q_norm, made.k_norm):  # zero-centred
        norm.weight.data = norm.weight.data - 1
    x = random(generator, 2, tokens, QWEN.hidden_size)
    rotation = qwen.Qwen3_5TextRotaryEmbedding(QWEN)(x, torch.arange(tokens)[None, None].expand(3, 2, -1))
    mask = torch.full((tokens, tokens), -torch.inf).triu(1)[None, None]
    q, gate = made.q_proj.weight.unflatten(0, (-1, 2, QWEN.head_dim)).unbind(1)
    out = {"x": x, "y": made(x, rotation, mask)[0], "layers.0.q": q.flatten(0, 1), "layers.0.q_gate": gate.flatten(0, 1), "layers.0.k": made.k_proj.weight,
           "layers.0.v": made.v_proj.weight, "layers.0.o": made.o_proj.weight, "layers.0.q_norm": made.q_norm.weight, "layers.0.k_norm": made.k_norm.weight}
    return {f"full.{name}": tensor for name, tensor in out.items()}


def qwen_linear(generator):
    """More than two chunks of 64 tokens."""
    made, x = filled(qwen.Qwen3_5GatedDeltaNet(QWEN, 0), generator), random(generator, 1, 133, QWEN.hidden_size)
    sizes = [made.key_dim, made.key_dim, made.value_dim]
    out = {"x": x, "y": made(x), "layers.0.z": made.in_proj_z.weight, "layers.0.beta": made.in_proj_b.weight, "layers.0.alpha": made.in_proj_a.weight,
           "layers.0.decay": made.A_log, "layers.0.decay_bias": made.dt_bias, "layers.0.head_norm": made.norm.weight, "layers.0.o": made.out_proj.weight}
    for roles, tensor in ((("q", "k", "v"), made.in_proj_qkv.weight), (("q_conv", "k_conv", "v_conv"), made.conv1d.weight)):
        out |= {f"layers.0.{role}": part for role, part in zip(roles, tensor.split(sizes))}
    return {f"linear.{name}": tensor for name, tensor in out.items()}


def delta_rule(generator):
    """transformers' [B, S, H, d] and [B, S, H]; q and k of length one, q scaled, as it makes them inside."""
    q, k, v = (random(generator, 2, 37, 3, dim) for dim in (5, 5, 4))
    decay, beta = -torch.rand(2, 37, 3, generator=generator) * 3, torch.rand(2, 37, 3, generator=generator)
    y, _ = qwen.torch_recurrent_gated_delta_rule(q, k, v, decay, beta, use_qk_l2norm_in_kernel=True)
    chunked, _ = qwen.torch_chunk_gated_delta_rule(q, k, v, decay, beta, chunk_size=16, use_qk_l2norm_in_kernel=True)
    torch.testing.assert_close(y, chunked, rtol=1e-4, atol=1e-5)
    return {f"delta.{name}": tensor for name, tensor in dict(q=q, k=k, v=v, decay=decay, beta=beta, y=y).items()}


def qwen_mlp(generator):
    made, x = filled(qwen_moe.Qwen3_5MoeSparseMoeBlock(QWEN_MOE), generator), random(generator, 2, 9, QWEN.hidden_size)
    out = {"gated.x": x, "gated.y": made(x), "gated.layers.0.router": made.gate.weight, "gated.layers.0.shared.weight": made.shared_expert_gate.weight}
    return out | _mlp_weights("gated", made.experts.gate_up_proj, made.experts.down_proj, made.shared_expert, QWEN_MOE.moe_intermediate_size)


# ---- latent attention with an index ----

_INDEXED = dict(vocab_size=29, hidden_size=20, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=6, q_lora_rank=10, kv_lora_rank=7, qk_nope_head_dim=5,
                qk_rope_head_dim=4, v_head_dim=9, index_head_dim=8, index_topk=3, rope_parameters=dict(rope_type="default", rope_theta=50.0),
                attn_implementation="eager")
_LATENT = {"q_a_proj.weight": "q_down", "q_a_layernorm.weight": "q_down_norm", "q_b_proj.weight": "q_up", "kv_a_proj_with_mqa.weight": "kv_down",
           "kv_a_layernorm.weight": "kv_down_norm", "kv_b_proj.weight": "kv_up", "o_proj.weight": "o", "indexer.wq_b.weight": "index.q", "indexer.wk.weight": "index.key",
           "indexer.k_norm.weight": "index.key_norm", "indexer.k_norm.bias": "index.key_norm_bias", "indexer.weights_proj.weight": "index.weights"}


def _indexed(case, made, x, **other):
    """({CASE.*: tensor}, what the layer's index chose)"""
    tokens = x.shape[1]
    positions, mask = torch.arange(tokens)[None], torch.full((tokens, tokens), -torch.inf).triu(1).expand(len(x), 1, -1, -1)
    rotation = v32.DeepseekV32RotaryEmbedding(made.config)(x, positions)
    y, _, *chosen = made(x, position_embeddings=rotation, attention_mask=mask, **other)
    return {f"{case}.x": x, f"{case}.y": y} | {f"{case}.layers.0.{_LATENT[name]}": tensor for name, tensor in made.state_dict().items()}, chosen


def token_index(generator):
    """Keys turned in halves (DeepSeek-V3.2) and in pairs (GLM-5), a layer that shares the choice of that with pairs, and an index of
    one head, which gives every second token the score 0."""
    x = random(generator, 2, 23, 20)
    halves, _ = _indexed("halves", filled(v32.DeepseekV32Attention(DeepseekV32Config(**_INDEXED, index_n_heads=9), 0), generator), x)
    config = GlmMoeDsaConfig(**_INDEXED, index_n_heads=9, indexer_types=["full", "shared"])
    pairs, chosen = _indexed("pairs", filled(glm.GlmMoeDsaAttention(config, 0), generator), x)
    shared, _ = _indexed("shared", filled(glm.GlmMoeDsaAttention(config, 1), generator), x, prev_topk_indices=chosen[0])
    equal, _ = _indexed("equal", filled(v32.DeepseekV32Attention(DeepseekV32Config(**_INDEXED, index_n_heads=1), 0), generator), x)
    return halves | pairs | shared | equal


# ---- Nemotron-H ----

_NEMOTRON = dict(vocab_size=29, hidden_size=20, layers_block_type=["linear_attention", "full_attention", "moe"], num_attention_heads=6, num_key_value_heads=2, head_dim=16,
                 mamba_num_heads=6, mamba_head_dim=5, n_groups=2, ssm_state_size=7, conv_kernel=4, chunk_size=16, time_step_min=0.3, layer_norm_epsilon=1e-3,
                 n_routed_experts=6, num_experts_per_tok=2, n_group=2, topk_group=1, routed_scaling_factor=0.7, moe_intermediate_size=14,
                 moe_shared_expert_intermediate_size=11, attn_implementation="eager")


def nemotron_mamba(generator):
    """More than a chunk of 128 tokens and many of 16; a third of the time steps are below the limit."""
    made, x = filled(nemotron.NemotronHMamba2Mixer(NemotronHConfig(**_NEMOTRON), 0), generator), random(generator, 1, 133, 20)
    inner, states = made.intermediate_size, made.n_groups * made.ssm_state_size
    out = {"x": x, "y": made(x), "layers.0.step_bias": made.dt_bias, "layers.0.decay": made.A_log, "layers.0.skip": made.D, "layers.0.scan_norm": made.norm.weight,
           "layers.0.o": made.out_proj.weight}
    for roles, sizes, tensor in ((("z", "x", "b", "c", "step"), (inner, inner, states, states, made.num_heads), made.in_proj.weight),
                                 (("x_conv", "b_conv", "c_conv"), (inner, states, states), made.conv1d.weight),
                                 (("x_conv_bias", "b_conv_bias", "c_conv_bias"), (inner, states, states), made.conv1d.bias)):
        out |= {f"layers.0.{role}": part for role, part in zip(roles, tensor.split(sizes))}
    return {f"mamba.{name}": tensor for name, tensor in out.items()}


def state_scan(generator):
    """transformers' [B, S, H, d] and [B, S, H]; it takes the length of a step before the softplus, which is left out here."""
    x, b, c = (random(generator, 2, 37, heads, dim) for heads, dim in ((6, 5), (2, 7), (2, 7)))
    step, rate = torch.rand(2, 37, 6, generator=generator), -3 * torch.rand(6, generator=generator)
    y = nemotron.mamba2_chunk_scan(x, step, rate, b, c, chunk_size=16)
    return {f"scan.{name}": tensor for name, tensor in dict(x=x, step=step, rate=rate, b=b, c=c, y=y).items()}


def nemotron_attention(generator):
    made, tokens = filled(nemotron.NemotronHAttention(NemotronHConfig(**_NEMOTRON), 1), generator), 9
    x, mask = random(generator, 2, tokens, 20), torch.full((tokens, tokens), -torch.inf).triu(1)[None, None]
    out = {"x": x, "y": made(x, mask)[0]} | {f"layers.0.{role}": getattr(made, f"{role}_proj").weight for role in "qkvo"}
    return {f"placeless.{name}": tensor for name, tensor in out.items()}


def nemotron_mlp(generator):
    out = {}
    for case, latent in (("wide", None), ("latent", 9)):
        made, x = filled(nemotron.NemotronHMoE(NemotronHConfig(**_NEMOTRON, moe_latent_size=latent), 2), generator), random(generator, 2, 9, 20)
        out |= {f"{case}.x": x, f"{case}.y": made(x), f"{case}.layers.0.router": made.gate.weight, f"{case}.layers.0.router_bias": made.gate.e_score_correction_bias}
        out |= {f"{case}.layers.0.experts.{expert}.{role}": tensor for role in ("up", "down") for expert, tensor in enumerate(getattr(made.experts, f"{role}_proj"))}
        out |= {f"{case}.layers.0.shared.{role}": getattr(made.shared_experts, f"{role}_proj").weight for role in ("up", "down")}
        if latent:
            out |= {f"{case}.layers.0.latent.down": made.fc1_latent_proj.weight, f"{case}.layers.0.latent.up": made.fc2_latent_proj.weight}
    return out


def tensors():
    """{file: {name: tensor}}"""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        made = {"deepseek_v4.safetensors": v4_attention(generator) | v4_hyper(generator) | v4_mlp(generator),
                "qwen3_5.safetensors": qwen_full(generator) | qwen_linear(generator) | delta_rule(generator) | qwen_mlp(generator),
                "token_index.safetensors": token_index(generator),
                "nemotron_h.safetensors": nemotron_mamba(generator) | state_scan(generator) | nemotron_attention(generator) | nemotron_mlp(generator)}
    return {file: {name: tensor.clone().contiguous() for name, tensor in values.items()} for file, values in made.items()}


if __name__ == "__main__":
    for file_name, values_of_file in tensors().items():
        safetensors.torch.save_file(values_of_file, FOLDER / file_name)
