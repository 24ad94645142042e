"""Tables that are wrong the same way in both directions, so that hash mode, which uses the table, finds nothing wrong, and what of
the canonical tensors they concern. Each op of each table has its natural mistakes here.

Those of test_table_mistakes.py, test_qwen3_5_mistakes.py and test_deepseek_v4_mistakes.py, and more of the dense models. `REWRITTEN`
has what no table can say: the source is changed so that its right conversion holds what a converter with the mistake would have
written.
"""
import dataclasses
import typing

import torch

from interop import test_deepseek_v4_mistakes as v4
from interop import test_qwen3_5_mistakes as qwen
from interop import test_table_mistakes as tables
from interop.test_deepseek_v4_mistakes import both, set_family
from interop.test_table_mistakes import add_options, all_queries_first, exchange, exchange_halves, exchange_keys_and_values, row, split_part

LAYER = r"(layers\.\d+|mtp\.\d+\.layer)\."
BLOCK = r"vision\.blocks\.\d+\."
FIRST_TWO = set_family("hf", "{P}layers.{l < 2 ? 1 - l : l}", "decoder")


@dataclasses.dataclass(frozen=True)
class Mutation:
    table: str
    case: str
    edit: typing.Callable
    shown: str  # every tensor that differs: a regular expression of its whole name
    first: str | None = None  # the first state that differs, where it is not that of the first of these tensors


def exchange_biases(table):
    parts = row(table, "linear_qkv.bias")[2]
    (k, k_shape), (v, v_shape) = map(split_part, parts[1:])
    parts[1:] = [f"{v} {k_shape}", f"{k} {v_shape}"]


def without(kind, name, edit):
    """For names that serve two rows, or a row and a drop, one of which is for other models."""
    def only(table):
        table[kind] = [entry for entry in table[kind] if entry[0] != name]
        edit(table)
    return only


_NORMS_OF_MOE = exchange("{L}.self_attention.linear_qkv.layer_norm_weight", "{L}.pre_mlp_layernorm.weight")
_EMBEDDING_AND_OUTPUT = exchange("embedding.word_embeddings.weight", "output_layer.weight")


def _exchange_split(op):
    def edit(table):
        (found,) = [entry for entry in table["rows"] if entry[1] == op]
        found[3]["split"] = found[3]["split"][::-1]
    return edit


def untied(head):
    return without("drop", head, _EMBEDDING_AND_OUTPUT)


# ---- of tables of one kind ----


def _dense():
    return {
        "gate and up": (exchange_halves("{L}.mlp.linear_fc1.weight"), LAYER + "(gate|up)"),
        "keys and values": (exchange_keys_and_values, LAYER + "[kv]"),
        "groups as one": (all_queries_first, LAYER + "[qkv]"),
        "norms of a layer": (exchange("{L}.self_attention.linear_qkv.layer_norm_weight", "{L}.mlp.linear_fc1.layer_norm_weight"), LAYER + "(attention|mlp)_norm"),
        "layers exchanged": (FIRST_TWO, r"layers\.[01]\..*"),
        "embedding and output": (untied("lm_head.weight"), "embedding|output"),
    }


_BIASED = {
    "llama": {"biases of gate and up": (exchange_halves("{L}.mlp.linear_fc1.bias"), LAYER + "(gate|up)_bias"),
              "biases of keys and values": (exchange_biases, LAYER + "[kv]_bias")},
    "qwen2": {"biases of keys and values": (exchange_biases, LAYER + "[kv]_bias")},
    "qwen3": {"norms of queries and keys": (exchange("q_layernorm.weight", "k_layernorm.weight"), LAYER + "[qk]_norm")},
}

_GLM = {
    "gate and up": _dense()["gate and up"], "embedding and output": _dense()["embedding and output"], **_BIASED["qwen2"], **_BIASED["qwen3"],
}

def as_op(megatron, op, hf="", **options):
    """hf: a part of the HF name, where several rows make the tensor."""
    def edit(table):
        (found,) = [entry for entry in table["rows"] if entry[0].endswith(megatron) and hf in tables.hf_parts(entry)[0]]
        found[1] = op
        found[3] = {name: value for name, value in found[3].items() if name != "groups"} | options
    return edit


