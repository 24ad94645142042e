"""Natural mistakes in the table of DeepSeek-V4, as test_table_mistakes.py makes them in the others: each is noticed by
oracles/deepseek_v4.py, or refused because shapes or names no longer fit."""
import json

import pytest

from interop.test_fp8 import digests
from interop.test_table_mistakes import exchange, exchange_halves, hf_parts, read_table, rotate_experts, row, split_part, swap_names
from oracles import dcp, deepseek_v4, deepseek_v4_names, hf_files

SOURCE = "mistakes"


def set_option(megatron, name, value):
    def edit(table):
        row(table, megatron)[3][name] = value
    return edit


def set_family(name, value, *families):
    def edit(table):
        for family in families:
            table["families"][family][name] = value
    return edit


def from_another_layer(megatron, family, hf):
    """One row only: its family is a copy that reads other layers."""
    def edit(table):
        table["families"]["another"] = {**table["families"][family], "hf": hf}
        row(table, megatron)[3]["family"] = "another"
    return edit


def set_value(name, value):
    def edit(table):
        table["values"][name] = value
    return edit


def replace_in_row(megatron, old, new):
    def edit(table):
        found = row(table, megatron)
        parts = [part.replace(old, new) for part in hf_parts(found)]
        assert parts != hf_parts(found)
        found[2] = parts if isinstance(found[2], list) else parts[0]
    return edit


def both(*edits):
    def edit(table):
        for each in edits:
            each(table)
    return edit


CORE = "{L}.self_attention.core_attention."
FIRST_TWO_EXCHANGED, NEXT_DEPTH = "{P}layers.{l < 2 ? 1 - l : l}", "{P}mtp.{(l + 1) % depths}"
ATTENTION_HC, MLP_HC = "self_attention_hyper_connection.", "mlp_hyper_connection."

# {what: (edit, part of a key that must differ)}
MISTAKES = {
    "gate and up of the experts": (exchange_halves("{e}.linear_fc1.weight"), "experts.experts.linear_fc1"),
    "gate and up of the shared experts": (exchange_halves("shared_experts.linear_fc1.weight"), "shared_experts.linear_fc1"),
    "down for up": (both(replace_in_row("{e}.linear_fc1.weight", "w3", "w2"), replace_in_row("{e}.linear_fc2.weight", "w2", "w3")), "experts.experts"),
    "experts rotated": (rotate_experts("{e}.linear_fc1.weight"), "experts.experts.linear_fc1"),
    "downs of the experts rotated": (rotate_experts("{e}.linear_fc2.weight"), "experts.experts.linear_fc2"),
    "alphas reversed": (set_option("self_attention_hyper_connection.alpha", "split", ["_res", "_post", "_pre"]), ATTENTION_HC + "alpha_pre"),
    "alphas rotated": (set_option("mlp_hyper_connection.alpha", "split", ["_post", "_res", "_pre"]), MLP_HC + "alpha_post"),
    "alphas of the other sublayer": (exchange("self_attention_hyper_connection.alpha", "mlp_hyper_connection.alpha"), ATTENTION_HC + "alpha_res"),
    "projection of the other sublayer": (exchange("self_attention_hyper_connection.mapping_proj.weight", "mlp_hyper_connection.mapping_proj.weight"), MLP_HC + "mapping_proj"),
    "bias of the other sublayer": (exchange("self_attention_hyper_connection.bias", "mlp_hyper_connection.bias"), MLP_HC + "bias"),
    "e_proj and h_proj": (exchange("e_proj.weight", "h_proj.weight"), "mtp.layers.0.e_proj"),
    "enorm and hnorm": (exchange("enorm.weight", "hnorm.weight"), "mtp.layers.1.hnorm"),
    "a depth's final norm for enorm": (exchange("{L}.enorm.weight", "{L}.final_layernorm.weight"), "mtp.layers.0.final_layernorm"),
    "norms of a layer": (exchange("{L}.input_layernorm.weight", "{L}.pre_mlp_layernorm.weight"), "input_layernorm"),
    "wkv and wgate": (exchange(CORE + "compressor.linear_wkv.weight", CORE + "compressor.linear_wgate.weight"), "core_attention.compressor.linear_wkv"),
    "wkv and wgate of the indexer": (exchange("indexer.compressor.linear_wkv.weight", "indexer.compressor.linear_wgate.weight"), "indexer.compressor.linear_wgate"),
    "ape of another layer": (from_another_layer(CORE + "compressor.ape", "decoder", FIRST_TWO_EXCHANGED), "core_attention.compressor.ape"),
    "ids of another layer": (from_another_layer("router.tid2eid", "decoder", FIRST_TWO_EXCHANGED), "decoder.layers.0.mlp.router.tid2eid"),
    "head of another depth": (from_another_layer("{L}.hc_head_fn", "mtp_frame", NEXT_DEPTH), "mtp.layers.0.hc_head_fn"),
    "layers exchanged": (set_family("hf", FIRST_TWO_EXCHANGED, "decoder"), "decoder.layers.1."),
    "depths exchanged": (set_family("hf", NEXT_DEPTH, "mtp", "mtp_frame"), "mtp.layers.0."),
    "the frame of another depth": (set_family("hf", NEXT_DEPTH, "mtp_frame"), "mtp.layers.1.e_proj"),
    "the layer of another depth": (set_family("hf", NEXT_DEPTH, "mtp"), "mtp.layers.1.transformer_layer"),
    "bias in bf16": (set_option("router.expert_bias", "keep", "BF16"), "router.expert_bias"),
    "ape in bf16": (set_option(CORE + "compressor.ape", "keep", "BF16"), "compressor.ape"),
    "sink in bf16": (set_option("attn_sink", "keep", "BF16"), "attn_sink"),
    "alphas in bf16": (set_option("mlp_hyper_connection.alpha", "keep", "BF16"), MLP_HC + "alpha_pre"),
    "ids of 64 bits": (set_option("router.tid2eid", "keep", "I64"), "router.tid2eid"),
    # of 384 rows, so that there are three blocks either way
    "scales of blocks of 131 rows": (lambda table: table["quantization"][0].update(block=["131", "128"]), "linear_q_up_proj"),
}


