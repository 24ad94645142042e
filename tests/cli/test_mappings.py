"""mappings list | show | check, and a table of one's own with --mapping."""
import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import pytest

import table_statement
from helpers import DATA, binary, check_message, convert, copy_tree, export, hashes, hf_fixture, nothing_written, run
from safetensors_raw import Model

TABLES = DATA.parent / "mappings" / "tables"
QWEN = hf_fixture("qwen3_dense")


def full(name):
    """The table with the fragments that it uses, for edits of what is in them."""
    return run("mappings", "show", name, "--full", expect=0).out


def test_list():
    done = run("mappings", "list", expect=0)
    for table in TABLES.glob("*.jsonc"):
        assert table.name in done.out
    assert "LlamaForCausalLM" in done.out and "Qwen3ForCausalLM" in done.out


def test_the_list_in_the_readme():
    """tests/interop/test_evidence.py has what it says of evidence."""
    done = subprocess.run([sys.executable, DATA.parent / "scripts" / "model_list.py"], check=True, capture_output=True, text=True)
    assert f"<!-- model list: scripts/model_list.py -->\n{done.stdout}<!-- end of the model list -->\n" in (DATA.parent / "README.md").read_text(), \
        "scripts/model_list.py write"


@pytest.mark.parametrize("name", ("Qwen3ForCausalLM", "LlamaForCausalLM", "Qwen2ForCausalLM"))
def test_show(name):
    done = run("mappings", "show", name, expect=0)
    assert "linear_qkv.weight" in done.out and "q_proj.weight" in done.out
    done = run("mappings", "show", name, "--layer", "7", expect=0)
    assert "decoder.layers.7.mlp.linear_fc1.weight" in done.out and "layers.7.mlp.gate_proj.weight" in done.out
    rows = [line for line in done.out.splitlines() if not re.match(r"(decoder|mtp|mtp_frame) ", line)]  # families say how they count
    assert not any("{l}" in row for row in rows)


def test_show_experts():
    out = run("mappings", "show", "DeepseekV3ForCausalLM", expect=0).out
    lines = out.splitlines()
    assert sum("experts.experts.{e}.linear_fc1.weight" in line and "for each e of experts" in line for line in lines) == 1
    assert any("{L}.input_layernorm.weight" in line and "in decoder, mtp" in line for line in lines)
    assert any("mtp.layers.{l}.transformer_layer" in line and "MTP, num_nextn_predict_layers" in line for line in lines)
    assert any("expert_bias" in line and "stays F32" in line for line in lines)
    assert any("embed_tokens.weight   equals {P}embed_tokens.weight   in mtp_frame" in line for line in lines)
    assert "F8_E4M3 X.weight with F32 or BF16 X.weight_scale_inv" in out
    out = run("mappings", "show", "deepseek_v3", "--layer", "1", expect=0).out
    assert "mtp.layers.1.transformer_layer.mlp.router.weight" in out and "{P}layers.{1 + layers}.mlp.gate.weight" in out
    assert "decoder.layers.1.mlp.experts.experts.{e}.linear_fc2.weight" in out


def test_show_what_nothing_counts():
    out = run("mappings", "show", "DeepseekV4ForCausalLM", expect=0).out
    assert "MTP layers beyond num_nextn_predict_layers   if num_nextn_predict_layers != null && num_nextn_predict_layers == 0" in out
    assert "MTP layers beyond" not in run("mappings", "show", "DeepseekV3ForCausalLM", expect=0).out


NAMES = sorted(path.stem for path in TABLES.glob("*.jsonc"))


@pytest.fixture(scope="module")
def listed():
    """{table: what the list says of it}"""
    return {table["table"].removesuffix(".jsonc"): table for table in json.loads(run("mappings", "list", "--json", expect=0).out)}


@pytest.mark.parametrize("name", NAMES)
def test_the_list_says_what_the_table_does(name, listed):
    """Whether it reads quantized weights, and whether multi-token prediction is its own or what training added."""
    table, uses = table_statement.read_jsonc(full(name)), table_statement.read_jsonc((TABLES / f"{name}.jsonc").read_text())["use"]
    assert (listed[name]["dtypes"] != ["BF16", "F16", "F32"]) == bool(table.get("quantization"))
    assert (listed[name]["mtp"] != "none") == any(family.get("mtp") for family in table["families"].values())
    assert listed[name]["mtp"].startswith("added by training") == ("added_mtp" in uses)


@pytest.mark.parametrize("name", NAMES)
def test_full_is_what_the_table_was(name):
    """Row for row: a change to a fragment shows here in every table that it reaches (table_statement.py freezes what is meant)."""
    assert table_statement.statement(table_statement.read_jsonc(full(name))) == table_statement.frozen()[name]