# Of experts in one tensor that is stored [in, out], gate and up in turns. (case, edit, what differs)
_TURNS = {
    "not transposed": ("gpt_oss_square", as_op("experts.linear_fc2.weight", "copy", "down_proj ["), LAYER + r"experts\.\d+\.down"),
    "gate and up in turns": ("gpt_oss", as_op("experts.linear_fc1.weight", "transpose", "gate_up_proj ["), LAYER + r"experts\.\d+\.(gate|up)"),
    "rows of MXFP4 in turns": ("gpt_oss_mxfp4", as_op("experts.linear_fc1.weight", "copy", "gate_up_proj_blocks"), LAYER + r"experts\.\d+\.(gate|up)"),
    "biases in turns": ("gpt_oss", as_op("experts.linear_fc1.bias", "copy"), LAYER + r"experts\.\d+\.(gate|up)_bias"),
}

# What of the canonical tensors a key of Megatron's holds, for the keys that the tables' tests speak of.
_HELD = {
    "experts.linear_fc1": LAYER + r"experts\.\d+\.(gate|up)", "experts.linear_fc2": LAYER + r"experts\.\d+\.down", "linear_qkv.weight": LAYER + "[qkv]",
    "q_layernorm": LAYER + "[qk]_norm", "shared_experts.linear_fc1": LAYER + r"shared\.(gate|up)", "mlp.linear_fc1": LAYER + "(gate|up)",
    "enorm": r"mtp\.\d\.(embedding|hidden)_norm", "mtp.layers.0.": r"mtp\..*", "mtp.layers.0.final_layernorm": r"mtp\.\d\.(embedding|final)_norm",
    "mtp.layers.1.eh_proj": r"mtp\.\d\.(projection|\w+_norm)",
}
_QWEN_HELD = _HELD | {
    "linear_qkv.weight": LAYER + "(q|q_gate|k|v)", "in_proj.weight": r"layers\.\d+\.([qkvz]|alpha|beta)", "conv1d.weight": r"layers\.\d+\.[qkv]_conv",
    "in_proj.weight.alpha": r"layers\.\d+\.(alpha|beta)", "A_log": r"layers\.\d+\.decay(_bias)?", "out_norm": r"layers\.\d+\.head_norm",
    "final_layernorm": "final_norm", "mtp.layers.0.enorm": r"mtp\.0\.(embedding|hidden)_norm", "mtp.layers.0.final_layernorm": r"mtp\.0\.(hidden|final)_norm",
    "decoder.layers.0": r"layers\..*", "vision_model.decoder.layers": BLOCK + ".*",
    "vision_model.decoder.layers.self_attention.linear_qkv.weight": BLOCK + "[qkv]",
    "vision_model.decoder.layers.self_attention.linear_qkv.layer_norm_weight": BLOCK + "(attention|mlp)_norm",
}
_FRAME = r"mtp\.[01]\.((embedding|hidden)_(norm|projection)|final_norm|head_mapping.*)"
_V4_SHOWN = {
    "gate and up of the experts": LAYER + r"experts\.\d+\.(gate|up)", "gate and up of the shared experts": LAYER + r"shared\.(gate|up)",
    "down for up": LAYER + r"experts\.\d+\.(up|down)", "experts rotated": LAYER + r"experts\.\d+\.(gate|up)",
    "downs of the experts rotated": LAYER + r"experts\.\d+\.down", "alphas reversed": LAYER + r"attention_mapping\.scale",
    "alphas rotated": LAYER + r"mlp_mapping\.scale", "alphas of the other sublayer": LAYER + r"(attention|mlp)_mapping\.scale",
    "projection of the other sublayer": LAYER + "(attention|mlp)_mapping", "bias of the other sublayer": LAYER + r"(attention|mlp)_mapping\.base",
    "e_proj and h_proj": r"mtp\.\d\.(embedding|hidden)_projection", "enorm and hnorm": r"mtp\.\d\.(embedding|hidden)_norm",
    "a depth's final norm for enorm": r"mtp\.\d\.(embedding|final)_norm", "norms of a layer": LAYER + "(attention|mlp)_norm",
    "wkv and wgate": LAYER + r"summary\.(value|gate)", "wkv and wgate of the indexer": LAYER + r"index\.(value|gate)",
    "ape of another layer": r"layers\.[01]\.summary\.place", "ids of another layer": r"layers\.[01]\.router_table",
    "head of another depth": r"mtp\.[01]\.head_mapping", "layers exchanged": r"layers\.[01]\..*", "depths exchanged": r"mtp\.[01]\..*",
    "the frame of another depth": _FRAME, "the layer of another depth": r"mtp\.[01]\.layer\..*", "scales of blocks of 131 rows": LAYER + "(q_up|index.q)",
}


