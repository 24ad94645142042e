"""Which Hugging Face tensor is which Megatron parameter: written from Megatron's own definitions, not from Causeway's tables.

In-memory Megatron names of a TransformerEngine model with SequentialMLP experts (`linear_qkv.layer_norm_weight`,
`local_experts.{e}`), numbered globally. The facts used:
  attention.py               SelfAttention.get_query_key_value_tensors: linear_qkv's rows are viewed as [groups, heads/groups + 2,
                             head_dim] and split into the group's query heads, its key, its value. Biases the same.
  mlp.py                     the gated activation is `silu(x[:half]) * x[half:]`, so linear_fc1 = [gate; up], of experts too.
  multi_latent_attention.py  q = linear_q_up_proj(norm(linear_q_down_proj(x))); the rows of a query head are [no rotation; rotation];
                             linear_kv_down_proj's rows are [latent; rotated key], linear_kv_up_proj's of a head [key; value].
  multi_token_prediction.py  eh_proj(cat(enorm(embedding of the next token), hnorm(hidden))), then a layer, then final_layernorm.
  modeling_mixtral.py        gate, up = w1, w3; down = w2.
  conversion_mapping.py      the names of Hy3's router, its bias and the shared experts in the files.
  shared_experts.py          sigmoid(x gate_weight^T) times the MLP of that module.
  modeling_nemotron.py       down(relu(up(x))^2): no gate, so linear_fc1 = up.
  modeling_starcoder2.py     c_proj(gelu(c_fc(x))): the same, with biases.
  modeling_gpt_oss.py        x @ gate_up_proj[expert] + its bias, of which [::2] is the gate and [1::2] the other factor; x @ down_proj[expert].
  dot_product_attention.py   softmax_offset is one more score of each head; router.py: the bias of the gate is added to its logits.
  modeling_llama4.py         x @ gate_up_proj[expert], whose columns are [gate; up]; x @ down_proj[expert].
  modeling_phi3.py           qkv_proj's rows are [queries; keys; values], gate_up_proj's are [gate; up].
"""
import torch


def _blocks(arch):
    """(Megatron prefix, Hugging Face prefix, whether the MLP is a mixture) of every transformer layer, MTP's included."""
    for layer in range(arch.layers):
        yield f"decoder.layers.{layer}.", f"model.layers.{layer}.", arch.is_moe(layer)
    for depth in range(arch.mtp):
        yield f"mtp.layers.{depth}.transformer_layer.", f"model.layers.{arch.layers + depth}.", arch.moe is not None


def _index(arch, m, h):
    """dsa.py: DSAIndexer; the specification of its layers has no fused norms in their attention."""
    ours, theirs = m + "self_attention.core_attention.indexer.", h + "self_attn.indexer."
    pairs = {f"{ours}linear_{name}.weight": f"{theirs}{name}.weight" for name in ("wq_b", "wk", "weights_proj")}
    return pairs | {f"{ours}k_norm.{kind}": f"{theirs}k_norm.{kind}" for kind in ("weight", "bias")}


def _attention(arch, m, h):
    m, a = m + "self_attention.", h + "self_attn."
    pairs = {m + "linear_proj.weight": a + "o_proj.weight"}
    if arch.mla is None:
        pairs[m + "linear_qkv.layer_norm_weight"] = h + "input_layernorm.weight"
        pairs.update({f"{m}{x}_layernorm.weight": f"{a}{x}_norm.weight" for x in "qk" if arch.qk_norm})
        if arch.sinks:
            pairs.update({m + "linear_proj.bias": a + "o_proj.bias", m + "core_attention.softmax_offset": a + "sinks"})
        return pairs
    pairs[m.removesuffix("self_attention.") + "input_layernorm.weight"] = h + "input_layernorm.weight"
    pairs[m + "linear_kv_down_proj.weight"] = a + "kv_a_proj_with_mqa.weight"
    pairs[m + "linear_kv_up_proj.layer_norm_weight"] = a + "kv_a_layernorm.weight"
    pairs[m + "linear_kv_up_proj.weight"] = a + "kv_b_proj.weight"
    if arch.index:
        pairs[m + "kv_layernorm.weight"] = pairs.pop(m + "linear_kv_up_proj.layer_norm_weight")
    if arch.mla.q_rank is None:
        pairs[m + "linear_q_proj.weight"] = a + "q_proj.weight"
    else:
        pairs[m + "linear_q_down_proj.weight"] = a + "q_a_proj.weight"
        pairs[m + ("q_layernorm.weight" if arch.index else "linear_q_up_proj.layer_norm_weight")] = a + "q_a_layernorm.weight"
        pairs[m + "linear_q_up_proj.weight"] = a + "q_b_proj.weight"
    return pairs


