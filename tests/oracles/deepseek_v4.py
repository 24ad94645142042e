"""What a DeepSeek-V4 checkpoint is in a torch_dist checkpoint of Megatron-LM dev, computed with torch alone.

1. Codes become values: FP8 (e4m3) has a scale for each block of 128 x 128, FP4 (e2m1) one for each 32 in a row, two elements to
   a byte with the even column in the low four bits; the value is code * scale in fp32, rounded once to the target dtype.
2. A scale is a float, or a power of two as one byte b: 2^(b - 127), NaN for 255.
3. Modules of the release's inference/model.py are modules of Megatron-LM (deepseek_v4_hybrid_attention.py, csa.py,
   hyper_connection.py, moe/router.py, multi_token_prediction.py): tables below.
4. Row by row, [w1; w3] is linear_fc1 of an MLP (gate, then up); the three scales of a hyper-connection are parameters of their own.
5. In torch_dist the experts of a layer are one tensor; a depth's layer is called transformer_layer.
6. Whatever Megatron holds in fp32 stays fp32: hyper-connections, ape, attn_sink, expert_bias. tid2eid is a buffer of int32.
"""
import re

import torch

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
FP8_BLOCK, FP4_BLOCK = (128, 128), (1, 32)


class Joins:
    """How deepseek_v4_names puts tensors of torch together."""

    stack = staticmethod(torch.stack)
    rows = staticmethod(torch.cat)

    @staticmethod
    def columns(tensors):
        raw = [part.view(torch.uint8) if part.dtype == torch.float8_e8m0fnu else part for part in tensors]
        return torch.cat(raw, dim=1).view(tensors[0].dtype)


# ---- 1, 2: values ----


def scale_values(scales):
    if scales.dtype != torch.float8_e8m0fnu:
        return scales.float()
    exponents = scales.view(torch.uint8).to(torch.int32)
    return torch.where(exponents == 255, torch.nan, torch.ldexp(torch.ones(exponents.shape), exponents - 127))


def _per_element(scales, shape, block):
    return scale_values(scales).repeat_interleave(block[0], 0)[: shape[0]].repeat_interleave(block[1], 1)[:, : shape[1]]


def fp4_values(packed):
    table = torch.tensor([*E2M1, *(-value for value in E2M1)])
    codes = packed.view(torch.uint8).long()
    return torch.stack([table[codes & 15], table[codes >> 4]], dim=-1).flatten(-2)


def block_of(weight):
    return FP4_BLOCK if weight.dtype == torch.int8 else FP8_BLOCK


def dequantize(weight, scales, dtype=torch.bfloat16):
    values = fp4_values(weight) if weight.dtype == torch.int8 else weight.float()
    return (values * _per_element(scales, values.shape, block_of(weight))).to(dtype)


def scale_name(name):
    return re.sub(r"\.weight$", ".scale", name)


def is_scale(state, name):
    return name.endswith(".scale") and name.removesuffix("scale") + "weight" in state


def plain(state, dtype=torch.bfloat16):
    """The state dict that a quantized one stands for."""
    return {name: dequantize(tensor, state[scale_name(name)], dtype) if name.endswith(".weight") and scale_name(name) in state else tensor
            for name, tensor in state.items() if not is_scale(state, name)}


# ---- 3: names ----

_TOP = {"embed.weight": "embedding.word_embeddings.weight", "norm.weight": "decoder.final_layernorm.weight", "head.weight": "output_layer.weight"}

_COMPRESSOR = {"ape": "ape", "wkv.weight": "linear_wkv.weight", "wgate.weight": "linear_wgate.weight", "norm.weight": "norm.weight"}
_HYPER = {"fn": "mapping_proj.weight", "base": "bias"}
_CORE = "self_attention.core_attention."
_BLOCK = {
    "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "pre_mlp_layernorm.weight",
    "attn.wq_a.weight": "self_attention.linear_q_down_proj.weight",
    "attn.q_norm.weight": "self_attention.q_layernorm.weight",
    "attn.wq_b.weight": "self_attention.linear_q_up_proj.weight",
    "attn.wkv.weight": "self_attention.linear_kv_proj.weight",
    "attn.kv_norm.weight": "self_attention.kv_layernorm.weight",
    "attn.wo_a.weight": "self_attention.linear_o_group_proj",
    "attn.wo_b.weight": "self_attention.linear_proj.weight",
    "attn.attn_sink": _CORE + "attn_sink",
    "attn.indexer.wq_b.weight": _CORE + "indexer.linear_wq_b.weight",
    "attn.indexer.weights_proj.weight": _CORE + "indexer.linear_weights_proj.weight",
    **{f"attn.{owner}compressor.{name}": f"{_CORE}{owner}compressor.{theirs}" for owner in ("", "indexer.") for name, theirs in _COMPRESSOR.items()},
    **{f"hc_{name}_{part}": f"{module}_hyper_connection.{theirs}" for name, module in (("attn", "self_attention"), ("ffn", "mlp"))
       for part, theirs in _HYPER.items()},
    "ffn.gate.weight": "mlp.router.weight",
    "ffn.gate.bias": "mlp.router.expert_bias",
    "ffn.gate.tid2eid": "mlp.router.tid2eid",
    "ffn.shared_experts.w2.weight": "mlp.shared_experts.linear_fc2.weight",
}
_ALPHAS = {"hc_attn_scale": "self_attention_hyper_connection", "hc_ffn_scale": "mlp_hyper_connection"}
# A depth has these beside its layer.
_FRAME = {name: name for name in ("e_proj.weight", "h_proj.weight", "enorm.weight", "hnorm.weight", "hc_head_fn", "hc_head_base", "hc_head_scale")}
_FRAME["norm.weight"] = "final_layernorm.weight"