def of_the_next_block(megatron, hf):
    """One row reads the block after its own, the last one the first: its family is a copy that does."""
    def edit(table):
        table["families"]["another"] = {**table["families"]["vision"], "hf": "{V}blocks.{(l + 1) % blocks}"}
        qwen.row(table, megatron, hf)[3]["family"] = "another"
    return edit


_NORM1, _NORM2 = "linear_qkv.layer_norm_", "linear_fc1.layer_norm_"
_VISION = {
    "heads of the biases as one": (qwen.other_option("linear_qkv.bias", "attn.qkv.", groups="1"), BLOCK + "[qkv]_bias"),
    "biases of the norms": (qwen.exchange((_NORM1 + "bias", "norm1.bias"), (_NORM2 + "bias", "norm2.bias")), BLOCK + "(attention|mlp)_norm_bias"),
    "weight and bias of a norm": (qwen.exchange((_NORM2 + "weight", "norm2.weight"), (_NORM2 + "bias", "norm2.bias")), BLOCK + "mlp_norm(_bias)?"),
    "biases of attention and MLP": (qwen.exchange(("linear_proj.bias", "attn.proj.bias"), ("linear_fc2.bias", "{H}.mlp.linear_fc2.bias")), BLOCK + "(o|down)_bias"),
    "weight and bias of the merger's norm": (qwen.exchange(("patch_norm.weight", "merger"), ("patch_norm.bias", "merger")), r"vision\.merger\.norm(_bias)?"),
    "the merger's norm in a block": (qwen.exchange(("patch_norm.bias", "merger"), ("patch_embed.proj.bias", "patch_embed")), r"vision\.(merger\.norm|patch_embedding)_bias"),
} | {
    f"{hf} of the next block": (of_the_next_block(megatron, "{H}." + hf), BLOCK + shown) for megatron, hf, shown in [
        ("linear_qkv.bias", "attn.qkv.bias", "[qkv]_bias"), ("linear_proj.weight", "attn.proj.weight", "o"), ("linear_fc1.weight", "mlp.linear_fc1.weight", "up"),
        ("linear_fc1.bias", "mlp.linear_fc1.bias", "up_bias"), ("linear_fc2.weight", "mlp.linear_fc2.weight", "down"),
        ("linear_fc2.bias", "mlp.linear_fc2.bias", "down_bias"), (_NORM1 + "weight", "norm1.weight", "attention_norm"),
        (_NORM2 + "weight", "norm2.weight", "mlp_norm")]
}


# Of dense tables, what others do not have.
_OWN = {
    ("glm4", "glm4"): {"norms of results": (exchange("post_self_attn_layernorm.weight", "post_mlp_layernorm.weight"), LAYER + "(attention|mlp)_post_norm")},
    # As Llama names them: the norm after attention for the one before the MLP.
    ("gemma2", "gemma2"): {"norms by Llama's names": (exchange("{L}.mlp.linear_fc1.layer_norm_weight", "linear_proj.post_layernorm.weight"),
                                                      LAYER + "(attention_post_norm|mlp_norm)")},
    ("gemma3", "gemma3"): {"norms of queries and keys": (exchange("q_layernorm.weight", "k_layernorm.weight"), LAYER + "[qk]_norm")},
    ("nemotron", "nemotron"): {"biases of norms": (exchange("linear_qkv.layer_norm_bias", "linear_fc1.layer_norm_bias"), LAYER + "(attention|mlp)_norm_bias")},
    ("starcoder2", "starcoder2"): {"biases of results": (exchange("linear_proj.bias", "linear_fc2.bias"), LAYER + "(o|down)_bias")},
}