def _mlps(arch, m, h, is_moe):
    """(Megatron prefix, gate, up, down) of every ordinary MLP of a layer: its one, or its experts."""
    if arch.layer_norm:
        up, down = ("c_fc", "c_proj") if arch.family == "starcoder2" else ("up_proj", "down_proj")
        yield m + "mlp.", None, f"{h}mlp.{up}.weight", f"{h}mlp.{down}.weight"
        return
    if not is_moe:
        yield m + "mlp.", *(f"{h}mlp.{x}_proj.weight" for x in ("gate", "up", "down"))
        return
    for expert in range(arch.moe.experts):
        ours = f"{m}mlp.experts.local_experts.{expert}."
        if arch.family in ("mixtral", "minimax_m2"):
            yield ours, *(f"{h}block_sparse_moe.experts.{expert}.{x}.weight" for x in ("w1", "w3", "w2"))
        else:
            yield ours, *(f"{h}mlp.experts.{expert}.{x}_proj.weight" for x in ("gate", "up", "down"))
    if arch.moe.shared:
        shared = "shared_mlp" if arch.family == "hy_v3" else "shared_experts"
        yield m + "mlp.shared_experts.", *(f"{h}mlp.{shared}.{x}_proj.weight" for x in ("gate", "up", "down"))
    if arch.moe.gated_ffn:
        yield m + "mlp.shared_experts.", *(f"{h}mlp.shared_expert.{x}_proj.weight" for x in ("gate", "up", "down"))


# The router's weight and bias, where they have names of their own.
_ROUTERS = {"mixtral": ("block_sparse_moe.gate.weight", None), "gpt_oss": ("mlp.router.weight", None), "hy_v3": ("mlp.router.gate.weight", "mlp.expert_bias"),
            "minimax_m2": ("block_sparse_moe.gate.weight", "block_sparse_moe.e_score_correction_bias")}


def mtp_final_norm(arch):
    """The name of the last norm of an MTP layer."""
    return "final_layernorm.weight" if arch.family == "hy_v3" else "shared_head.norm.weight"


def _kinds(arch):
    """Of an MLP's tensors."""
    return ["weight", "bias"] if arch.sinks else ["weight"]


def _of_kind(name, kind):
    return name.removesuffix("weight") + kind


def _same(arch):
    """Tensors that are the same on both sides: {Megatron name: Hugging Face name}."""
    pairs = {"embedding.word_embeddings.weight": "model.embed_tokens.weight", "decoder.final_layernorm.weight": "model.norm.weight"}
    if not arch.tied:
        pairs["output_layer.weight"] = "lm_head.weight"
    for m, h, is_moe in _blocks(arch):
        pairs.update(_attention(arch, m, h))
        if arch.index and m not in {f"decoder.layers.{layer}." for layer in arch.index.shared}:
            pairs.update(_index(arch, m, h))
        pairs[m + ("pre_mlp_layernorm.weight" if is_moe else "mlp.linear_fc1.layer_norm_weight")] = h + "post_attention_layernorm.weight"
        if is_moe:
            gate, bias = _ROUTERS.get(arch.family, ("mlp.gate.weight", "mlp.gate.e_score_correction_bias"))
            pairs[m + "mlp.router.weight"] = h + gate
            if arch.moe.gated_ffn:
                pairs[m + "mlp.shared_experts.gate_weight"] = h + "mlp.shared_expert_gate.weight"
            if arch.moe.biased:
                pairs[m + "mlp.router.expert_bias"] = h + bias
            if arch.sinks:
                pairs[m + "mlp.router.bias"] = h + _of_kind(gate, "bias")
        pairs.update({f"{ours}linear_fc2.{kind}": _of_kind(down, kind) for ours, _, _, down in _mlps(arch, m, h, is_moe) for kind in _kinds(arch)})
        pairs.update({ours + "linear_fc1.weight": up for ours, gate, up, _ in _mlps(arch, m, h, is_moe) if gate is None})
    pairs.update(_biases(arch, pairs))
    for depth in range(arch.mtp):
        m, h = f"mtp.layers.{depth}.", f"model.layers.{arch.layers + depth}."
        pairs.update({f"{m}{x}.weight": f"{h}{x}.weight" for x in ("enorm", "hnorm", "eh_proj")})
        pairs[m + "final_layernorm.weight"] = h + mtp_final_norm(arch)
    return pairs


def _biases(arch, pairs):
    """Of norms, and of the linears that are the same on both sides, beside their weights."""
    kinds = (["layernorm.weight", "layer_norm_weight"] if arch.layer_norm else []) + (
        ["linear_proj.weight", "linear_fc1.weight", "linear_fc2.weight"] if arch.linear_bias else [])
    return {m.removesuffix("weight") + "bias": h.removesuffix("weight") + "bias" for m, h in pairs.items() if m.endswith(tuple(kinds))}


def _gated(arch):
    """{linear_fc1: (gate, up)}"""
    return {f"{ours}linear_fc1.{kind}": (_of_kind(gate, kind), _of_kind(up, kind))
            for block in _blocks(arch) for ours, gate, up, _ in _mlps(arch, *block) if gate for kind in _kinds(arch)}


def _qkv(arch):
    """{linear_qkv: (q, k, v)}"""
    kinds = ["weight", "bias"] if arch.qkv_bias else ["weight"]
    blocks = [] if arch.mla else _blocks(arch)
    return {f"{m}self_attention.linear_qkv.{kind}": [f"{h}self_attn.{x}_proj.{kind}" for x in "qkv"] for m, h, _ in blocks for kind in kinds}


