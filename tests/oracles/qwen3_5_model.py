"""Tiny Qwen3.5, 3.6 and Qwen3-Next checkpoints as released: names, shapes and dtypes of the files, and config.json.

1. With a vision tower the text model's names start with `model.language_model.`, without one with `model.`; multi-token
   prediction (`mtp.*`) and `lm_head` have no prefix.
2. Experts are packed (`experts.gate_up_proj`, `experts.down_proj`, no `.weight`) or one by one, the decoder's and MTP's each
   as they like: Qwen3.5 packs the decoder's, Qwen3.6 both, FP8 repositories and Qwen3-Next none.
3. `A_log` and `linear_attn.norm` are F32 in Qwen3.5 and BF16 in Qwen3.6; everything else is BF16.
"""
import dataclasses

import torch


@dataclasses.dataclass(frozen=True)
class Vision:
    depth: int = 3
    hidden: int = 24
    heads: int = 3
    ffn: int = 40
    patch: int = 4
    positions: int = 16


@dataclasses.dataclass(frozen=True)
class Form:
    vision: Vision | None = None
    packed: bool = True       # the decoder's experts
    mtp_packed: bool = False
    ssm: torch.dtype = torch.float32
    witnesses: bool = False   # linear_attn.norm has values whose - 1 is inexact, zeros of both signs and others far away
    text_names: str = ""      # of a text model, if they do not start with `model.`
    interval: int | None = None  # config.json gives the distance of full attention layers instead of listing kinds


NAMES = {"qwen3_5": "Qwen3_5", "qwen3_5_moe": "Qwen3_5Moe", "qwen3_next": "Qwen3Next"}


