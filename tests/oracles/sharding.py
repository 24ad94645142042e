"""What each rank holds of a full Megatron parameter, and the torch_dist key it is stored under. Names as in mapping.py."""
import re

import torch

VOCABULARY = ("embedding.word_embeddings.weight", "output_layer.weight")
_EXPERT = re.compile(r"(.*mlp\.experts\.)local_experts\.(\d+)\.(.*)")

# parameters split by rows, besides linear_fc1 whose halves are split alone; local: the down projections of MLA too
_BY_ROWS = ("linear_qkv.weight", "linear_qkv.bias", "linear_q_proj.weight", "linear_q_up_proj.weight", "linear_kv_up_proj.weight", "eh_proj.weight")
_BY_ROWS_LOCAL = (*_BY_ROWS, "linear_q_down_proj.weight", "linear_kv_down_proj.weight")
_BY_COLUMNS = ("linear_proj.weight", "linear_fc2.weight", "out_proj.weight")
_BY_HEADS = ("A_log", "dt_bias")
# parameters of GatedDeltaNet made of parts that are split alone, and are keys of their own
_PARTS = {"in_proj.weight": ("query", "key", "value", "z", "beta", "alpha"), "conv1d.weight": ("query", "key", "value")}


def _parts(arch, name):
    """{part of a GatedDeltaNet parameter: its rows}, or nothing."""
    if not (arch and arch.gdn):
        return {}
    gdn = arch.gdn
    rows = {"query": gdn.keys, "key": gdn.keys, "value": gdn.values, "z": gdn.values, "beta": gdn.value_heads, "alpha": gdn.value_heads}
    return {part: rows[part] for end, parts in _PARTS.items() if name.endswith("self_attention." + end) for part in parts}


def _axis(name, spec):
    if name in VOCABULARY or name.endswith(_BY_ROWS if spec == "te" else _BY_ROWS_LOCAL):
        return 0
    if name.endswith(_BY_HEADS):
        return 0
    return 1 if name.endswith(_BY_COLUMNS) else None


def shard(name, full, layout, rank, padded_vocab, spec="te", arch=None):
    """What `rank` holds of the full parameter `name`; missing vocabulary rows are zero. `arch`: needed for GatedDeltaNet."""
    if name in VOCABULARY:
        full = torch.cat([full, torch.zeros(padded_vocab - len(full), full.shape[1], dtype=full.dtype)])
    expert = ".local_experts." in name
    size, index = (layout.expert_tp, layout.expert_tp_rank(rank)) if expert else (layout.tp, layout.tp_rank(rank))
    if name.endswith("linear_fc1.weight"):
        return torch.cat([half.chunk(size)[index] for half in full.chunk(2)])
    parts = _parts(arch, name)
    if parts:
        return torch.cat([part.chunk(size)[index] for part in full.split(list(parts.values()))])
    axis = _axis(name, spec)
    return full if axis is None else full.chunk(size, dim=axis)[index]


def merge(name, shards, spec="te"):
    """The inverse, from the shards of all tensor-parallel ranks."""
    if name.endswith("linear_fc1.weight"):
        return torch.cat([torch.cat([part.chunk(2)[half] for part in shards]) for half in (0, 1)])
    axis = _axis(name, spec)
    return shards[0] if axis is None else torch.cat(shards, dim=axis)


# The local spec's norms are modules. GPT layers map them to the fused names, the one before a mixture too; MLA layers do not.
_LOCAL_GPT = {"pre_mlp_layernorm.weight": "mlp.linear_fc1.layer_norm_weight"}
_LOCAL_MLA = {"mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
              "self_attention.linear_q_up_proj.layer_norm_weight": "self_attention.q_layernorm.weight",
              "self_attention.linear_kv_up_proj.layer_norm_weight": "self_attention.kv_layernorm.weight"}


def _key(arch, name, spec):
    if spec == "local":
        for fused, separate in (_LOCAL_MLA if arch.mla else _LOCAL_GPT).items():
            if name.endswith("." + fused):
                return name.removesuffix(fused) + separate
    return name


def dist_keys(arch, megatron, spec="te", per_layer=False):
    """The parameters under their torch_dist keys: experts are stacked on a new first axis, and then, unless layers of several
    kinds are mixed, the layers of the decoder are; the parts of a GatedDeltaNet projection are keys of their own."""
    out, experts = {}, {}
    for name, tensor in megatron.items():
        expert = _EXPERT.fullmatch(name)
        if expert:
            experts.setdefault(f"{expert[1]}experts.{expert[3]}", {})[int(expert[2])] = tensor
        elif _parts(arch, name):
            parts = _parts(arch, name)
            out.update({f"{name}.{part}": rows for part, rows in zip(parts, tensor.split(list(parts.values())))})
        else:
            out[_key(arch, name, spec)] = tensor
    out.update({key: torch.stack([by_expert[e] for e in range(arch.moe.experts)]) for key, by_expert in experts.items()})
    if per_layer or not arch.stacked:
        return out
    layered = {}
    for key in [key for key in out if key.startswith("decoder.layers.")]:
        layer, inner = key[len("decoder.layers.") :].split(".", 1)
        layered.setdefault("decoder.layers." + inner, {})[int(layer)] = out.pop(key)
    out.update({key: torch.stack([by_layer[i] for i in range(arch.layers)]) for key, by_layer in layered.items()})
    return out
