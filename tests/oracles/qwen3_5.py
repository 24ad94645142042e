"""Which Hugging Face tensor of Qwen3.5, 3.6 and Qwen3-Next is which Megatron parameter: written from the definitions of both
models, not from Causeway's tables.

In-memory Megatron names as in mapping.py; the vision tower, which megatron-core does not have, under its torch_dist keys.
The facts used:
  attention.py (megatron-core)   with an output gate, linear_qkv's rows are viewed as [groups, 2 * heads/groups + 2, head_dim]:
                                 the group's query heads, as many gates, its key, its value; without one, no gates.
  modeling_qwen3_5.py            q_proj's rows are viewed as [heads, 2, head_dim]: a head's query, then its gate.
  gated_delta_net.py             in_proj's rows are q, k, v, z, beta, alpha; conv1d's are q, k, v. Heads are whole in each.
  modeling_qwen3_5.py            in_proj_qkv is q, k, v; in_proj_z, in_proj_b (beta), in_proj_a (alpha); conv1d is q, k, v.
  modeling_qwen3_next.py         in_proj_qkvz's rows are viewed as [key heads, q + k + v + z of one], in_proj_ba's as [key heads,
                                 beta + alpha of one].
  both                           every norm scales by 1 + weight, but Hugging Face's linear_attn.norm by its weight; Megatron's
                                 out_norm is a norm like the others, so it holds that weight - 1.
  Megatron-Bridge, qwen3_vl      a vision layer is a transformer layer whose linear_qkv has [q; k; v] of each head in turn, where
                                 Hugging Face's attn.qkv has all q, all k, all v; vision layers are alike, so Megatron stacks them.
"""
import torch


def _gated_mlp(hf, h, m):
    return {m + "linear_fc1.weight": torch.cat([hf[h + "gate_proj.weight"], hf[h + "up_proj.weight"]]), m + "linear_fc2.weight": hf[h + "down_proj.weight"]}


def _mlp(arch, hf, h, m, is_moe):
    if not is_moe:
        return {m + "mlp.linear_fc1.layer_norm_weight": hf[h + "post_attention_layernorm.weight"], **_gated_mlp(hf, h + "mlp.", m + "mlp.")}
    out = {m + "pre_mlp_layernorm.weight": hf[h + "post_attention_layernorm.weight"], m + "mlp.router.weight": hf[h + "mlp.gate.weight"],
           m + "mlp.shared_experts.gate_weight": hf[h + "mlp.shared_expert_gate.weight"],
           **_gated_mlp(hf, h + "mlp.shared_expert.", m + "mlp.shared_experts.")}
    for expert in range(arch.moe.experts):
        ours = f"{m}mlp.experts.local_experts.{expert}."
        if h + "mlp.experts.gate_up_proj" in hf:
            out[ours + "linear_fc1.weight"] = hf[h + "mlp.experts.gate_up_proj"][expert]
            out[ours + "linear_fc2.weight"] = hf[h + "mlp.experts.down_proj"][expert]
        else:
            out.update(_gated_mlp(hf, f"{h}mlp.experts.{expert}.", ours))
    return out


def _attention(arch, hf, h, m):
    h, m = h + "self_attn.", m + "self_attention."
    parts = 2 if arch.gdn.gated else 1
    heads = hf[h + "q_proj.weight"].unflatten(0, (arch.heads, parts, arch.head_dim))
    keys, values = (hf[f"{h}{x}_proj.weight"].unflatten(0, (arch.groups, arch.head_dim)) for x in "kv")
    n, rows = arch.heads // arch.groups, []
    for group in range(arch.groups):
        mine = range(group * n, (group + 1) * n)
        rows += [heads[head, part] for part in range(parts) for head in mine] + [keys[group], values[group]]
    return {m + "linear_qkv.weight": torch.cat(rows), m + "linear_proj.weight": hf[h + "o_proj.weight"],
            m + "q_layernorm.weight": hf[h + "q_norm.weight"], m + "k_layernorm.weight": hf[h + "k_norm.weight"]}


def _in_proj(arch, hf, h):
    gdn = arch.gdn
    if h + "in_proj_qkvz.weight" not in hf:
        return [hf[f"{h}in_proj_{x}.weight"] for x in ("qkv", "z", "b", "a")]
    per_key = gdn.value_heads // gdn.key_heads
    parts = {x: [] for x in "qkvzba"}
    for j in range(gdn.key_heads):
        sizes = [gdn.key_dim, gdn.key_dim, per_key * gdn.value_dim, per_key * gdn.value_dim]
        qkvz = hf[h + "in_proj_qkvz.weight"].unflatten(0, (gdn.key_heads, -1))[j].split(sizes)
        for x, rows in zip("qkvzba", (*qkvz, *hf[h + "in_proj_ba.weight"].unflatten(0, (gdn.key_heads, -1))[j].split(per_key))):
            parts[x].append(rows)
    return [rows for x in "qkvzba" for rows in parts[x]]


def minus_one(weight):
    return (weight.float() - 1).to(weight.dtype) if weight.is_floating_point() else weight  # numbers of elements stay


def plus_one(weight, dtype):
    return (weight.float() + 1).to(dtype)