# Of these the shapes, the names or the dtypes no longer fit. {what: (edit, words)}
REFUSED = {
    "halves of a row's scales": (lambda table: table["quantization"][1].update(block=["1", "16"]), [".scale: shape"]),
    "scales of rows and columns exchanged": (lambda table: table["quantization"][1].update(block=["32", "1"]), [".scale: shape"]),
    "scales of two rows": (lambda table: table["quantization"][1].update(block=["2", "16"]), [".scale: shape"]),
    "scales of 64 x 64": (lambda table: table["quantization"][0].update(block=["64", "64"]), [".scale: shape"]),
    "the scales of DeepSeek-V3": (lambda table: table["quantization"][0].update(scale=".weight_scale_inv"), ["without its scales"]),
    "no E8M0": (lambda table: table["quantization"][0].update(scale_dtypes=["F32"]), ["F8_E8M0"]),
    "depths one early": (set_family("hf", "{P}mtp.{l - 1}", "mtp", "mtp_frame"), ["layer index -1 is negative"]),
    "depths one late": (set_family("hf", "{P}mtp.{l + 1}", "mtp", "mtp_frame"), ["mtp.2.", "--mtp drop"]),
    "depths as layers": (set_family("hf", "{P}layers.{layers + l}", "mtp", "mtp_frame"), ["layers.4.", "--mtp drop"]),
    "two depths, one read twice": (set_family("hf", "{P}mtp.0", "mtp", "mtp_frame"), ["twice"]),
    "one hash layer too many": (set_value("hashed", "num_hash_layers + 1"), ["tid2eid", "missing"]),
    "no hash layers": (set_value("hashed", "0"), ["gate.bias", "missing"]),
    "ratios of the layer after": (set_family("let", {"ratio": "ratios[l + 1]", "hash": "l < hashed"}, "decoder"), ["compressor"]),
    "an indexer everywhere": (set_option("indexer.linear_weights_proj.weight", "when", "ratio > 0"), ["indexer.weights_proj", "missing"]),
    "a head forgotten": (lambda table: table["rows"].remove(row(table, "decoder.hc_head_scale")), ["unknown", "hc_head_scale"]),
    "two alphas": (set_option("mlp_hyper_connection.alpha", "split", ["_pre", "_post"]), ["hc_ffn_scale"]),
}


def convert_with(table, source, causeway, folder, expect=0):
    (folder / "table.jsonc").write_text(json.dumps(table))
    return causeway("convert-hf", source.folder, folder / "root", "--mapping", folder / "table.jsonc", expect=expect)