# Tables that share the rows of those above, by kind: {table: (case, its mistakes, one an op)}
_EXPERTS = {
    "gate and up of the experts": (exchange_halves("{e}.linear_fc1.weight"), _HELD["experts.linear_fc1"]),
    "downs of the experts rotated": (tables.rotate_experts("{e}.linear_fc2.weight"), _HELD["experts.linear_fc2"]),
}
_EACH_OP = ("gate and up", "groups as one", "norms of a layer", "embedding and output")
_OF_KINDS = {
    **{name: (name, {what: _dense()[what] for what in _EACH_OP}) for name in ("mistral", "ministral", "seed_oss")},
    **{name: (name, {what: _dense()[what] for what in ("gate and up", "groups as one")}) for name in ("gemma2", "gemma3")},
    **{name: (case, {what: _dense()[what] for what in ("groups as one", "embedding and output")})
       for name, case in {"glm4": "glm4", "nemotron": "nemotron", "starcoder2": "starcoder2_window"}.items()},
    **{name: (name, _EXPERTS | {what: _dense()[what] for what in ("groups as one", "embedding and output")})
       for name in ("qwen2_moe", "olmoe", "minimax_m2", "hy_v3")},
    **{name: (name, _EXPERTS | {"embedding and output": _dense()["embedding and output"]})
       for name in ("deepseek_v2", "glm4_moe_lite", "deepseek_v32", "glm_moe_dsa")},
}


def _all():
    for (name, case), wrong in _OWN.items():
        for what, (edit, shown) in wrong.items():
            yield f"{name}: {what}", Mutation(name, case, edit, shown)
    for name, (case, wrong) in _OF_KINDS.items():
        for what, (edit, shown) in wrong.items():
            yield f"{name}: {what}", Mutation(name, case, edit, shown)
    for name, case in {"llama": "llama_biased", "qwen2": "qwen2", "qwen3": "qwen3"}.items():
        for what, (edit, shown) in (_dense() | _BIASED[name]).items():
            yield f"{name}: {what}", Mutation(name, case, edit, shown)
    for what, (edit, shown) in _GLM.items():
        yield f"glm4_moe: {what}", Mutation("glm4_moe", "glm4_moe", edit, shown)
    for what in ("groups as one", "norms of a layer", "layers exchanged", "embedding and output"):
        yield f"phi3: {what}", Mutation("phi3", "phi3", *_dense()[what])
    for what in ("groups as one", "layers exchanged", "embedding and output"):
        yield f"gpt_oss: {what}", Mutation("gpt_oss", "gpt_oss", *_dense()[what])
    yield "gpt_oss: norms of a layer", Mutation("gpt_oss", "gpt_oss", _NORMS_OF_MOE, LAYER + "(attention|mlp)_norm")
    for what, (case, edit, shown) in _TURNS.items():
        yield f"gpt_oss: {what}", Mutation("gpt_oss", case, edit, shown)
    for i, (name, edit, where) in enumerate(tables.MISTAKES):
        if where != "router.expert_bias":  # a table that allows F32 finds the biases in BF16 itself
            yield f"{name}: {i} {where}", Mutation(name, tables.SOURCES[name], edit, _HELD[where])
    for name, case in tables.SOURCES.items():
        yield f"{name}: embedding and output", Mutation(name, case, untied("lm_head.weight"), "embedding|output")
    yield "qwen3_moe: layers exchanged", Mutation("qwen3_moe", "qwen3_moe", FIRST_TWO, r"layers\.[01]\..*")
    yield "qwen3_moe: norms of a layer", Mutation(
        "qwen3_moe", "qwen3_moe", without("rows", "{L}.mlp.linear_fc1.layer_norm_weight", _NORMS_OF_MOE), LAYER + "(attention|mlp)_norm")
    yield "mixtral: norms of a layer", Mutation("mixtral", "mixtral", _NORMS_OF_MOE, LAYER + "(attention|mlp)_norm")
    for i, (name, case, edit, where) in enumerate(qwen.MISTAKES):
        yield f"{name}: {i} {where}", Mutation(name, case, edit, _QWEN_HELD[where])
    # With two heads, as three are as many as a head has parts.
    yield "vision: parts for heads", Mutation(
        "qwen3_5", "dense_no_mtp", qwen.other_option("linear_qkv.weight", "attn.qkv.", groups="3", blocks="vision_heads"), BLOCK + "[qkv]")
    for what, (edit, shown) in _VISION.items():
        yield f"vision: {what}", Mutation("qwen3_5", "dense", edit, shown)
    for name, case in {"qwen3_5": "moe", "qwen3_next": "next"}.items():
        yield f"{name}: embedding and output", Mutation(name, case, untied("lm_head.weight"), "embedding|output")
    yield "qwen3_next: gate and up", Mutation("qwen3_next", "next", qwen.exchange_parts("{e}.linear_fc1.weight", "gate_proj"), _HELD["experts.linear_fc1"])
    yield "qwen3_next: decays", Mutation("qwen3_next", "next", qwen.exchange(("A_log", "A_log"), ("dt_bias", "dt_bias")), _QWEN_HELD["A_log"])
    yield "deepseek_v32: weight and bias of the index's norm", Mutation(
        "deepseek_v32", "deepseek_v32", exchange("indexer.k_norm.weight", "indexer.k_norm.bias"), LAYER + r"index\.key_norm(_bias)?")
    for what, shown in _V4_SHOWN.items():
        # The first layer's streams are equal, so that it does not matter how they are mixed before and beside a sublayer.
        first = "hidden.1" if what == "alphas reversed" else None
        yield f"deepseek_v4: {what}", Mutation("deepseek_v4", v4.SOURCE, v4.MISTAKES[what][0], shown, first)
    yield "deepseek_v4: halves of a joined projection", Mutation("deepseek_v4", "joined", _exchange_split("columns"), r"mtp\.\d\.(embedding|hidden)_projection")
    yield "deepseek_v4: embedding and output", Mutation("deepseek_v4", v4.SOURCE, untied("{head}.weight"), "embedding|output")


