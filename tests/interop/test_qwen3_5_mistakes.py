"""Natural mistakes in copies of the tables of Qwen3.5 and Qwen3-Next: each must be noticed by what does not use the table.

What is written is compared with oracles/qwen3_5.py, or the converter refuses the source because shapes or names no longer fit.
"""
import pytest

from interop import qwen3_5_cases
from interop.test_table_mistakes import convert_with, hf_parts, is_refused, likeliest_to_hide, read_table, split_part, swap_names
from oracles import dcp

# "moe" has a vision tower, packed experts in the decoder and MTP's one by one, "moe_3_6" both packed.
SOURCES = {"qwen3_5": ["moe", "moe_3_6", "dense", "dense_ungated"], "qwen3_next": ["next", "next_some_dense"]}


def row(table, megatron, hf):
    """The row whose names end and hold so."""
    (found,) = [row for row in table["rows"] if row[0].endswith(megatron) and any(hf in part for part in hf_parts(row))]
    return found


def options(row):
    if len(row) == 3:
        row.append({})
    return row[3]


# ---- mistakes of each kind: each takes the table ----


def other_op(megatron, hf, op, gone=()):
    def edit(table):
        found = row(table, megatron, hf)
        found[1] = op
        for option in gone:
            del options(found)[option]
    return edit


def other_option(megatron, hf, **changed):
    return lambda table: options(row(table, megatron, hf)).update(changed)


def parts_in_order(megatron, hf, *order):
    """Shapes must fit, so the sizes stay where they are and the names move."""
    def edit(table):
        split = options(row(table, megatron, hf))["split"]
        assert set(split) == set(order)
        options(row(table, megatron, hf))["split"] = dict(zip(order, split.values()))
    return edit


def exchange_parts(megatron, hf, a=0, b=1):
    def edit(table):
        parts = row(table, megatron, hf)[2]
        (name_a, shape_a), (name_b, shape_b) = split_part(parts[a]), split_part(parts[b])
        parts[a], parts[b] = f"{name_b} {shape_a}", f"{name_a} {shape_b}"
    return edit


def exchange(a, b):
    return lambda table: swap_names(row(table, *a), row(table, *b))


def rotate_experts(megatron, hf):
    def edit(table):
        found = row(table, megatron, hf)
        parts = [part.replace("{e}", "{(e + 1) % experts}") for part in hf_parts(found)]
        found[2] = parts if isinstance(found[2], list) else parts[0]
    return edit


def other_layers(family, hf):
    return lambda table: table["families"][family].update(hf=hf)


_QKV, _IN, _CONV = ("linear_qkv.weight", "q_proj"), ("in_proj.weight", "in_proj_qkv."), ("conv1d.weight", "conv1d")
_VISION = ("linear_qkv.weight", "attn.qkv.")


def _without(op, edit):
    def only(table):
        table["rows"] = [row for row in table["rows"] if not (row[0] == "{L}.self_attention.linear_qkv.weight" and row[1] == op)]
        edit(table)
    return only


# For a table that has a row for each: the edit sees the one alone.
def gated(edit):
    return _without("qkv", edit)


def ungated(edit):
    return _without("gated_qkv", edit)


MISTAKES = [
    ("qwen3_5", "moe", gated(other_op(*_QKV, "qkv", ["heads"])), "linear_qkv.weight"),  # gates stay between the queries
    ("qwen3_5", "moe", gated(exchange_parts(*_QKV, 1, 2)), "linear_qkv.weight"),
    ("qwen3_5", "moe", parts_in_order(*_IN, ".key", ".query", ".value"), "in_proj.weight"),
    ("qwen3_5", "moe", parts_in_order(*_CONV, ".key", ".query", ".value"), "conv1d.weight"),
    ("qwen3_5", "moe", exchange(("in_proj.weight.alpha", "in_proj_a"), ("in_proj.weight.beta", "in_proj_b")), "in_proj.weight.alpha"),
    ("qwen3_5", "moe", exchange(("A_log", "A_log"), ("dt_bias", "dt_bias")), "A_log"),
    ("qwen3_5", "moe", other_op("out_norm.weight", "norm", "copy"), "out_norm"),
    ("qwen3_5", "moe", other_op("decoder.final_layernorm.weight", "norm", "minus_one"), "final_layernorm"),
    ("qwen3_5", "moe", exchange(("enorm.weight", "embedding"), ("hnorm.weight", "hidden")), "mtp.layers.0.enorm"),
    ("qwen3_5", "moe", exchange(("{L}.final_layernorm.weight", "{H}.norm"), ("hnorm.weight", "hidden")), "mtp.layers.0.final_layernorm"),
    ("qwen3_5", "moe", exchange_parts("shared_experts.linear_fc1.weight", "gate_proj"), "shared_experts.linear_fc1"),
    ("qwen3_5", "moe", exchange_parts("{e}.linear_fc1.weight", "gate_proj"), "experts.linear_fc1"),
    ("qwen3_5", "moe", rotate_experts("{e}.linear_fc1.weight", "gate_proj"), "experts.linear_fc1"),
    ("qwen3_5", "moe", rotate_experts("{e}.linear_fc2.weight", "down_proj"), "experts.linear_fc2"),
    ("qwen3_5", "dense", exchange_parts("{L}.mlp.linear_fc1.weight", "gate_proj"), "mlp.linear_fc1"),
    ("qwen3_5", "dense", other_layers("decoder", "{P}layers.{(l + 2) % layers}"), "decoder.layers.0"),
    ("qwen3_5", "dense", other_layers("vision", "{V}blocks.{(l + 1) % blocks}"), "vision_model.decoder.layers"),
    ("qwen3_5", "dense", other_option(*_VISION, groups="1"), "vision_model.decoder.layers.self_attention.linear_qkv.weight"),
    ("qwen3_5", "dense", exchange(("linear_qkv.layer_norm_weight", "norm1.weight"), ("linear_fc1.layer_norm_weight", "norm2.weight")),
     "vision_model.decoder.layers.self_attention.linear_qkv.layer_norm_weight"),
    ("qwen3_5", "dense_ungated", ungated(exchange_parts(*_QKV, 1, 2)), "linear_qkv.weight"),
    ("qwen3_5", "dense_ungated", ungated(other_option(*_QKV, groups="1")), "linear_qkv.weight"),
    ("qwen3_next", "next", gated(other_op(*_QKV, "qkv", ["heads"])), "linear_qkv.weight"),
    ("qwen3_next", "next", parts_in_order("in_proj.weight", "in_proj_qkvz", ".key", ".query", ".value", ".z"), "in_proj.weight"),
    ("qwen3_next", "next", parts_in_order("in_proj.weight", "in_proj_qkvz", ".query", ".key", ".z", ".value"), "in_proj.weight"),
    ("qwen3_next", "next", parts_in_order("in_proj.weight", "in_proj_ba", ".alpha", ".beta"), "in_proj.weight"),
    ("qwen3_next", "next", other_option("in_proj.weight", "in_proj_qkvz", groups="1"), "in_proj.weight"),
    ("qwen3_next", "next", other_option("in_proj.weight", "in_proj_ba", groups="1"), "in_proj.weight"),
    ("qwen3_next", "next", other_op("out_norm.weight", "norm", "copy"), "out_norm"),
]


