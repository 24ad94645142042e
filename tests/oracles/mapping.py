"""Which Hugging Face tensor is which Megatron parameter: written from Megatron's own definitions, not from Causeway's tables.

In-memory Megatron names of a TransformerEngine model (`linear_qkv.layer_norm_weight`, ...). The facts used:
  attention.py  SelfAttention.get_query_key_value_tensors: linear_qkv's rows are viewed as [groups, heads/groups + 2, head_dim]
                and split into the group's query heads, its key, its value. Biases the same.
  mlp.py        the gated activation is `silu(x[:half]) * x[half:]`, so linear_fc1 = [gate; up].
  mlp.py        apply_swiglu_sharded_factory / ColumnParallelLinear: a rank owns its slice of gate and its slice of up.
"""
import torch


def _layer_pairs(layer):
    """Tensors that are the same on both sides: (Megatron name, Hugging Face name)."""
    m, h = f"decoder.layers.{layer}.", f"model.layers.{layer}."
    return {
        m + "self_attention.linear_qkv.layer_norm_weight": h + "input_layernorm.weight",
        m + "self_attention.linear_proj.weight": h + "self_attn.o_proj.weight",
        m + "mlp.linear_fc1.layer_norm_weight": h + "post_attention_layernorm.weight",
        m + "mlp.linear_fc2.weight": h + "mlp.down_proj.weight",
    }


def _same(arch):
    pairs = {
        "embedding.word_embeddings.weight": "model.embed_tokens.weight",
        "decoder.final_layernorm.weight": "model.norm.weight",
    }
    if not arch.tied:
        pairs["output_layer.weight"] = "lm_head.weight"
    for layer in range(arch.layers):
        pairs.update(_layer_pairs(layer))
        if arch.qk_norm:
            for x in "qk":
                pairs[f"decoder.layers.{layer}.self_attention.{x}_layernorm.weight"] = f"model.layers.{layer}.self_attn.{x}_norm.weight"
    return pairs


def _kinds(arch):
    return ["weight", "bias"] if arch.qkv_bias else ["weight"]


def to_megatron(arch, hf):
    """{full Megatron parameter name: tensor} from a full Hugging Face state dict (names with `model.`)."""
    out = {m: hf[h] for m, h in _same(arch).items()}
    per_group, d = arch.heads // arch.groups, arch.head_dim
    for layer in range(arch.layers):
        for kind in _kinds(arch):
            q, k, v = (hf[f"model.layers.{layer}.self_attn.{x}_proj.{kind}"] for x in "qkv")
            rows = []
            for group in range(arch.groups):
                rows += [q[group * per_group * d : (group + 1) * per_group * d], k[group * d : (group + 1) * d], v[group * d : (group + 1) * d]]
            out[f"decoder.layers.{layer}.self_attention.linear_qkv.{kind}"] = torch.cat(rows)
        gate, up = (hf[f"model.layers.{layer}.mlp.{x}_proj.weight"] for x in ("gate", "up"))
        out[f"decoder.layers.{layer}.mlp.linear_fc1.weight"] = torch.cat([gate, up])
    return out


def to_hf(arch, megatron):
    """The inverse: full Hugging Face state dict from full Megatron parameters; padded vocabulary rows are cut."""
    out = {h: megatron[m] for m, h in _same(arch).items()}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in out:
            out[name] = out[name][: arch.vocab]
    per_group, d = arch.heads // arch.groups, arch.head_dim
    for layer in range(arch.layers):
        for kind in _kinds(arch):
            fused = megatron[f"decoder.layers.{layer}.self_attention.linear_qkv.{kind}"]
            grouped = fused.reshape(arch.groups, (per_group + 2) * d, *fused.shape[1:])
            q, k, v = torch.split(grouped, [per_group * d, d, d], dim=1)
            for name, part in zip("qkv", (q, k, v)):
                out[f"model.layers.{layer}.self_attn.{name}_proj.{kind}"] = part.reshape(-1, *fused.shape[1:])
        gate, up = megatron[f"decoder.layers.{layer}.mlp.linear_fc1.weight"].chunk(2)
        out[f"model.layers.{layer}.mlp.gate_proj.weight"] = gate
        out[f"model.layers.{layer}.mlp.up_proj.weight"] = up
    return {name: tensor.contiguous() for name, tensor in out.items()}


def tp_shard(name, full, tp, rank, padded_vocab):
    """What tensor-parallel rank `rank` of `tp` holds of the full parameter `name`; missing vocabulary rows are zero."""
    if name in ("embedding.word_embeddings.weight", "output_layer.weight"):
        padded = torch.zeros(padded_vocab, full.shape[1], dtype=full.dtype)
        padded[: len(full)] = full
        return padded.chunk(tp)[rank]
    if name.endswith("linear_fc1.weight"):
        return torch.cat([half.chunk(tp)[rank] for half in full.chunk(2)])
    if name.endswith(("linear_qkv.weight", "linear_qkv.bias")):
        return full.chunk(tp)[rank]
    if name.endswith(("linear_proj.weight", "linear_fc2.weight")):
        return full.chunk(tp, dim=1)[rank]
    return full


def tp_merge(name, shards):
    """The inverse of tp_shard."""
    if name in ("embedding.word_embeddings.weight", "output_layer.weight") or name.endswith(("linear_qkv.weight", "linear_qkv.bias")):
        return torch.cat(shards)
    if name.endswith("linear_fc1.weight"):
        return torch.cat([torch.cat([shard.chunk(2)[half] for shard in shards]) for half in (0, 1)])
    if name.endswith(("linear_proj.weight", "linear_fc2.weight")):
        return torch.cat(shards, dim=1)
    return shards[0]


def dist_keys(arch, megatron):
    """The same parameters under their torch_dist keys: the layers of a homogeneous decoder are stacked on a new first axis."""
    out, layered = {}, {}
    for name, tensor in megatron.items():
        if name.startswith("decoder.layers."):
            layer, inner = name[len("decoder.layers.") :].split(".", 1)
            layered.setdefault("decoder.layers." + inner, {})[int(layer)] = tensor
        else:
            out[name] = tensor
    out.update({key: torch.stack([by_layer[i] for i in range(arch.layers)]) for key, by_layer in layered.items()})
    return out