_FP32 = re.compile(r"(hc_head_\w+|_hyper_connection\..*|\.ape|\.attn_sink|\.expert_bias)$")
VOCABULARY = ("embedding.word_embeddings.weight", "output_layer.weight", "mlp.router.tid2eid")


def _interleaved(gate, up, rows):
    """moe_mlp_glu_interleave_size: `rows` of gate, as many of up, and so on."""
    if not rows:
        return torch.cat([gate, up])
    return torch.stack([gate.unflatten(0, (-1, rows)), up.unflatten(0, (-1, rows))], dim=1).flatten(0, 2)


def _layer(prefix, tensors, experts, interleave):
    """The tensors of a block {name below the block: tensor} under their keys."""
    out, routed = {}, {}
    for name, tensor in tensors.items():
        expert = re.fullmatch(r"ffn\.experts\.(\d+)\.(w[123])\.weight", name)
        if expert:
            routed.setdefault(expert[2], {})[int(expert[1])] = tensor
        elif name in _ALPHAS:
            out.update({f"{prefix}{_ALPHAS[name]}.alpha_{part}": tensor[i : i + 1] for i, part in enumerate(("pre", "post", "res"))})
        elif not name.startswith("ffn.shared_experts.") or name in _BLOCK:
            out[prefix + _BLOCK[name]] = tensor
    gate, up = (tensors[f"ffn.shared_experts.{part}.weight"] for part in ("w1", "w3"))
    out[prefix + "mlp.shared_experts.linear_fc1.weight"] = torch.cat([gate, up])
    assert all(by_expert.keys() == set(range(experts)) for by_expert in routed.values())
    w1, w2, w3 = ([routed[part][e] for e in range(experts)] for part in ("w1", "w2", "w3"))
    out[prefix + "mlp.experts.experts.linear_fc1.weight"] = torch.stack([_interleaved(gate, up, interleave) for gate, up in zip(w1, w3)])
    out[prefix + "mlp.experts.experts.linear_fc2.weight"] = torch.stack(w2)
    return out


def to_dist(state, config, dtype=torch.bfloat16, vocab_rows=0, interleave=0, mtp=True):
    """{torch_dist key: tensor} of the state dict of a release. vocab_rows: of the padded vocabulary; rows that are not there are
    zero, which for tid2eid is an expert too."""
    out, blocks = {}, {}
    for name, tensor in plain(state, dtype).items():
        place = re.fullmatch(r"(layers|mtp)\.(\d+)\.(.*)", name)
        if not place:
            out[_TOP.get(name, "decoder." + name)] = tensor
        elif place[1] == "mtp" and place[3] in _FRAME:
            out[f"mtp.layers.{place[2]}.{_FRAME[place[3]]}"] = tensor
        else:
            prefix = f"decoder.layers.{place[2]}." if place[1] == "layers" else f"mtp.layers.{place[2]}.transformer_layer."
            blocks.setdefault(prefix, {})[place[3]] = tensor
    for prefix, tensors in blocks.items():
        out.update(_layer(prefix, tensors, config["n_routed_experts"], interleave))
    return {key: _stored(key, tensor, dtype, vocab_rows) for key, tensor in out.items() if mtp or not key.startswith("mtp.")}


def _stored(key, tensor, dtype, vocab_rows):
    if key.endswith(VOCABULARY) and vocab_rows:
        tensor = torch.cat([tensor, torch.zeros(vocab_rows - len(tensor), tensor.shape[1], dtype=tensor.dtype)])
    if not tensor.is_floating_point():
        return tensor.to(torch.int32)
    return tensor.float() if _FP32.search(key) else tensor.to(dtype)


def extra_state(keys):
    """The `_extra_state` objects Megatron asks for, of the modules of TransformerEngine: linears and norms, each expert by itself."""
    out = set()
    for key, shape in keys.items():
        module = re.fullmatch(r"(.*(?:linear_\w+|layernorm|\.norm|enorm|hnorm|[eh]_proj))\.weight", key)
        if module and ".experts.experts." in key:
            out.update(f"{module[1]}._extra_state/shard_{e}_{shape[0]}" for e in range(shape[0]))
        elif module:
            out.add(f"{module[1]}._extra_state/shard_0_1")
    return out
