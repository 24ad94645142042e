"""Qwen2.5-VL and Qwen3-VL, dense and with experts: what transformers saves, and the releases' spellings of it, there and back.

The text models are Qwen2's, Qwen3's and Qwen3-MoE's, so that real megatron-core computes them; transformers' own classes of images and
text give the logits of a text. The towers are compared, not run: Megatron-Bridge has Qwen2.5-VL's as transformers' modules, name by name
(modeling_qwen25_vl.py), and Qwen3-VL's as its own, of which oracles/qwen3_5.py has all but the further mergers (transformer_block.py).
"""
import dataclasses
import json
import shutil

import pytest
import torch
import transformers

from interop import cases
from interop.test_forward import write_reference
from interop.test_table_mistakes import read_table, row, swap_names
from oracles import dcp, hf_files, mapping, qwen3_5, qwen_vl, sharding
from oracles.arch import Moe, awkward
from oracles.qwen_vl import Case

_QWEN2 = awkward("qwen2", tied=False, dtype="float32", head_dim=12, rope_base=1e6)
_MOE = awkward("qwen3_moe", tied=False, dtype="float32", rope_base=5e6)
CASES = {
    "qwen2_5_vl": Case("qwen2_5_vl", _QWEN2, (2, 2, 2)),
    # The keys of the text at the top of config.json, and "mrope".
    "qwen2_5_vl_released": Case("qwen2_5_vl", dataclasses.replace(_QWEN2, tied=True), (2, 2, 2), "released"),
    "qwen2_5_vl_modules": Case("qwen2_5_vl", _QWEN2, (2, 2, 2), "modules"),
    "qwen3_vl": Case("qwen3_vl", awkward("qwen3", tied=False, dtype="float32", rope_base=5e6), (4, 2, 2)),
    "qwen3_vl_tied": Case("qwen3_vl", awkward("qwen3", tied=True, dtype="float32", rope_base=5e6), (4, 2, 2)),
    "qwen3_vl_moe": Case("qwen3_vl_moe", _MOE, (4, 2, 2)),
    # Matrices of experts as [in, out].
    "qwen3_vl_moe_released": Case("qwen3_vl_moe", _MOE, (4, 2, 2), "released"),
    # gate_up_proj is square, and so says nothing.
    "qwen3_vl_moe_square": Case("qwen3_vl_moe", dataclasses.replace(_MOE, moe=Moe(experts=4, topk=2, ffn=36)), (4, 2, 2), "released"),
    "qwen3_vl_moe_square_down": Case("qwen3_vl_moe", dataclasses.replace(_MOE, moe=Moe(experts=4, topk=2, ffn=72)), (4, 2, 2), "released"),
}


@pytest.fixture(scope="module")
def vl(tmp_path_factory):
    made = {}

    def source(name):
        if name not in made:
            made[name] = qwen_vl.make(CASES[name], tmp_path_factory.mktemp(f"vl-{name}") / "model", seed=len(CASES[name].model))
        return made[name]
    return source