WRONG = dict(_all())


def ops_of(mutation):
    """Of the rows that the edit changes; of none: what else it concerns."""
    table = tables.read_table(mutation.table)
    rows, before = table["rows"], tables.read_table(mutation.table)["rows"]
    mutation.edit(table)
    left = set(map(id, table["rows"]))  # rows for other models may be gone
    ops = {old[1] for new, old in zip(rows, before, strict=True) if new != old and id(new) in left}
    if not ops:
        ops = {"scales" if table.get("quantization") != tables.read_table(mutation.table).get("quantization") else "layers"}
    return ", ".join(sorted(ops))


# Experts that changed places, the router that did not.
ROTATED = {
    "qwen3_moe": Mutation("qwen3_moe", "qwen3_moe", both(tables.rotate_experts("{e}.linear_fc1.weight"), tables.rotate_experts("{e}.linear_fc2.weight")),
                          LAYER + r"experts\.\d+\.(gate|up|down)"),
    "deepseek_v4": Mutation("deepseek_v4", v4.SOURCE, both(tables.rotate_experts("{e}.linear_fc1.weight"), tables.rotate_experts("{e}.linear_fc2.weight")),
                            LAYER + r"experts\.\d+\.(gate|up|down)"),
}

# ---- settings and keys ----


def setting(field, value):
    def edit(table):
        assert field in table["megatron_config"]
        table["megatron_config"][field] = value
    return edit