def _text_config(arch, form):
    gdn, moe, half = arch.gdn, arch.moe, int(arch.head_dim * arch.gdn.rotary) // 2
    kinds = ["linear_attention" if linear else "full_attention" for linear in gdn.linear]
    config = dict(
        attention_bias=False, attention_dropout=0.0, attn_output_gate=gdn.gated, bos_token_id=1, eos_token_id=2, dtype=arch.dtype, head_dim=arch.head_dim,
        hidden_act="silu", hidden_size=arch.hidden, initializer_range=0.02, linear_conv_kernel_dim=4, linear_key_head_dim=gdn.key_dim,
        linear_num_key_heads=gdn.key_heads, linear_num_value_heads=gdn.value_heads, linear_value_head_dim=gdn.value_dim, mamba_ssm_dtype="float32",
        max_position_embeddings=arch.positions, model_type=arch.family + "_text", mtp_num_hidden_layers=arch.mtp, mtp_use_dedicated_embeddings=False,
        num_attention_heads=arch.heads, num_hidden_layers=arch.layers, num_key_value_heads=arch.groups, rms_norm_eps=arch.eps,
        tie_word_embeddings=arch.tied, use_cache=True, vocab_size=arch.vocab, partial_rotary_factor=gdn.rotary,
        rope_parameters=dict(mrope_interleaved=True, mrope_section=[half - 2 * (half // 3), half // 3, half // 3], partial_rotary_factor=gdn.rotary,
                             rope_theta=arch.rope_base, rope_type="default"))
    config.update({"full_attention_interval": form.interval} if form.interval else {"layer_types": kinds})
    if moe is None:
        return dict(config, intermediate_size=arch.ffn)
    return dict(config, num_experts=moe.experts, num_experts_per_tok=moe.topk, moe_intermediate_size=moe.ffn, shared_expert_intermediate_size=moe.gated_ffn,
                output_router_logits=False, router_aux_loss_coef=0.001)


def _next_config(arch, form):
    """Qwen3-Next has no text_config, an older spelling of the rotation, and no word of multi-token prediction."""
    config = _text_config(arch, form)
    for key in ("rope_parameters", "mamba_ssm_dtype", "attn_output_gate", "mtp_num_hidden_layers", "mtp_use_dedicated_embeddings", "dtype"):
        del config[key]
    return dict(config, model_type="qwen3_next", rope_theta=arch.rope_base, rope_scaling=None, torch_dtype=arch.dtype, intermediate_size=arch.ffn,
                norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=list(arch.moe.dense))


def config(arch, form):
    name = NAMES[arch.family]
    if arch.family == "qwen3_next":
        return dict(_next_config(arch, form), architectures=[name + "ForCausalLM"])
    text, vision = _text_config(arch, form), form.vision
    if vision is None:
        return dict(text, architectures=[name + "ForCausalLM"])
    return dict(
        architectures=[name + "ForConditionalGeneration"], image_token_id=arch.vocab - 7, video_token_id=arch.vocab - 6,
        vision_start_token_id=arch.vocab - 5, vision_end_token_id=arch.vocab - 4, model_type=arch.family, text_config=text,
        tie_word_embeddings=arch.tied, transformers_version="4.57.1",
        vision_config=dict(
            deepstack_visual_indexes=[], depth=vision.depth, hidden_act="gelu_pytorch_tanh", hidden_size=vision.hidden, in_channels=3,
            initializer_range=0.02, intermediate_size=vision.ffn, model_type=arch.family, num_heads=vision.heads,
            num_position_embeddings=vision.positions, out_hidden_size=arch.hidden, patch_size=vision.patch, spatial_merge_size=2, temporal_patch_size=2))


class _Tensors:
    """Random ones; a norm's lie around the value at which it does nothing."""

    def __init__(self, dtype, seed):
        self.dtype, self.generator, self.made = dtype, torch.Generator().manual_seed(seed), {}

    def add(self, name, *shape, around=0.0, spread=None, dtype=None):
        noise = torch.randn(*shape, generator=self.generator) * (spread or shape[-1] ** -0.5)
        self.made[name] = (around + noise).to(dtype or self.dtype)

    def norm(self, name, size, around=0.0, dtype=None):
        self.add(name, size, around=around, spread=0.2, dtype=dtype)

    def gated_mlp(self, prefix, ffn, hidden):
        self.add(prefix + "gate_proj.weight", ffn, hidden)
        self.add(prefix + "up_proj.weight", ffn, hidden)
        self.add(prefix + "down_proj.weight", hidden, ffn)


def _mlp(tensors, arch, prefix, is_moe, packed):
    moe, hidden = arch.moe, arch.hidden
    if not is_moe:
        tensors.gated_mlp(prefix, arch.ffn, hidden)
        return
    tensors.add(prefix + "gate.weight", moe.experts, hidden, spread=2 * hidden**-0.5)
    if packed:
        tensors.add(prefix + "experts.gate_up_proj", moe.experts, 2 * moe.ffn, hidden)
        tensors.add(prefix + "experts.down_proj", moe.experts, hidden, moe.ffn)
    else:
        for expert in range(moe.experts):
            tensors.gated_mlp(f"{prefix}experts.{expert}.", moe.ffn, hidden)
    tensors.gated_mlp(prefix + "shared_expert.", moe.gated_ffn, hidden)
    tensors.add(prefix + "shared_expert_gate.weight", 1, hidden)


def _attention(tensors, arch, prefix):
    tensors.add(prefix + "q_proj.weight", (2 if arch.gdn.gated else 1) * arch.heads * arch.head_dim, arch.hidden)
    tensors.add(prefix + "k_proj.weight", arch.groups * arch.head_dim, arch.hidden)
    tensors.add(prefix + "v_proj.weight", arch.groups * arch.head_dim, arch.hidden)
    tensors.add(prefix + "o_proj.weight", arch.hidden, arch.heads * arch.head_dim)
    tensors.norm(prefix + "q_norm.weight", arch.head_dim)
    tensors.norm(prefix + "k_norm.weight", arch.head_dim)


_FAR = (0.1, -0.0, 0.0, 0.3337, -0.77, 1e-20, 300.7, -1e30)


def _delta_net(tensors, arch, prefix, form):
    gdn, ssm = arch.gdn, form.ssm
    if arch.family == "qwen3_next":
        tensors.add(prefix + "in_proj_qkvz.weight", 2 * gdn.keys + 2 * gdn.values, arch.hidden)
        tensors.add(prefix + "in_proj_ba.weight", 2 * gdn.value_heads, arch.hidden)
    else:
        tensors.add(prefix + "in_proj_qkv.weight", 2 * gdn.keys + gdn.values, arch.hidden)
        tensors.add(prefix + "in_proj_z.weight", gdn.values, arch.hidden)
        tensors.add(prefix + "in_proj_b.weight", gdn.value_heads, arch.hidden)
        tensors.add(prefix + "in_proj_a.weight", gdn.value_heads, arch.hidden)
    tensors.add(prefix + "conv1d.weight", 2 * gdn.keys + gdn.values, 1, 4, spread=0.5)
    tensors.add(prefix + "A_log", gdn.value_heads, around=0.8, spread=0.6, dtype=ssm)
    tensors.add(prefix + "dt_bias", gdn.value_heads, spread=0.5)
    tensors.norm(prefix + "norm.weight", gdn.value_dim, around=1.0, dtype=ssm)
    norm = tensors.made[prefix + "norm.weight"].clamp_(0.5, 1.9)  # where - 1 is exact, so that both models are the same function
    if form.witnesses:
        norm[: len(_FAR)] = torch.tensor(_FAR)
    tensors.add(prefix + "out_proj.weight", arch.hidden, gdn.values)


def _layer(tensors, arch, prefix, linear, is_moe, form, packed):
    tensors.norm(prefix + "input_layernorm.weight", arch.hidden)
    if linear:
        _delta_net(tensors, arch, prefix + "linear_attn.", form)
    else:
        _attention(tensors, arch, prefix + "self_attn.")
    tensors.norm(prefix + "post_attention_layernorm.weight", arch.hidden)
    _mlp(tensors, arch, prefix + "mlp.", is_moe, packed)


def _vision(tensors, arch, vision):
    def linear(name, rows, *columns):
        tensors.add(name + ".weight", rows, *columns, spread=0.1)
        tensors.add(name + ".bias", rows, spread=0.1)

    def norm(name):
        tensors.norm(name + ".weight", vision.hidden, around=1.0)
        tensors.add(name + ".bias", vision.hidden, spread=0.1)

    v, merged = "model.visual.", 4 * vision.hidden
    linear(v + "patch_embed.proj", vision.hidden, 3, 2, vision.patch, vision.patch)
    tensors.add(v + "pos_embed.weight", vision.positions, vision.hidden)
    for layer in range(vision.depth):
        block = f"{v}blocks.{layer}."
        norm(block + "norm1")
        norm(block + "norm2")
        linear(block + "attn.qkv", 3 * vision.hidden, vision.hidden)
        linear(block + "attn.proj", vision.hidden, vision.hidden)
        linear(block + "mlp.linear_fc1", vision.ffn, vision.hidden)
        linear(block + "mlp.linear_fc2", vision.hidden, vision.ffn)
    norm(v + "merger.norm")
    linear(v + "merger.linear_fc1", merged, merged)
    linear(v + "merger.linear_fc2", arch.hidden, merged)


def state_dict(arch, form, seed):
    tensors = _Tensors(getattr(torch, arch.dtype), seed)
    text = form.text_names or ("model.language_model." if form.vision else "model.")
    tensors.add(text + "embed_tokens.weight", arch.vocab, arch.hidden, spread=1.0)
    for layer, linear in enumerate(arch.gdn.linear):
        _layer(tensors, arch, f"{text}layers.{layer}.", linear, arch.is_moe(layer), form, form.packed)
    tensors.norm(text + "norm.weight", arch.hidden)
    if not arch.tied:
        tensors.add("lm_head.weight", arch.vocab, arch.hidden)
    if form.vision:
        _vision(tensors, arch, form.vision)
    if arch.mtp:
        tensors.add("mtp.fc.weight", arch.hidden, 2 * arch.hidden)
        for name in ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm"):
            tensors.norm(f"mtp.{name}.weight", arch.hidden)
        _layer(tensors, arch, "mtp.layers.0.", False, arch.moe is not None, form, form.mtp_packed)
    return tensors.made