@pytest.fixture(scope="module")
def vl_root(vl, causeway, tmp_path_factory):
    made = {}

    def root(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(f"vl-root-{name}") / "root"
            causeway("convert-hf", vl(name).folder, made[name])
        return made[name]
    return root


# ---- what must be where ----


def text_of(state):
    """The text model's tensors by the names of the text model on its own, experts one by one."""
    out = {}
    for name, tensor in state.items():
        if "visual." in name:
            continue
        name = name.replace("model.language_model.", "model.")
        if ".mlp.experts." not in name:
            out[name] = tensor
            continue
        prefix, _, kind = name.rpartition(".")
        for expert, each in enumerate(tensor):
            parts = dict(zip(("gate_proj", "up_proj"), each.chunk(2))) if kind == "gate_up_proj" else {"down_proj": each}
            out.update({f"{prefix}.{expert}.{part}.weight": rows.contiguous() for part, rows in parts.items()})
    return out


def parameters(source):
    """Of the text model, by Megatron's names."""
    return mapping.to_megatron(source.case.arch, text_of(source.state))


def tower(source):
    """{torch_dist key: tensor}"""
    visual = {name: tensor for name, tensor in source.state.items() if "visual." in name}
    if source.case.model == "qwen2_5_vl":
        return visual
    out = qwen3_5.vision(qwen_vl.HEADS, qwen_vl.BLOCKS, visual)
    merger = "deepstack_merger_list."
    out.update({name.replace("model.visual.", "vision_model.decoder.").replace(".norm.", ".patch_norm."): tensor for name, tensor in visual.items() if merger in name})
    return out


def expected_keys(source, prefix="language_model."):
    return {prefix + key: tensor for key, tensor in sharding.dist_keys(source.case.arch, parameters(source)).items()}


@pytest.mark.parametrize("name", CASES)
def test_torch_reads_every_tensor(name, vl, vl_root):
    source = vl(name)
    assert not dcp.different(expected_keys(source) | tower(source), dcp.read_tensors(vl_root(name) / "iter_0000000"))


@pytest.mark.parametrize("name", CASES)
def test_both_views(name, vl, vl_root, forward, causeway, tmp_path):
    """Logits of a text by transformers' class of images and text."""
    source, ids = vl(name), cases.tokens(CASES[name].arch)
    reference = write_reference(tmp_path / "logits.safetensors", ids, [source.logits])
    forward(source.folder, reference)
    forward(vl_root(name), reference)
    causeway("verify", source.folder, vl_root(name), "--mode", "both")


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"])
def test_megatron_computes_the_same(name, vl, vl_root, pools):
    """A default-strict load by the text model under its prefix, every parameter and the logits."""
    source = vl(name)
    ids = cases.tokens(source.case.arch)
    ((values, logits),) = pools["te"].run("load_and_run", arch=source.case.arch, directory=str(vl_root(name) / "iter_0000000"), tokens=ids, prefix="language_model.")
    assert not dcp.different({key: tensor.float() for key, tensor in parameters(source).items()}, values)
    cases.close(logits, [source.logits])


# ---- back, and the text alone ----


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(name, vl, vl_root, causeway, tmp_path):
    causeway("export-to-hf", vl_root(name), tmp_path / "back")
    assert {file.name: file.read_bytes() for file in (tmp_path / "back").iterdir()} == vl(name).files


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe_released"])
def test_text_alone(name, vl, causeway, tmp_path):
    """Without prefix and tower; the sidecar gives the tower's bytes back."""
    source = vl(name)
    causeway("convert-hf", source.folder, tmp_path / "root", "--parts", "text")
    assert not dcp.different(expected_keys(source, prefix=""), dcp.read_tensors(tmp_path / "root" / "iter_0000000"))
    causeway("verify", source.folder, tmp_path / "root")
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    assert {file.name: file.read_bytes() for file in (tmp_path / "back").iterdir()} == source.files


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen2_5_vl_released", "qwen3_vl", "qwen3_vl_tied", "qwen3_vl_moe"])
def test_the_text_model_on_its_own(name, vl, vl_root, causeway, tmp_path):
    """transformers reads it as the text model that it is, and its table converts it."""
    source, folder = vl(name), tmp_path / "text"
    causeway("export-to-hf", vl_root(name), folder, "--parts", "text")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    assert type(model).__name__ in ("Qwen2ForCausalLM", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM")
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([cases.tokens(source.case.arch)])).logits[0].float()
    cases.close([logits], [source.logits])
    causeway("convert-hf", folder, tmp_path / "again")
    assert not dcp.different(expected_keys(source, prefix=""), dcp.read_tensors(tmp_path / "again" / "iter_0000000"))


def test_a_text_model_has_no_experts_as_a_release_has_them(vl_root, causeway, tmp_path):
    done = causeway("export-to-hf", vl_root("qwen3_vl_moe_released"), tmp_path / "text", "--parts", "text", expect=5)
    assert "--parts text: " in done.stderr and "mlp.experts.gate_up_proj has shape" in done.stderr


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe_released"])
def test_config_from_megatron_alone(name, vl, vl_root, causeway, tmp_path):
    source = vl(name)
    shutil.copytree(vl_root(name), tmp_path / "alone", symlinks=True, ignore=shutil.ignore_patterns("causeway"))
    causeway("export-to-hf", tmp_path / "alone", tmp_path / "derived", "--arch", source.case.model)
    assert not dcp.different(text_of(source.state), text_of(hf_files.read_safetensors(tmp_path / "derived")))
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "derived").eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([cases.tokens(source.case.arch)])).logits[0].float()
    cases.close([logits], [source.logits])