def what_differs(source, folder, mtp=True):
    return dcp.different(deepseek_v4.to_dist(source.state, source.config, mtp=mtp), dcp.read_tensors(folder / "root" / "iter_0000000"))


def test_the_table_as_it_is_is_right(v4_sources, causeway, tmp_path):
    """The instrument: without a mistake nothing differs."""
    source = v4_sources(SOURCE)
    convert_with(read_table("deepseek_v4"), source, causeway, tmp_path)
    assert not what_differs(source, tmp_path)


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_noticed(what, v4_sources, causeway, tmp_path):
    source, table = v4_sources(SOURCE), read_table("deepseek_v4")
    mistake, where = MISTAKES[what]
    mistake(table)
    convert_with(table, source, causeway, tmp_path)
    found = what_differs(source, tmp_path)
    assert found and any(where in line for line in found), found[:5]


@pytest.mark.parametrize("what", REFUSED)
def test_a_mistake_is_refused(what, v4_sources, causeway, tmp_path):
    source, table = v4_sources(SOURCE), read_table("deepseek_v4")
    mistake, words = REFUSED[what]
    mistake(table)
    done = convert_with(table, source, causeway, tmp_path, expect=3)
    assert all(word in done.stderr for word in words), done.stderr


def test_a_round_trip_proves_nothing(v4_sources, causeway, tmp_path):
    """The same mistake, both ways: the files come back."""
    source, table = v4_sources(SOURCE), read_table("deepseek_v4")
    MISTAKES["alphas rotated"][0](table)
    convert_with(table, source, causeway, tmp_path)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--mapping", tmp_path / "table.jsonc")
    assert digests(tmp_path / "hf") == digests(source.folder)


# ---- every row ----



def spelling(found):
    """Which rows serve which names, as their conditions say."""
    when = (found[3] if len(found) > 3 else {}).get("when", "")
    return "modules" if "stacked == 'yes'" in when else "joined" if "eh == 'joined'" in when else "release"


ROWS = [(number, found[0], spelling(found)) for number, found in enumerate(read_table("deepseek_v4")["rows"])]


def folder_of(source, how, path):
    """The same weights in names that the row is there for."""
    if how == "release":
        return source.folder
    if how == "modules":
        tensors = deepseek_v4_names.modules(deepseek_v4.plain(source.state), source.config["n_routed_experts"], deepseek_v4.Joins)
    else:
        tensors = deepseek_v4_names.older(deepseek_v4.plain(source.state), source.config["num_hidden_layers"], deepseek_v4.Joins, joined=True)
    path.mkdir()
    (path / "config.json").write_text(json.dumps({key: value for key, value in source.config.items() if key not in ("quantization_config", "expert_dtype")}))
    hf_files.write_safetensors(path, tensors)
    return path


@pytest.mark.parametrize("number, megatron, how", ROWS, ids=[f"{how}-{megatron}" for _, megatron, how in ROWS])
def test_a_row_with_the_names_of_another_is_noticed(number, megatron, how, v4_sources, causeway, tmp_path):
    """Of each other row of its family whose shapes could hide it, or of one of any shape."""
    source, rows = v4_sources(SOURCE), read_table("deepseek_v4")["rows"]
    mine, hf = rows[number], folder_of(source, how, tmp_path / "hf")
    drop = ["--mtp", "drop"] if how == "modules" else []

    def family(other):
        return (other[3] if len(other) > 3 else {}).get("family"), "{e}" in hf_parts(other)[0], len(hf_parts(other)), spelling(other) in (how, "release")

    def shape(other):
        return [split_part(part)[1] for part in hf_parts(other)]

    kin = [i for i, other in enumerate(rows) if i != number and family(other) == family(mine)]
    alike = [i for i in kin if shape(rows[i]) == shape(mine)] or kin[:1] or [(number + 1) % len(rows)]
    for other in alike:
        table = read_table("deepseek_v4")
        swap_names(table["rows"][number], table["rows"][other])
        folder = tmp_path / str(other)
        folder.mkdir()
        (folder / "table.jsonc").write_text(json.dumps(table))
        command = ("convert-hf", hf, folder / "root", "--mapping", folder / "table.jsonc", *drop)
        try:
            causeway(*command)
        except AssertionError:
            done = causeway(*command, expect=3)  # refused: shapes, names or placeholders do not fit
            assert done.stderr.startswith("causeway: ")
            continue
        assert what_differs(source, folder, mtp=not drop), rows[other][0]