# Of the model's configuration, as a table writes it. {what: (table, case, edit, every field that differs)}
SETTINGS = {
    "rotary base": ("llama", "llama_biased", setting("rotary_base", "rope_theta_value + 1"), r"layers\.\d\.attention\.rotary\.base"),
    "epsilon of the norms": ("qwen2", "qwen2", setting("layernorm_epsilon", "1e-5"), r"norm\.eps"),
    "experts of a token": ("qwen3_moe", "qwen3_moe", setting("moe_router_topk", "2"), r"layers\.\d\.mlp\.router\.chosen"),
    "factor of the experts": ("deepseek_v3", "deepseek_v3_mtp3", setting("moe_router_topk_scaling_factor", "1.0"), r"(layers|mtp)\.\d\.mlp\.router\.factor"),
    "groups of experts": ("deepseek_v3", "deepseek_v3_mtp3", setting("moe_router_group_topk", "topk_group + 1"), r"(layers|mtp)\.\d\.mlp\.router\.(chosen_groups|ranked_by)"),
    "channels of an index that turn": (
        "deepseek_v32", "deepseek_v32", setting("dsa_indexer_rope_interleaved", "true"), r"(layers|mtp)\.\d\.attention\.index\.layout"),
    "tokens that an index chooses": ("deepseek_v32", "deepseek_v32", setting("dsa_indexer_topk", "index_topk - 1"), r"(layers|mtp)\.\d\.attention\.index\.chosen"),
    "epsilon of an index's norm": ("deepseek_v32", "deepseek_v32", setting("dsa_indexer_k_norm_epsilon", "1.0"), r"(layers|mtp)\.\d\.attention\.index\.eps"),
    "window": ("deepseek_v4", "fp8fp4", setting("csa_window_size", "sliding_window + 1"), r"(layers|mtp)\.\d\.attention\.window"),
    "rotary base of what is compressed": ("deepseek_v4", "fp8fp4", setting("csa_compress_rotary_base", "theta * 1.0"), r"(layers|mtp)\.\d\.attention\.rotary\.base"),
    "limit of the experts": ("deepseek_v4", "fp8fp4", setting("activation_func_clamp_value", "0.01"), r"(layers|mtp)\.\d\.mlp\.limit"),
    "a part of a head that turns": ("glm4_moe", "glm4_moe", setting("rotary_percent", "1.0"), r"(layers|mtp)\.\d\.attention\.rotary\.channels"),
    "cap of the scores": ("gemma2", "gemma2", setting("attn_logit_softcapping", "attn_logit_softcapping + 1"), r"layers\.\d\.attention\.cap"),
    "cap of the logits": ("gemma2", "gemma2", setting("final_logit_softcapping", "final_logit_softcapping + 1"), r"logit_cap"),
    "divisor of the scores": ("gemma2", "gemma2", setting("query_pre_attn_scalar", "head_dim + 1"), r"layers\.\d\.attention\.scale"),
    "factor of layers without a window": ("gemma3", "gemma3", setting("rope_scaling_factor", "2.0"), r"layers\.[13]\.attention\.rotary\.factor"),
    "pairs that turn": ("glm4", "glm4", setting("rotary_interleaved", "false"), r"layers\.\d\.attention\.rotary\.layout"),
    "window of every layer": ("starcoder2", "starcoder2_window", setting("window_size", "[sliding_window, 0]"), r"layers\.\d\.attention\.window"),
    "windows of every layer": ("gpt_oss", "gpt_oss", setting("window_attn_skip_freq", "null"), r"layers\.1\.attention\.window"),
    "offset of the experts": ("gpt_oss", "gpt_oss", setting("glu_linear_offset", "0.0"), r"layers\.\d\.mlp\.offset"),
    "channels that turn": ("qwen3_5", "dense_text", setting("rotary_percent", "1.0"), r"(layers|mtp)\.\d\.attention\.rotary\.channels"),
}


def other_families(megatron, *families):
    return lambda table: row(table, megatron)[3].update(family=list(families))


def dropped(megatron):
    def edit(table):
        found = row(table, megatron)
        table["rows"].remove(found)
        where = {name: value for name, value in (found[3] if len(found) > 3 else {}).items() if name in ("when", "family")}
        table["drop"] += [[split_part(part)[0], "a mistake", where] for part in tables.hf_parts(found)]
    return edit


def misspelt(megatron):
    def edit(table):
        row(table, megatron)[0] += "s"
    return edit


def in_columns(megatron):
    def edit(table):
        found = row(table, megatron)
        found[1] = "columns"
        add_options(found, groups="2")
    return edit