@pytest.mark.parametrize("name", NAMES)
def test_full_is_a_table(name, tmp_path):
    """The same one, to anybody who reads it: a conversion with it differs in nothing but its name."""
    fixture = {"qwen3": QWEN, "llama": hf_fixture("llama_tied")}.get(name)
    if fixture is None:
        return
    (tmp_path / f"{name}.jsonc").write_text(full(name))
    convert(fixture, tmp_path / "out", "--mapping", tmp_path / f"{name}.jsonc")
    convert(fixture, tmp_path / "plain")
    assert hashes(tmp_path / "out" / "iter_0000000") == hashes(tmp_path / "plain" / "iter_0000000")
    assert (tmp_path / "out" / "causeway" / "mapping.jsonc").read_text() == full(name)


def test_source_is_the_file(tmp_path):
    for name in NAMES:
        assert run("mappings", "show", name, "--source", expect=0).out == (TABLES / f"{name}.jsonc").read_text()
    assert run("mappings", "show", "LlamaForCausalLM", "--source", expect=0).out == (TABLES / "llama.jsonc").read_text()
    assert run("mappings", "show", "common/rope", "--source", expect=0).out == (TABLES / "common" / "rope.jsonc").read_text()
    check_message(run("mappings", "show", "common/none", "--source"), 5, "common/none")
    check_message(run("mappings", "show", "llama", "--source", "--full"), 2)


def test_show_what_there_is_not():
    check_message(run("mappings", "show", "GPT9"), 5, "GPT9", "LlamaForCausalLM")
    check_message(run("mappings", "show", "DeepseekV41ForCausalLM"), 5, "DeepseekV41ForCausalLM", "another architecture", "convert a DeepSeek-V4")
    check_message(run("mappings", "show", "\x1b[2J"), 5, "\\x1b[2J")


@pytest.mark.parametrize("table,fixture", (("qwen3", "qwen3_dense"), ("llama", "llama_tied")))
def test_check(table, fixture):
    done = run("mappings", "check", TABLES / f"{table}.jsonc", hf_fixture(fixture), expect=0)
    assert f"{len(Model(hf_fixture(fixture)).names())} tensors" in done.out


def test_check_of_another_model():
    check_message(run("mappings", "check", TABLES / "llama.jsonc", QWEN), 3, "q_norm")


def with_last_bit_flipped(tensor):
    return dataclasses.replace(tensor, data=tensor.data[:-1] + bytes([tensor.data[-1] ^ 1]))


def copy_of_table(tmp_path, name, *replacements):
    text = full(name)
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "mine.jsonc").write_text(text)
    return tmp_path / "mine.jsonc"


def test_check_evaluates_the_configuration(tmp_path):
    folder = copy_tree(hf_fixture("qwen3_moe"), tmp_path / "hf")
    config = json.loads((folder / "config.json").read_text())
    config["rope_scaling"] = {"rope_type": "linear"}  # without its factor
    (folder / "config.json").write_text(json.dumps(config))
    check_message(run("mappings", "check", TABLES / "qwen3_moe.jsonc", folder), 3, "qwen3_moe.jsonc", "common/rope.jsonc", "factor is missing")
    table = copy_of_table(tmp_path, "qwen3", ('"hidden_size": "hidden"', '"hidden_sizes": "hidden"'))
    check_message(run("mappings", "check", table, QWEN), 3, "lacks hidden_size")


def test_check_compares_copies(tmp_path):
    """A head that is not the embedding's, where the configuration ties them."""
    folder = copy_tree(hf_fixture("llama_tied"), tmp_path / "hf")
    model = Model(folder)
    shard = next(shard for shard in model.shards.values() if "model.embed_tokens.weight" in shard)
    shard["lm_head.weight"] = shard["model.embed_tokens.weight"]
    model.save()
    run("mappings", "check", TABLES / "llama.jsonc", folder, expect=0)
    shard["lm_head.weight"] = with_last_bit_flipped(shard["lm_head.weight"])
    model.save()
    check_message(run("mappings", "check", TABLES / "llama.jsonc", folder), 3, "lm_head.weight: differs from model.embed_tokens.weight")


def test_check_with_mtp_left_out():
    for what, tensors in (("keep", 0), ("drop", 0)):
        done = run("mappings", "check", TABLES / "deepseek_v3.jsonc", hf_fixture("deepseek_v3_mtp2"), "--mtp", what, expect=0)
        become = int(re.search(r"tensors become (\d+)", done.out)[1])
        assert tensors == 0 or become < tensors
        tensors = become
    check_message(run("mappings", "check", TABLES / "deepseek_v3.jsonc", hf_fixture("deepseek_v3_mtp2"), "--mtp", "some"), 2)