# ---- wrong tables and refusals ----

# Wrong both ways: hash mode finds nothing. {table: (rows exchanged, what differs)}
WRONG = {
    "qwen2_5_vl": ("{L}.mlp.gate_proj.weight", "{L}.mlp.up_proj.weight", "vision.blocks.0.gate"),
    "qwen3_vl": ("{L}.patch_norm.bias", "{L}.linear_fc1.bias", "vision.deepstack.0.merger.norm_bias"),
    "qwen3_vl_moe": ("{L}.patch_norm.weight", "{L}.patch_norm.bias", "vision.deepstack.0.merger.norm"),
}


@pytest.mark.mutation("S", "copy")
@pytest.mark.parametrize("name", WRONG)
def test_rows_of_a_tower_exchanged(name, vl, causeway, causeway_verify, tmp_path):
    one, other, shown = WRONG[name]
    table = read_table(name)
    swap_names(row(table, one), row(table, other))
    (tmp_path / "wrong.jsonc").write_text(json.dumps(table))
    causeway("convert-hf", vl(name).folder, tmp_path / "root", "--mapping", tmp_path / "wrong.jsonc")
    causeway("verify", vl(name).folder, tmp_path / "root", "--mode", "hash")
    assert shown in causeway_verify(vl(name).folder, tmp_path / "root", expect=1).stdout


@pytest.mark.mutation("S", "transpose")
def test_square_experts_that_are_not_transposed(vl, causeway, causeway_verify, tmp_path):
    """No shape shows it."""
    source, table = vl("qwen3_vl_moe_square"), read_table("qwen3_vl_moe")
    (found,) = [each for each in table["rows"] if each[1] == "transpose" and "gate_up_proj" in str(each[2])]
    found[1] = "copy"
    (tmp_path / "wrong.jsonc").write_text(json.dumps(table))
    causeway("convert-hf", source.folder, tmp_path / "root", "--mapping", tmp_path / "wrong.jsonc")
    causeway("verify", source.folder, tmp_path / "root", "--mode", "hash")
    assert "layers.0.experts.0.gate" in causeway_verify(source.folder, tmp_path / "root", expect=1).stdout


REFUSED = {
    "yarn": ("qwen2_5_vl", "text_config", dict(rope_parameters=dict(rope_type="yarn", rope_theta=1e6, factor=4.0)), "rope type 'yarn'"),
    "quantized": ("qwen2_5_vl", None, dict(quantization_config=dict(quant_method="awq")), "quantization_config"),
    "biases": ("qwen3_vl", "text_config", dict(attention_bias=True), "attention_bias true"),
    "more mergers than layers": ("qwen3_vl", "vision_config", dict(deepstack_visual_indexes=[0, 1, 2, 2]), "deepstack_visual_indexes"),
}


@pytest.mark.parametrize("which", REFUSED)
def test_refused_by_name(which, vl, causeway, tmp_path):
    name, section, change, message = REFUSED[which]
    shutil.copytree(vl(name).folder, tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    (config if section is None else config[section]).update(change)
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config))
    assert message in causeway("convert-hf", tmp_path / "hf", tmp_path / "root", expect=5).stderr


@pytest.mark.parametrize("name", ["visual.blocks.0.attn.qkv.bias", "visual.merger.mlp.0.weight"])
def test_a_tower_with_one_less_or_more(name, vl, causeway, tmp_path):
    """Every tensor of the tower is accounted for, and nothing else is in it."""
    source = vl("qwen2_5_vl")
    for what, change in (("less", lambda state: state.pop(name)), ("more", lambda state: state.update({name + "_more": torch.zeros(3)}))):
        shutil.copytree(source.folder, tmp_path / what)
        state = dict(source.state)
        change(state)
        hf_files.write_safetensors(tmp_path / what, state)
        assert name in causeway("convert-hf", tmp_path / what, tmp_path / f"root-{what}", expect=3).stderr