def _delta_net(arch, hf, h, m):
    h, m = h + "linear_attn.", m + "self_attention."
    out = {m + "in_proj.weight": torch.cat(_in_proj(arch, hf, h)), m + "out_norm.weight": minus_one(hf[h + "norm.weight"])}
    out.update({m + name: hf[h + name] for name in ("conv1d.weight", "A_log", "dt_bias", "out_proj.weight")})
    return out


def _text_prefix(hf):
    (name,) = (name for name in hf if name.endswith("embed_tokens.weight"))
    return name.removesuffix("embed_tokens.weight")


def to_megatron(arch, hf):
    """{full Megatron parameter name: tensor} of the text model, without a prefix."""
    text = _text_prefix(hf)
    out = {"embedding.word_embeddings.weight": hf[text + "embed_tokens.weight"], "decoder.final_layernorm.weight": hf[text + "norm.weight"]}
    if not arch.tied:
        out["output_layer.weight"] = hf["lm_head.weight"]
    for layer, linear in enumerate(arch.gdn.linear):
        h, m = f"{text}layers.{layer}.", f"decoder.layers.{layer}."
        out[f"{m}self_attention.{'in_proj' if linear else 'linear_qkv'}.layer_norm_weight"] = hf[h + "input_layernorm.weight"]
        out.update((_delta_net if linear else _attention)(arch, hf, h, m))
        out.update(_mlp(arch, hf, h, m, arch.is_moe(layer)))
    if arch.mtp:
        h, m = "mtp.layers.0.", "mtp.layers.0.transformer_layer."
        names = {"eh_proj": "fc", "enorm": "pre_fc_norm_embedding", "hnorm": "pre_fc_norm_hidden", "final_layernorm": "norm"}
        out.update({f"mtp.layers.0.{ours}.weight": hf[f"mtp.{theirs}.weight"] for ours, theirs in names.items()})
        out[m + "self_attention.linear_qkv.layer_norm_weight"] = hf[h + "input_layernorm.weight"]
        out.update(_attention(arch, hf, h, m))
        out.update(_mlp(arch, hf, h, m, arch.moe is not None))
    return out


_VISION_LAYER = {"self_attention.linear_proj": "attn.proj", "mlp.linear_fc1": "mlp.linear_fc1", "mlp.linear_fc2": "mlp.linear_fc2"}
_VISION_FRAME = {"patch_embed.proj": "patch_embed.proj", "merger.patch_norm": "merger.norm", "merger.linear_fc1": "merger.linear_fc1",
                 "merger.linear_fc2": "merger.linear_fc2"}


def vision(heads, depth, hf):
    """{torch_dist key: tensor} of the vision tower."""
    v, out = "model.visual.", {"vision_model.pos_embed.weight": hf["model.visual.pos_embed.weight"]}
    for kind in ("weight", "bias"):
        out.update({f"vision_model.{ours}.{kind}": hf[f"{v}{theirs}.{kind}"] for ours, theirs in _VISION_FRAME.items()})
        names = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in _VISION_LAYER.items()}
        names.update({f"self_attention.linear_qkv.layer_norm_{kind}": f"norm1.{kind}", f"mlp.linear_fc1.layer_norm_{kind}": f"norm2.{kind}"})
        for ours, theirs in names.items():
            out[f"vision_model.decoder.layers.{ours}"] = torch.stack([hf[f"{v}blocks.{layer}.{theirs}"] for layer in range(depth)])
        layers = []
        for layer in range(depth):
            q, k, v_rows = (part.chunk(heads) for part in hf[f"{v}blocks.{layer}.attn.qkv.{kind}"].chunk(3))
            layers.append(torch.cat([rows for head in range(heads) for rows in (q[head], k[head], v_rows[head])]))
        out[f"vision_model.decoder.layers.self_attention.linear_qkv.{kind}"] = torch.stack(layers)
    return out


def to_hf(arch, megatron, like):
    """The inverse, for the text model: a state dict with the names, shapes and dtypes of `like`, of which every element is
    found by where to_megatron carries its number. What is no text stays as in `like`."""
    first, numbers = 0, {}
    for name, tensor in like.items():
        numbers[name] = torch.arange(first, first + tensor.numel()).view(tensor.shape)
        first += tensor.numel()
    where = {m: place.flatten() for m, place in to_megatron(arch, numbers).items()}
    (norm_dtype,) = {tensor.dtype for name, tensor in like.items() if name.endswith("linear_attn.norm.weight")}
    wanted = torch.full((first,), float("nan"), dtype=torch.float64)  # holds every value of the dtypes here exactly
    for m, places in where.items():
        value = megatron[m][: arch.vocab] if m in ("embedding.word_embeddings.weight", "output_layer.weight") else megatron[m]
        value = plus_one(value, norm_dtype) if m.endswith("out_norm.weight") else value
        wanted[places] = value.flatten().double()
    carried = torch.zeros(first, dtype=torch.bool)
    carried[torch.cat(list(where.values()))] = True
    return {name: wanted[numbers[name]].to(tensor.dtype) if carried[numbers[name]].all() else tensor for name, tensor in like.items()}