# A runtime would not find the tensor, or one of another shape. {what: (table, case, edit, what is said)}
PLACES = {
    "a frame's norm in the layer": ("deepseek_v3", "deepseek_v3_mtp3", other_families("{L}.enorm.weight", "mtp"), "mtp.0.embedding_norm is missing"),
    "a layer's norm in the frame": ("deepseek_v3", "deepseek_v3_mtp3", other_families("{L}.input_layernorm.weight", "decoder", "mtp_frame"), "mtp.0.layer.attention_norm is missing"),
    "a router dropped": ("mixtral", "mixtral", dropped("router.weight"), "layers.0.router is missing"),
    "queries, keys and values dropped": ("qwen3", "qwen3", dropped("linear_qkv.weight"), "layers.0.q is missing"),
    "a key misspelt": ("qwen3_moe", "qwen3_moe", misspelt("linear_proj.weight"), "layers.0.o is missing"),
    "columns as rows": ("llama", "llama_biased", in_columns("{L}.self_attention.linear_proj.weight"), "layers.0.o has shape [144, 48], the configuration asks for [72, 96]"),
}


# ---- what no table can say ----


def _reverse_heads_of_a_group(state):
    name = "model.layers.1.self_attn.q_proj.weight"  # 2 groups of 3 heads of 16
    state[name] = state[name].unflatten(0, (2, 3, 16)).flip(1).flatten(0, 2).contiguous()


def _exchange_halves_of_the_columns(state):
    name = "model.layers.4.eh_proj.weight"
    state[name] = torch.cat(state[name].chunk(2, dim=1)[::-1], dim=1)


def _transpose_mixing(state):
    mapping = state["layers.1.hc_attn_fn"]
    mix = mapping[8:].unflatten(0, (4, 4)).transpose(0, 1).flatten(0, 1)
    state["layers.1.hc_attn_fn"] = torch.cat([mapping[:8], mix])


def _transpose_mixing_bias(state):
    base = state["mtp.0.hc_ffn_base"]
    state["mtp.0.hc_ffn_base"] = torch.cat([base[:8], base[8:].unflatten(0, (4, 4)).transpose(0, 1).flatten()])


def _shift_ids(state):
    state["layers.1.ffn.gate.tid2eid"] = state["layers.1.ffn.gate.tid2eid"].roll(1, 0).contiguous()


def _reverse_value_heads(state):
    name = "model.layers.0.linear_attn.in_proj_z.weight"  # 6 value heads of 10
    state[name] = state[name].unflatten(0, (6, 10)).flip(0).flatten(0, 1).contiguous()


def _reverse_time(state):
    name = "model.layers.2.linear_attn.conv1d.weight"
    state[name] = state[name].flip(-1).contiguous()


def _forget_the_one(state):
    name = "model.layers.3.input_layernorm.weight"
    state[name] = (state[name].float() - 1).to(state[name].dtype)


def _exchange_scales(a, b):
    def change(state):
        state[a], state[b] = state[b], state[a]
    return change


def _forget_the_scale(state):
    name = "model.layers.1.mlp.experts.0.down_proj.weight_scale_inv"
    state[name] = torch.ones_like(state[name])


def _shift_scales(state):
    name = "layers.3.ffn.experts.2.w2.scale"  # [96, 2], a scale for each 32 in a row
    state[name] = state[name].view(torch.uint8).flip(1).contiguous().view(state[name].dtype)


VISUAL = "model.visual."


def _reverse_heads_of_vision(state):
    for kind in ("weight", "bias"):
        name = f"{VISUAL}blocks.1.attn.qkv.{kind}"  # 3 heads of 8
        state[name] = state[name].unflatten(0, (3, 3, 8)).flip(1).flatten(0, 2).contiguous()


def _exchange_queries_and_keys_of_vision(state):
    for kind in ("weight", "bias"):
        name = f"{VISUAL}blocks.0.attn.qkv.{kind}"
        queries, keys, values = state[name].chunk(3)
        state[name] = torch.cat([keys, queries, values])


def _of_vision(name, change):
    def edit(state):
        state[VISUAL + name] = change(state[VISUAL + name]).contiguous()
    return edit