def test_check_warns_of_names_that_no_table_has(tmp_path):
    table = copy_of_table(tmp_path, "qwen3", ("linear_qkv.weight", "linear_qkvv.weight"), ('"layernorm_epsilon"', '"layer_norm_epsilon"'),
                          ('"{L}.mlp.linear_fc2"', '"{L}.mlp.linear_fc_2"'))
    done = run("mappings", "check", table, QWEN, expect=0)
    warnings = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 3, done.err
    assert "linear_qkvv.weight' (the nearest is '{L}.self_attention.linear_qkv.weight')" in warnings[0]
    assert "module '{L}.mlp.linear_fc_2' (the nearest is '{L}.mlp.linear_fc2')" in warnings[1]
    assert "field 'layer_norm_epsilon' (the nearest is 'layernorm_epsilon')" in warnings[2]
    assert not run("mappings", "check", TABLES / "qwen3.jsonc", QWEN, expect=0).err


def test_own_table_of_fragments(tmp_path):
    """The documentation's way: what is built in is used by name."""
    table = tmp_path / "mine.jsonc"
    table.write_text((TABLES / "llama.jsonc").read_text().replace("LlamaForCausalLM", "MineForCausalLM"))
    run("mappings", "check", table, hf_fixture("llama_tied"), expect=0)
    table.write_text(table.read_text().replace('"mlp_norm"', '"mlp_morn"'))
    check_message(run("mappings", "check", table, hf_fixture("llama_tied")), 3, "mine.jsonc: 'use': unknown fragment 'mlp_morn'", "mlp_norm")
    table.write_text((TABLES / "llama.jsonc").read_text().replace('"gpt", ', '"gpt", {"fragment": "moe", "family": "decoder"}, '))
    check_message(run("mappings", "check", table, hf_fixture("llama_tied")), 3, "experts is missing")


@pytest.fixture
def own(tmp_path):
    """A model whose tensors have other names, and the table that says so."""
    folder = copy_tree(QWEN, tmp_path / "hf")
    model = Model(folder)
    for name, shard in model.shards.items():
        model.shards[name] = {tensor.replace("down_proj", "contract"): value for tensor, value in shard.items()}
    model.save()
    table = tmp_path / "mine.jsonc"
    table.write_text(full("qwen3").replace("down_proj", "contract"))
    return folder, table


def test_own_table(own, tmp_path):
    folder, table = own
    check_message(run("convert-hf", folder, tmp_path / "out"), 3, "contract", "down_proj")
    run("mappings", "check", table, folder, expect=0)
    convert(folder, tmp_path / "out", "--mapping", table)
    export(tmp_path / "out", tmp_path / "back", "--mapping", table)
    assert hashes(tmp_path / "back") == hashes(folder)
    done = run("verify", folder, tmp_path / "out", "--mode", "hash", "--mapping", table, expect=0)
    assert "table    mine.jsonc is not built in: no independent check of it exists\n" in done.out
    # An option that is given counts, whatever the sidecar remembers.
    check_message(run("export-to-hf", tmp_path / "out", tmp_path / "x", "--arch", "Qwen3ForCausalLM"), 3, "contract")