def duplicates(arch):
    """{name: tensor it repeats}: what the files of MTP models hold again for every depth, and Megatron once."""
    out = {}
    for depth in range(arch.mtp if arch.family != "hy_v3" else 0):
        h = f"model.layers.{arch.layers + depth}."
        out[h + "embed_tokens.weight"] = "model.embed_tokens.weight"
        out[h + "shared_head.head.weight"] = "lm_head.weight"
    return out


def _fused(arch):
    """{tensor of Phi-3: [(tensor of Llama, its rows)]}"""
    out, queries, keys = {}, arch.heads * arch.head_dim, arch.groups * arch.head_dim
    for layer in range(arch.layers if arch.family == "phi3" else 0):
        a, m = f"model.layers.{layer}.self_attn.", f"model.layers.{layer}.mlp."
        out[a + "qkv_proj.weight"] = [(a + "q_proj.weight", queries), (a + "k_proj.weight", keys), (a + "v_proj.weight", keys)]
        out[m + "gate_up_proj.weight"] = [(m + "gate_proj.weight", arch.ffn), (m + "up_proj.weight", arch.ffn)]
    return out


def _experts_of_gpt_oss(arch, hf):
    """Those of all layers, under Qwen3-MoE's names and in its layout."""
    out = {}
    for layer in range(arch.layers):
        all_of_them = f"model.layers.{layer}.mlp.experts."
        for e in range(arch.moe.experts):
            gate_up, down = hf[all_of_them + "gate_up_proj"][e].T, hf[all_of_them + "down_proj"][e].T
            biases = hf[all_of_them + "gate_up_proj_bias"][e]
            parts = {"gate_proj.weight": gate_up[::2], "up_proj.weight": gate_up[1::2], "down_proj.weight": down, "gate_proj.bias": biases[::2],
                     "up_proj.bias": biases[1::2], "down_proj.bias": hf[all_of_them + "down_proj_bias"][e]}
            out.update({f"{all_of_them}{e}.{name}": part.contiguous() for name, part in parts.items()})
    return out


def _as_qwen2_moe(arch, hf):
    """Llama-4's tensors under the names of others, experts one by one."""
    out = {}
    for name, tensor in hf.items():
        name = name.replace("feed_forward.", "mlp.").replace("mlp.shared_expert.", "mlp.shared_experts.").replace("mlp.router.", "mlp.gate.")
        for e in range(arch.moe.experts if ".mlp.experts." in name else 0):
            each, prefix = tensor[e].T.contiguous(), f"{name.rpartition('.')[0]}.{e}."
            if name.endswith("down_proj"):
                out[prefix + "down_proj.weight"] = each
            else:
                out[prefix + "gate_proj.weight"], out[prefix + "up_proj.weight"] = each.chunk(2)
        out[name] = tensor
    return out


def to_megatron(arch, hf):
    """{full Megatron parameter name: tensor} from a full Hugging Face state dict (names with `model.`)."""
    if arch.sinks:
        hf = {**hf, **_experts_of_gpt_oss(arch, hf)}
    if arch.family == "llama4_text":
        hf = _as_qwen2_moe(arch, hf)
    for name, parts in _fused(arch).items():
        hf = {**hf, **dict(zip((part for part, _ in parts), hf[name].split([rows for _, rows in parts])))}
    out = {m: hf[h] for m, h in _same(arch).items()}
    per_group, d = arch.heads // arch.groups, arch.head_dim
    for name, (q, k, v) in _qkv(arch).items():
        rows = []
        for group in range(arch.groups):
            rows += [hf[q][group * per_group * d : (group + 1) * per_group * d], hf[k][group * d : (group + 1) * d], hf[v][group * d : (group + 1) * d]]
        out[name] = torch.cat(rows)
    out.update({name: torch.cat([hf[gate], hf[up]]) for name, (gate, up) in _gated(arch).items()})
    return out


def to_hf(arch, megatron):
    """The inverse: full Hugging Face state dict from full Megatron parameters; padded vocabulary rows are cut."""
    out = {h: megatron[m] for m, h in _same(arch).items()}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in out:
            out[name] = out[name][: arch.vocab]
    per_group, d = arch.heads // arch.groups, arch.head_dim
    for name, parts in _qkv(arch).items():
        fused = megatron[name]
        grouped = fused.reshape(arch.groups, (per_group + 2) * d, *fused.shape[1:])
        for part, rows in zip(parts, torch.split(grouped, [per_group * d, d, d], dim=1)):
            out[part] = rows.reshape(-1, *fused.shape[1:])
    for name, (gate, up) in _gated(arch).items():
        out[gate], out[up] = megatron[name].chunk(2)
    for name, parts in _fused(arch).items():
        out[name] = torch.cat([out.pop(part) for part, _ in parts])
    out = {name: tensor.contiguous() for name, tensor in out.items()}
    return {**out, **{name: out[original].clone() for name, original in duplicates(arch).items()}}
