"""Ling 2.0 (BailingMoeV2), which transformers does not have: its layers compute what GLM-4.5's do, under the names of Ling's own modeling
file and with q, k and v in one tensor."""
import json
import pathlib
import re

import torch

from oracles import hf_files

NAMES = {"embed_tokens.": "word_embeddings.", "self_attn.o_proj.": "attention.dense.", "self_attn.q_norm.": "attention.query_layernorm.",
         "self_attn.k_norm.": "attention.key_layernorm.", "e_score_correction_bias": "expert_bias", "shared_head.norm.": "final_layernorm."}


def as_ling(tensors):
    """The same tensors under Ling's names; MTP has no copies of the embedding and the output layer."""
    out = {}
    for name, tensor in tensors.items():
        if re.search(r"layers\.\d+\.(embed_tokens|shared_head\.head)\.", name) or re.search(r"self_attn\.[kv]_proj", name):
            continue
        if "self_attn.q_proj" in name:
            tensor = torch.cat([tensors[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")])
            name = name.replace("self_attn.q_proj", "attention.query_key_value")
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        out[name] = tensor
    return out


def config(arch):
    moe = arch.moe
    return dict(
        architectures=["BailingMoeV2ForCausalLM"], model_type="bailing_moe_v2", hidden_act="silu", hidden_size=arch.hidden, num_hidden_layers=arch.layers,
        num_attention_heads=arch.heads, num_key_value_heads=arch.groups, head_dim=arch.head_dim, intermediate_size=arch.ffn, vocab_size=arch.vocab,
        max_position_embeddings=arch.positions, rms_norm_eps=arch.eps, rope_theta=arch.rope_base, partial_rotary_factor=arch.rotary, rope_scaling=None,
        tie_word_embeddings=False, torch_dtype=arch.dtype, use_qkv_bias=True, use_bias=False, use_qk_norm=True, num_experts=moe.experts,
        num_experts_per_tok=moe.topk, num_shared_experts=moe.shared, moe_intermediate_size=moe.ffn, n_group=moe.score_groups, topk_group=moe.chosen_groups,
        routed_scaling_factor=moe.scaling, norm_topk_prob=True, first_k_dense_replace=len(moe.dense), num_nextn_predict_layers=arch.mtp, attention_dropout=0.0)


def make(folder, arch, state, mtp, files):
    """Turns the folder of a GLM-4.5 that holds `state` into a Ling with these depths; returns its tensors."""
    state = as_ling(state | mtp)
    hf_files.write_safetensors(folder, state, files)
    (pathlib.Path(folder) / "config.json").write_text(json.dumps(config(arch)))
    return state