def test_own_table_is_remembered(own, tmp_path):
    """Neither the file nor the option is needed again."""
    folder, table = own
    convert(folder, tmp_path / "out", "--mapping", table)
    table.unlink()
    export(tmp_path / "out", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(folder)
    done = run("verify", folder, tmp_path / "out", "--mode", "hash", expect=0)
    assert "no independent check" in done.out
    kept = tmp_path / "out" / "causeway" / "mapping.jsonc"
    kept.write_text(kept.read_text().replace("contract", "contrast"))
    check_message(run("export-to-hf", tmp_path / "out", tmp_path / "x"), 3, "mapping.jsonc", "damaged")
    kept.unlink()
    check_message(run("export-to-hf", tmp_path / "out", tmp_path / "x"), (3, 4), "mapping.jsonc")


def test_a_remembered_table_is_input(own, tmp_path):
    """What a sidecar says of a table is checked before it is used."""
    folder, table = own
    convert(folder, tmp_path / "out", "--mapping", table)
    manifest = tmp_path / "out" / "causeway" / "manifest.json"
    text = manifest.read_text()
    for wrong in (5, {}, {"file": 1, "crc32": "00000000"}, {"file": "x", "crc32": 7}, {"file": "\x1b[2J", "crc32": "00000000"}):
        changed = json.loads(text)
        changed["choices"]["mapping"] = wrong
        manifest.write_text(json.dumps(changed))
        check_message(run("export-to-hf", tmp_path / "out", tmp_path / "x"), 3, "causeway")


def test_what_remembers_a_table_is_replaced(own, tmp_path):
    folder, table = own
    convert(folder, tmp_path / "out", "--mapping", table)
    before = hashes(tmp_path / "out")
    convert(folder, tmp_path / "out", "--mapping", table, "--overwrite")
    assert hashes(tmp_path / "out") == before


def test_a_remembered_table_is_no_symlink(own, tmp_path):
    folder, table = own
    convert(folder, tmp_path / "out", "--mapping", table)
    kept = tmp_path / "out" / "causeway" / "mapping.jsonc"
    kept.rename(tmp_path / "elsewhere.jsonc")
    kept.symlink_to(tmp_path / "elsewhere.jsonc")
    check_message(run("export-to-hf", tmp_path / "out", tmp_path / "x"), 3, "mapping.jsonc", "symlink")


def test_built_in_tables_are_not_copied(tmp_path):
    convert(QWEN, tmp_path / "out")
    sidecar = tmp_path / "out" / "causeway"
    assert not (sidecar / "mapping.jsonc").exists()
    assert not {"mapping", "arch"} & set(json.loads((sidecar / "manifest.json").read_text())["choices"])


def test_the_forward_pass_need_not_know_an_own_table(own, tmp_path):
    """Without --mode the bytes decide; --mode logits, asked for, says that it cannot."""
    if not pathlib.Path(binary()).with_name("causeway-verify").exists():
        pytest.skip("causeway-verify was not built")
    folder, table = own
    config = folder / "config.json"
    config.write_text(config.read_text().replace("Qwen3ForCausalLM", "MineForCausalLM").replace('"model_type": "qwen3"', '"model_type": "mine"'))
    convert(folder, tmp_path / "out", "--mapping", table)
    done = run("verify", folder, tmp_path / "out", expect=0)
    assert "notice: comparing bytes only; the forward pass does not know this model" in done.err
    run("verify", folder, tmp_path / "out", "--mode", "logits", expect=5)
    model = Model(folder)
    shard = next(shard for shard in model.shards.values() if "model.norm.weight" in shard)
    shard["model.norm.weight"] = with_last_bit_flipped(shard["model.norm.weight"])
    model.save()
    run("verify", folder, tmp_path / "out", expect=1)


BROKEN = {
    "empty": lambda text: "",
    "not JSON": lambda text: text[: len(text) // 2],
    "an array": lambda text: "[]",
    "no rows": lambda text: re.sub(r'"rows"', '"rowz"', text),
    "unknown op": lambda text: text.replace('"vocab", "{P}embed', '"transmogrify", "{P}embed'),
    "unknown dimension": lambda text: text.replace("[vocab, hidden]", "[vocabulary, hidden]"),
    "division by zero": lambda text: text.replace("[vocab, hidden]", "[vocab / 0, hidden]"),
    "deep expression": lambda text: text.replace("[vocab, hidden]", "[" + "(" * 100_000 + "vocab" + ")" * 100_000 + ", hidden]"),
    "a row twice": lambda text: text.replace('"rows": [', '"rows": [ ["embedding.word_embeddings.weight", "vocab", "{P}embed_tokens.weight [vocab, hidden]"],'),
    "control characters": lambda text: text.replace("embed_tokens", "\\u001b[2J"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_table(case, tmp_path):
    table = tmp_path / "mine.jsonc"
    text = full("qwen3")
    table.write_text(BROKEN[case](text))
    assert table.read_text() != text
    with nothing_written(tmp_path):
        done = run("convert-hf", QWEN, tmp_path / "out", "--mapping", table)
    print(done.err)
    check_message(done, 3, ("mine.jsonc", "\\x1b[2J"))


def test_table_that_is_not_there(tmp_path):
    check_message(run("convert-hf", QWEN, tmp_path / "out", "--mapping", tmp_path / "none.jsonc"), (3, 4), "none.jsonc")


def test_arch(tmp_path):
    """config.json need not say it, when the user does."""
    folder = copy_tree(QWEN, tmp_path / "hf")
    config = folder / "config.json"
    config.write_text(config.read_text().replace("Qwen3ForCausalLM", "MyFineTune").replace('"model_type": "qwen3"', '"model_type": "mine"'))
    check_message(run("convert-hf", folder, tmp_path / "out"), 5, "MyFineTune", "--mapping")
    convert(folder, tmp_path / "out", "--arch", "Qwen3ForCausalLM")
    for option in ((), ("--arch", "Qwen3ForCausalLM")):
        export(tmp_path / "out", tmp_path / f"back{len(option)}", *option)
        assert hashes(tmp_path / f"back{len(option)}") == hashes(folder)
    run("verify", folder, tmp_path / "out", "--mode", "hash", expect=0)
    check_message(run("export-to-hf", tmp_path / "out", tmp_path / "x", "--arch", "LlamaForCausalLM"), 3, "qk_layernorm: checkpoint true, config.json false")
