"""mappings list | show | check, and a table of one's own with --mapping."""
import re

import pytest

from helpers import DATA, check_message, convert, copy_tree, export, hashes, hf_fixture, nothing_written, run
from safetensors_raw import Model

TABLES = DATA.parent / "mappings" / "tables"
QWEN = hf_fixture("qwen3_dense")


def test_list():
    done = run("mappings", "list", expect=0)
    for table in TABLES.glob("*.jsonc"):
        assert table.name in done.out
    assert "LlamaForCausalLM" in done.out and "Qwen3ForCausalLM" in done.out


@pytest.mark.parametrize("name", ("Qwen3ForCausalLM", "LlamaForCausalLM", "Qwen2ForCausalLM"))
def test_show(name):
    done = run("mappings", "show", name, expect=0)
    assert "linear_qkv.weight" in done.out and "q_proj.weight" in done.out
    done = run("mappings", "show", name, "--layer", "7", expect=0)
    assert "decoder.layers.7.mlp.linear_fc1.weight" in done.out and "layers.7.mlp.gate_proj.weight" in done.out and "{l}" not in done.out


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
    # Tables without families to tell apart do not name them.
    assert " in decoder" not in run("mappings", "show", "MixtralForCausalLM", expect=0).out


def test_show_what_nothing_counts():
    out = run("mappings", "show", "DeepseekV4ForCausalLM", expect=0).out
    assert "MTP layers beyond num_nextn_predict_layers   if num_nextn_predict_layers != null && num_nextn_predict_layers == 0" in out
    assert "MTP layers beyond" not in run("mappings", "show", "DeepseekV3ForCausalLM", expect=0).out


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


@pytest.fixture
def own(tmp_path):
    """A model whose tensors have other names, and the table that says so."""
    folder = copy_tree(QWEN, tmp_path / "hf")
    model = Model(folder)
    for name, shard in model.shards.items():
        model.shards[name] = {tensor.replace("down_proj", "contract"): value for tensor, value in shard.items()}
    model.save()
    table = tmp_path / "mine.jsonc"
    table.write_text((TABLES / "qwen3.jsonc").read_text().replace("down_proj", "contract"))
    return folder, table


def test_own_table(own, tmp_path):
    folder, table = own
    check_message(run("convert-hf", folder, tmp_path / "out"), 3, "contract", "down_proj")
    run("mappings", "check", table, folder, expect=0)
    convert(folder, tmp_path / "out", "--mapping", table)
    export(tmp_path / "out", tmp_path / "back", "--mapping", table)
    assert hashes(tmp_path / "back") == hashes(folder)
    run("verify", folder, tmp_path / "out", "--mode", "hash", "--mapping", table, expect=0)
    check_message(run("export-to-hf", tmp_path / "out", tmp_path / "x"), 3, "contract")


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
    text = (TABLES / "qwen3.jsonc").read_text()
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
    export(tmp_path / "out", tmp_path / "back", "--arch", "Qwen3ForCausalLM")
    assert hashes(tmp_path / "back") == hashes(folder)