# {what: (kind of source, case, change of its tensors, the tensors that differ)}
REWRITTEN = {
    "heads reversed in their group": ("plain", "qwen3", _reverse_heads_of_a_group, {"layers.1.q"}),
    "halves of eh_proj's columns": ("plain", "deepseek_v3_mtp3", _exchange_halves_of_the_columns, {"mtp.1.projection"}),
    "mixing block transposed": ("v4", "fp8fp4", _transpose_mixing, {"layers.1.attention_mapping"}),
    "mixing bias transposed": ("v4", "fp8fp4", _transpose_mixing_bias, {"mtp.0.layer.mlp_mapping.base"}),
    "ids of tid2eid shifted": ("v4", "fp8fp4", _shift_ids, {"layers.1.router_table"}),
    "heads of z reversed": ("qwen", "dense_text", _reverse_value_heads, {"layers.0.z"}),
    "convolution reversed in time": ("qwen", "dense_text", _reverse_time, {"layers.2.q_conv", "layers.2.k_conv", "layers.2.v_conv"}),
    "a norm without its one": ("qwen", "dense_text", _forget_the_one, {"layers.3.attention_norm"}),
    "scales of gate and up": ("plain", "fp8", _exchange_scales(*(f"model.layers.2.mlp.experts.3.{name}_proj.weight_scale_inv" for name in ("gate", "up"))),
                              {"layers.2.experts.3.gate", "layers.2.experts.3.up"}),
    "a scale not applied": ("plain", "fp8", _forget_the_scale, {"layers.1.experts.0.down"}),
    "scales of another fp4 expert": ("v4", "fp8fp4", _exchange_scales("layers.0.ffn.experts.0.w3.scale", "layers.0.ffn.experts.3.w3.scale"),
                                     {"layers.0.experts.0.up", "layers.0.experts.3.up"}),
    "fp4 scales of the next block": ("v4", "fp8fp4", _shift_scales, {"layers.3.experts.2.down"}),
    "vision heads reversed": ("qwen", "dense", _reverse_heads_of_vision, {f"vision.blocks.1.{part}{kind}" for part in "qkv" for kind in ("", "_bias")}),
    "vision queries and keys": ("qwen", "dense", _exchange_queries_and_keys_of_vision,
                                {f"vision.blocks.0.{part}{kind}" for part in "qk" for kind in ("", "_bias")}),
    "vision projection transposed": ("qwen", "dense", _of_vision("blocks.2.attn.proj.weight", torch.t), {"vision.blocks.2.o"}),
    "patches transposed": ("qwen", "dense", _of_vision("patch_embed.proj.weight", lambda t: t.transpose(-1, -2)), {"vision.patch_embedding"}),
    "patches with channels last": ("qwen", "dense", _of_vision("patch_embed.proj.weight", lambda t: t.movedim(1, -1).reshape(t.shape)), {"vision.patch_embedding"}),
    "patches with frames exchanged": ("qwen", "dense", _of_vision("patch_embed.proj.weight", lambda t: t.flip(2)), {"vision.patch_embedding"}),
    "places shifted": ("qwen", "dense", _of_vision("pos_embed.weight", lambda t: t.roll(1, 0)), {"vision.places"}),
    "places transposed": ("qwen", "dense", _of_vision("pos_embed.weight", lambda t: t.unflatten(0, (4, 4)).transpose(0, 1).flatten(0, 1)), {"vision.places"}),
    "merger transposed": ("qwen", "dense", _of_vision("merger.linear_fc1.weight", torch.t), {"vision.merger.up"}),
    "merged patches in columns": ("qwen", "dense", _of_vision("merger.linear_fc1.weight", lambda t: t.unflatten(1, (2, 2, -1)).transpose(1, 2).flatten(1)),
                                  {"vision.merger.up"}),
    "merger's halves": ("qwen", "dense", _of_vision("merger.linear_fc2.weight", lambda t: torch.cat(t.chunk(2, 1)[::-1], 1)), {"vision.merger.down"}),
    "merger's biases shifted": ("qwen", "dense", lambda state: (_of_vision("merger.linear_fc1.bias", lambda t: t.roll(1))(state),
                                                                _of_vision("merger.linear_fc2.bias", lambda t: t.roll(1))(state)),
                                {"vision.merger.up_bias", "vision.merger.down_bias"}),
}
