"""Natural mistakes in a mapping table, made on purpose in a copy of it: each must be noticed by what does not use the table.

A wrong table that is wrong both ways survives a round trip (test_a_round_trip_proves_nothing shows one), so what is written is
compared with oracles/mapping.py, or the converter refuses the source because shapes or names no longer fit.
"""
import functools
import json
import os
import re
import subprocess

import pytest

from interop.test_fp8 import digests
from oracles import dcp, mapping, sharding

SOURCES = {"qwen3_moe": "qwen3_moe", "mixtral": "mixtral", "deepseek_v3": "deepseek_v3_mtp3"}


@functools.cache
def full_text(name):
    """The table with the fragments that it uses, so that an edit finds every row in it."""
    command = [os.environ["CAUSEWAY"], "mappings", "show", name, "--full"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read_table(name):
    text = full_text(name)
    return json.loads(re.sub(r'("(?:[^"\\]|\\.)*")|//[^\n]*', lambda match: match[1] or "", text))


def row(table, megatron):
    (found,) = [row for row in table["rows"] if row[0].endswith(megatron) and row[2] != "score.weight [labels, hidden]"]
    return found


def add_options(row, **options):
    row[3:] = [{**(row[3] if len(row) > 3 else {}), **options}]


def hf_parts(row):
    return row[2] if isinstance(row[2], list) else [row[2]]


def split_part(part):
    """'{H}.x.weight [a, b]' -> ('{H}.x.weight', '[a, b]')"""
    name, _, shape = part.partition(" [")
    return name, "[" + shape


def swap_names(row_a, row_b):
    """Each reads what the other should: the names change places, the shapes stay."""
    a, b = hf_parts(row_a), hf_parts(row_b)
    new_a, new_b = list(a), list(b)
    for i in range(min(len(a), len(b))):
        (name_a, shape_a), (name_b, shape_b) = split_part(a[i]), split_part(b[i])
        new_a[i], new_b[i] = f"{name_b} {shape_a}", f"{name_a} {shape_b}"
    row_a[2] = new_a if isinstance(row_a[2], list) else new_a[0]
    row_b[2] = new_b if isinstance(row_b[2], list) else new_b[0]


def likeliest_to_hide(mine, others):
    """The row whose placeholders, family, shapes and op are most like those of `mine`."""
    def likeness(other):
        same_kind = (mine[3] if len(mine) > 3 else {}).get("family") == (other[3] if len(other) > 3 else {}).get("family")
        placeholders = [[mark in hf_parts(each)[0] for mark in ("{H}", "{e}")] for each in (mine, other)]
        shapes = [[split_part(part)[1] for part in hf_parts(each)] for each in (mine, other)]
        return placeholders[0] == placeholders[1], same_kind, shapes[0] == shapes[1], mine[1] == other[1]

    return max(others, key=likeness)


def is_refused(table, source, causeway, work):
    """Whether the converter refuses the source with this table, because shapes, names or placeholders do not fit; else work/root is there."""
    (work / "table.jsonc").write_text(json.dumps(table))
    command = ("convert-hf", source.folder, work / "root", "--mapping", work / "table.jsonc")
    try:
        causeway(*command)
    except AssertionError:
        assert causeway(*command, expect=3).stderr.startswith("causeway: ")
        return True
    return False


# ---- mistakes of each kind ----


def exchange_halves(megatron):
    def edit(table):
        found = row(table, megatron)
        (gate, gate_shape), (up, up_shape) = map(split_part, found[2])
        found[2] = [f"{up} {gate_shape}", f"{gate} {up_shape}"]
    return edit


def rotate_experts(megatron):
    def edit(table):
        found = row(table, megatron)
        parts = [part.replace("{e}", "{(e + 1) % experts}") for part in hf_parts(found)]
        found[2] = parts if isinstance(found[2], list) else parts[0]
    return edit


def exchange_keys_and_values(table):
    q, k, v = row(table, "linear_qkv.weight")[2]
    row(table, "linear_qkv.weight")[2] = [q, v, k]


def all_queries_first(table):
    """As if there were one group: [Q; K; V], the heads of the groups in the wrong places."""
    row(table, "linear_qkv.weight")[3]["groups"] = "1"


def rotate_depths(table):
    for family in ("mtp", "mtp_frame"):
        table["families"][family]["hf"] = "{P}layers.{layers + (l + 1) % depths}"


def depths_one_layer_early(table):
    for family in ("mtp", "mtp_frame"):
        table["families"][family]["hf"] = "{P}layers.{l + layers - 1}"


def frame_of_another_depth(table):
    table["families"]["mtp_frame"]["hf"] = "{P}layers.{layers + (l + 1) % depths}"


def bias_in_bf16(table):
    row(table, "router.expert_bias")[3]["keep"] = "BF16"


def exchange(a, b):
    return lambda table: swap_names(row(table, a), row(table, b))


MISTAKES = [
    ("qwen3_moe", exchange_halves("{e}.linear_fc1.weight"), "experts.linear_fc1"),
    ("qwen3_moe", rotate_experts("{e}.linear_fc1.weight"), "experts.linear_fc1"),
    ("qwen3_moe", rotate_experts("{e}.linear_fc2.weight"), "experts.linear_fc2"),
    ("qwen3_moe", exchange_keys_and_values, "linear_qkv.weight"),
    ("qwen3_moe", all_queries_first, "linear_qkv.weight"),
    ("qwen3_moe", exchange("q_layernorm.weight", "k_layernorm.weight"), "q_layernorm"),
    ("mixtral", exchange_halves("{e}.linear_fc1.weight"), "experts.linear_fc1"),
    ("mixtral", rotate_experts("{e}.linear_fc2.weight"), "experts.linear_fc2"),
    ("mixtral", all_queries_first, "linear_qkv.weight"),
    ("deepseek_v3", exchange_halves("{e}.linear_fc1.weight"), "experts.linear_fc1"),
    ("deepseek_v3", exchange_halves("shared_experts.linear_fc1.weight"), "shared_experts.linear_fc1"),
    ("deepseek_v3", exchange_halves("{L}.mlp.linear_fc1.weight"), "mlp.linear_fc1"),
    ("deepseek_v3", rotate_experts("{e}.linear_fc1.weight"), "experts.linear_fc1"),
    ("deepseek_v3", rotate_experts("{e}.linear_fc2.weight"), "experts.linear_fc2"),
    ("deepseek_v3", exchange("enorm.weight", "hnorm.weight"), "enorm"),
    ("deepseek_v3", exchange("enorm.weight", "{L}.final_layernorm.weight"), "mtp.layers.0.final_layernorm"),
    ("deepseek_v3", rotate_depths, "mtp.layers.0."),
    ("deepseek_v3", frame_of_another_depth, "mtp.layers.1.eh_proj"),
    ("deepseek_v3", bias_in_bf16, "router.expert_bias"),
]


def convert_with(table, source, causeway, folder, expect=0):
    (folder / "table.jsonc").write_text(json.dumps(table))
    return causeway("convert-hf", source.folder, folder / "root", "--mapping", folder / "table.jsonc", expect=expect)


def what_differs(source, folder):
    expected = sharding.dist_keys(source.arch, mapping.to_megatron(source.arch, source.state), "te")
    return dcp.different(expected, dcp.read_tensors(str(folder / "root" / "iter_0000000")))


@pytest.mark.parametrize("name", SOURCES)
def test_the_table_as_it_is_is_right(name, sources, causeway, tmp_path):
    """The instrument: without a mistake nothing differs."""
    source = sources(SOURCES[name])
    convert_with(read_table(name), source, causeway, tmp_path)
    assert not what_differs(source, tmp_path)


@pytest.mark.parametrize("name, mistake, where", MISTAKES, ids=[f"{name}-{i}-{where}" for i, (name, _, where) in enumerate(MISTAKES)])
def test_a_mistake_is_noticed(name, mistake, where, sources, causeway, tmp_path):
    source, table = sources(SOURCES[name]), read_table(name)
    mistake(table)
    convert_with(table, source, causeway, tmp_path)
    found = what_differs(source, tmp_path)
    assert found and any(where in line for line in found)


def test_a_round_trip_proves_nothing(sources, causeway, tmp_path):
    """The same mistake, both ways: the files come back."""
    source, table = sources("deepseek_v3_mtp3"), read_table("deepseek_v3")
    exchange_halves("{e}.linear_fc1.weight")(table)
    convert_with(table, source, causeway, tmp_path)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--mapping", tmp_path / "table.jsonc")
    assert digests(tmp_path / "hf") == digests(source.folder)


def test_depths_one_layer_early_are_refused(sources, causeway, tmp_path):
    table = read_table("deepseek_v3")
    depths_one_layer_early(table)
    done = convert_with(table, sources("deepseek_v3_mtp3"), causeway, tmp_path, expect=3)
    assert "twice" in done.stderr


def fp8_blocks(table):
    (found,) = [entry for entry in table["quantization"] if entry["scale"] == ".weight_scale_inv" and "block" in entry]
    return found


def test_transposed_scales_are_refused(sources, causeway, tmp_path):
    """Blocks of rows x columns read as columns x rows: the scales' shapes no longer fit."""
    source, table = sources("fp8_bf16_scales"), read_table("deepseek_v3")
    assert source.fp8.block[0] != source.fp8.block[1]
    fp8_blocks(table)["block"].reverse()
    done = convert_with(table, source, causeway, tmp_path, expect=3)
    assert "_scale_inv: shape" in done.stderr


def test_blocks_of_another_size_are_noticed(sources, causeway, tmp_path):
    """Where shapes happen to fit, values tell: blocks of 128 read as blocks of 131."""
    source, table = sources("fp8"), read_table("deepseek_v3")
    fp8_blocks(table)["block"] = ["131", "131"]
    convert_with(table, source, causeway, tmp_path)
    assert what_differs(source, tmp_path)


# ---- every row of every table ----


def families_of(row):
    family = (row[3] if len(row) > 3 else {}).get("family", [])
    return {family} if isinstance(family, str) else set(family)


def rows_of(name):
    """But those of MTP that training added, which these sources do not have: test_added_mtp.py has one."""
    absent = set() if name == "deepseek_v3" else {"mtp", "mtp_frame"}
    rows = enumerate(read_table(name)["rows"])
    return [(name, number, row[0]) for number, row in rows if not families_of(row) or families_of(row) - absent]


ROWS = [entry for name in SOURCES for entry in rows_of(name)]


@pytest.mark.parametrize("name, number, megatron", ROWS, ids=[f"{name}-{megatron}" for name, _, megatron in ROWS])
def test_a_row_with_the_names_of_another_is_noticed(name, number, megatron, sources, causeway, tmp_path):
    """Of the row whose shapes are the likeliest to hide it."""
    source, table = sources(SOURCES[name]), read_table(name)
    mine = table["rows"][number]
    # Rows for other layers may read the same tensors: to exchange those is no mistake.
    others = [other for other in table["rows"] if hf_parts(other) != hf_parts(mine)]
    swap_names(mine, likeliest_to_hide(mine, others))
    assert is_refused(table, source, causeway, tmp_path) or what_differs(source, tmp_path)
