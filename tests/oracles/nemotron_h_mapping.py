"""Nemotron-H: which Hugging Face tensor is which parameter of megatron-core's HybridModel, in memory, with layers and experts numbered
globally. Written from the modules of both sides, not from Causeway's tables:
  mamba_mixer.py          in_proj packs z, x, B, C and dt, as NemotronHMamba2Mixer splits them (gate, x and B and C, dt); conv1d_weight and
                          conv1d_bias are over x, B and C; the norm of a Mamba block, of attention and of an MLP is that of the linear after it.
  attention.py            linear_qkv's rows are, group by group, its query heads, its key, its value.
  mlp.py                  squared ReLU between two linears, no gate.
  moe_layer.py, router.py the router's bias decides the choice alone; fc1_latent_proj and fc2_latent_proj lie around the experts, not around
                          the shared expert.
  multi_token_prediction.py, hybrid_block.py  a depth is eh_proj(cat(enorm(embedding), hnorm(hidden))), then blocks, then final_layernorm; in the
                          files the blocks of all depths are counted through, the frame lies in the first of a depth and that norm in its last.
"""
import re

import torch

from oracles.arch import Hybrid


def arch(sizes, pattern, latent=None, mtp_pattern="", mtp=0):
    """The shape of a model whose config.json has `sizes`."""
    return Hybrid(
        pattern=pattern, hidden=sizes["hidden_size"], heads=sizes["num_attention_heads"], groups=sizes["num_key_value_heads"], head_dim=sizes["head_dim"],
        ffn=sizes["intermediate_size"], vocab=sizes["vocab_size"], mamba_heads=sizes["mamba_num_heads"], mamba_head_dim=sizes["mamba_head_dim"],
        mamba_groups=sizes["n_groups"], mamba_states=sizes["ssm_state_size"], experts=sizes["n_routed_experts"], topk=sizes["num_experts_per_tok"],
        expert_ffn=sizes["moe_intermediate_size"], shared_ffn=sizes["moe_shared_expert_intermediate_size"], scaling=sizes["routed_scaling_factor"],
        latent=latent, mtp=mtp, mtp_pattern=mtp_pattern if mtp else "", positions=sizes["max_position_embeddings"])


def _blocks(arch):
    """(kind, Megatron prefix, Hugging Face prefix) of every block, those of multi-token prediction included."""
    for layer, kind in enumerate(arch.pattern):
        yield kind, f"decoder.layers.{layer}.", f"backbone.layers.{layer}."
    for depth in range(arch.mtp):
        for block, kind in enumerate(arch.mtp_pattern):
            yield kind, f"mtp.layers.{depth}.mtp_model_layer.layers.{block}.", f"mtp.layers.{depth * len(arch.mtp_pattern) + block}."


_MAMBA = {"in_proj.weight": "in_proj.weight", "conv1d_weight": "conv1d.weight", "conv1d_bias": "conv1d.bias", "A_log": "A_log", "D": "D",
          "dt_bias": "dt_bias", "norm.weight": "norm.weight", "out_proj.weight": "out_proj.weight"}


def _same(arch):
    """Tensors that are the same on both sides: {Megatron name: Hugging Face name}."""
    pairs = {"embedding.word_embeddings.weight": "backbone.embeddings.weight", "decoder.final_norm.weight": "backbone.norm_f.weight",
             "output_layer.weight": "lm_head.weight"}
    for kind, m, h in _blocks(arch):
        x = h + "mixer."
        if kind == "M":
            pairs |= {m + "mixer.in_proj.layer_norm_weight": h + "norm.weight"} | {f"{m}mixer.{a}": x + b for a, b in _MAMBA.items()}
        elif kind == "*":
            pairs |= {m + "self_attention.linear_qkv.layer_norm_weight": h + "norm.weight", m + "self_attention.linear_proj.weight": x + "o_proj.weight"}
        elif kind == "-":
            pairs |= {m + "mlp.linear_fc1.layer_norm_weight": h + "norm.weight", m + "mlp.linear_fc1.weight": x + "up_proj.weight",
                      m + "mlp.linear_fc2.weight": x + "down_proj.weight"}
        else:
            pairs |= {m + "pre_mlp_layernorm.weight": h + "norm.weight", m + "mlp.router.weight": x + "gate.weight",
                      m + "mlp.router.expert_bias": x + "gate.e_score_correction_bias"}
            pairs |= {f"{m}mlp.{name}": x + name for name in ("fc1_latent_proj.weight", "fc2_latent_proj.weight") if arch.latent}
            for fc, name in (("linear_fc1.weight", "up_proj.weight"), ("linear_fc2.weight", "down_proj.weight")):
                pairs |= {f"{m}mlp.experts.{fc}{e}": f"{x}experts.{e}.{name}" for e in range(arch.experts)}
                pairs[f"{m}mlp.shared_experts.{fc}"] = f"{x}shared_experts.{name}"
    for depth in range(arch.mtp):
        m, first, last = f"mtp.layers.{depth}.", depth * len(arch.mtp_pattern), (depth + 1) * len(arch.mtp_pattern) - 1
        pairs |= {f"{m}{name}.weight": f"mtp.layers.{first}.{name}.weight" for name in ("eh_proj", "enorm", "hnorm")}
        pairs[m + "final_layernorm.weight"] = f"mtp.layers.{last}.final_layernorm.weight"
    return pairs


def to_megatron(arch, hf):
    """{Megatron parameter: tensor, in the dtype of the file} from a full Hugging Face state dict"""
    out = {m: hf[h] for m, h in _same(arch).items()}
    for kind, m, h in _blocks(arch):
        if kind == "*":
            q, k, v = (hf[f"{h}mixer.{part}_proj.weight"].unflatten(0, (arch.groups, -1)) for part in "qkv")
            out[m + "self_attention.linear_qkv.weight"] = torch.cat([q, k, v], dim=1).flatten(0, 1)
    return out


# ---- what each rank holds ----

_BY_ROWS = ("embedding.word_embeddings.weight", "output_layer.weight", "linear_qkv.weight", "eh_proj.weight", "A_log", ".D", "dt_bias", "mixer.norm.weight",
            "mlp.linear_fc1.weight", "shared_experts.linear_fc1.weight")
_BY_COLUMNS = ("linear_proj.weight", "out_proj.weight", "mlp.linear_fc2.weight", "shared_experts.linear_fc2.weight")
_EXPERT = re.compile(r"\.experts\.linear_fc(\d)\.weight\d+$")  # linear_fc1 by rows, linear_fc2 by columns


def shard(arch, name, full, layout, rank):
    """What `rank` holds of the full parameter `name`, whose expert, where it is of one, is among its own."""
    expert = _EXPERT.search(name)
    if expert:
        return full.chunk(layout.expert_tp, dim=int(expert[1]) - 1)[layout.expert_tp_rank(rank)]
    inner, states = arch.mamba_heads * arch.mamba_head_dim, arch.mamba_groups * arch.mamba_states
    parts = {"in_proj.weight": [inner, inner, states, states, arch.mamba_heads], "conv1d_weight": [inner, states, states],
             "conv1d_bias": [inner, states, states]}.get(name.rpartition("mixer.")[2])
    if parts:
        return torch.cat([part.chunk(layout.tp)[layout.tp_rank(rank)] for part in full.split(parts)])
    axis = 0 if name.endswith(_BY_ROWS) else 1 if name.endswith(_BY_COLUMNS) else None
    return full if axis is None else full.chunk(layout.tp, dim=axis)[layout.tp_rank(rank)]