# Sizes that do not divide, before anything is written.
REFUSED = [
    ("qwen3_5", "moe", gated(other_option(*_QKV, groups="1")), "q_proj.weight"),
    ("qwen3_5", "moe", gated(other_option(*_QKV, heads="kv_heads")), "q_proj.weight"),
    ("qwen3_5", "moe", other_layers("decoder", "{P}layers.{(l + 1) % layers}"), "layers."),
]


def what_differs(source, folder):
    return dcp.different(qwen3_5_cases.dist_keys(source), dcp.read_tensors(folder / "root" / "iter_0000000"))


@pytest.mark.parametrize("name, case", [(name, case) for name, each in SOURCES.items() for case in each])
def test_the_table_as_it_is_is_right(name, case, qwen_sources, causeway, tmp_path):
    """The instrument: without a mistake nothing differs."""
    convert_with(read_table(name), qwen_sources(case), causeway, tmp_path)
    assert not what_differs(qwen_sources(case), tmp_path)


@pytest.mark.parametrize("name, case, mistake, where", MISTAKES, ids=[f"{name}-{i}-{where}" for i, (name, _, _, where) in enumerate(MISTAKES)])
def test_a_mistake_is_noticed(name, case, mistake, where, qwen_sources, causeway, tmp_path):
    table = read_table(name)
    mistake(table)
    convert_with(table, qwen_sources(case), causeway, tmp_path)
    found = what_differs(qwen_sources(case), tmp_path)
    assert found and any(where in line for line in found)


@pytest.mark.parametrize("name, case, mistake, where", REFUSED, ids=[f"{name}-{i}-{where}" for i, (name, _, _, where) in enumerate(REFUSED)])
def test_a_mistake_is_refused(name, case, mistake, where, qwen_sources, causeway, tmp_path):
    table = read_table(name)
    mistake(table)
    assert where in convert_with(table, qwen_sources(case), causeway, tmp_path, expect=3).stderr


# ---- every row of the tables ----


def served_by(entry, case):
    """Whether a row is for tensors that a case has."""
    when, arch = (entry[3] if len(entry) > 3 else {}).get("when", ""), qwen3_5_cases.CASES[case].arch
    conditions = when.split(" && ")
    if "moe" in conditions and arch.moe is None or "!moe" in conditions and arch.moe and not arch.moe.dense:
        return False
    if "!gated" in conditions and arch.gdn.gated or "gated" in conditions and not arch.gdn.gated:
        return False
    return not ("!together" in conditions and case == "moe_3_6")


def every_row():
    for name, each in SOURCES.items():
        for number, entry in enumerate(read_table(name)["rows"]):
            case = next((case for case in each if served_by(entry, case)), None)
            if case:
                yield name, number, entry[0], case


ROWS = list(every_row())


@pytest.mark.parametrize("name, number, megatron, case", ROWS, ids=[f"{name}-{number}-{megatron}" for name, number, megatron, _ in ROWS])
def test_a_row_with_the_names_of_another_is_noticed(name, number, megatron, case, qwen_sources, causeway, tmp_path):
    """Of the row whose shapes are the likeliest to hide it."""
    table = read_table(name)
    mine = table["rows"][number]
    others = [other for i, other in enumerate(table["rows"]) if i != number and served_by(other, case)]
    swap_names(mine, likeliest_to_hide(mine, others))
    assert is_refused(table, qwen_sources(case), causeway, tmp_path) or what_differs(qwen_sources(case), tmp_path)
