"""DeepSeek-V4 in other spellings: transformers' modules, what transformers saves, the older names of multi-token prediction. All are
the same Megatron checkpoint, and each goes back to itself."""
import json

import pytest
import torch
import transformers

from interop import deepseek_v4_cases as v4_cases
from interop.test_forward_views import EQUAL, verdicts
from interop.test_fp8 import digests
from oracles import dcp, deepseek_v4, deepseek_v4_names, hf_files


def without_mtp(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("mtp.")}


def write_folder(folder, config, tensors, files=2):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    hf_files.write_safetensors(folder, tensors, files)
    return folder


def plain_config(config):
    return {key: value for key, value in config.items() if key not in ("quantization_config", "expert_dtype")}


def modules_folder(source, folder):
    """As released, but for the names; transformers has no MTP, so config.json promises too much."""
    tensors = deepseek_v4_names.modules(deepseek_v4.plain(source.state), source.config["n_routed_experts"], deepseek_v4.Joins)
    return write_folder(folder, plain_config(source.config), tensors)


def load(folder, dtype=torch.float32):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, output_loading_info=True, attn_implementation="eager")
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    return model.eval()


def logits(folder):
    with torch.no_grad():
        return load(folder)(torch.tensor([[(7 * i) % 113 for i in range(40)]])).logits


def check_there_and_back(folder, expected, causeway, tmp_path, *options):
    causeway("convert-hf", folder, tmp_path / "root", *options)
    assert not dcp.different(expected, dcp.read_tensors(tmp_path / "root" / "iter_0000000"))
    done = causeway("verify", folder, tmp_path / "root", "--mode", "both", "--prompt-length", "20")
    assert "identical" in done.stdout and "equal, bit for bit" in done.stdout
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", *options)
    assert digests(tmp_path / "hf") == digests(folder)


# ---- transformers ----


@pytest.mark.parametrize("name", ["fixture", "fp8fp4_odd_mtp2", "base", "bf16"])
def test_modules_of_transformers(name, v4_sources, causeway, tmp_path):
    """transformers finds every tensor under these names; config.json, which promises MTP, comes back as it was."""
    source = v4_sources(name)
    folder = modules_folder(source, tmp_path / "modules")
    load(folder)
    done = causeway("convert-hf", folder, tmp_path / "root", expect=3)
    assert "--mtp drop" in done.stderr
    check_there_and_back(folder, deepseek_v4.to_dist(source.state, source.config, mtp=False), causeway, tmp_path, "--mtp", "drop")


def test_modules_with_interleaved_gate_and_up(v4_sources, causeway, tmp_path):
    """Of stacked experts too, or the option is refused by name."""
    source = v4_sources("fixture")
    folder = modules_folder(source, tmp_path / "modules")
    command = ("convert-hf", folder, tmp_path / "root", "--mtp", "drop", "--glu-interleave", "8")
    try:
        causeway(*command)
    except AssertionError:
        assert "--glu-interleave" in causeway(*command, expect=5).stderr
        return
    expected = deepseek_v4.to_dist(source.state, source.config, mtp=False, interleave=8)
    assert not dcp.different(expected, dcp.read_tensors(tmp_path / "root" / "iter_0000000"))


@pytest.mark.parametrize("spelling", ["release", "modules"])
@pytest.mark.parametrize("name", ["fixture", "fp8fp4_odd_mtp2"])
def test_what_transformers_saves(name, spelling, v4_sources, causeway, tmp_path):
    """It loads either spelling and writes a third and a fourth, with a config.json of another form."""
    source = v4_sources(name)
    if spelling == "modules":
        folder = modules_folder(source, tmp_path / "read")
    else:
        folder = write_folder(tmp_path / "read", plain_config(source.config), deepseek_v4.plain(source.state))
    load(folder, torch.bfloat16).save_pretrained(tmp_path / "saved")
    stored = hf_files.read_safetensors(tmp_path / "saved")
    plain = deepseek_v4.plain(source.state)
    if spelling == "modules":
        expected = deepseek_v4_names.saved_modules(plain, source.config["n_routed_experts"], deepseek_v4.Joins)
    else:
        expected = deepseek_v4_names.saved(plain)
    assert stored.keys() == expected.keys() != hf_files.read_safetensors(folder).keys()
    causeway("convert-hf", tmp_path / "saved", tmp_path / "root", "--mtp", "drop")
    expected = deepseek_v4.to_dist(source.state, source.config, mtp=False)
    found = dcp.read_tensors(tmp_path / "root" / "iter_0000000")
    assert found.keys() == expected.keys()
    # transformers keeps some more parameters in fp32, which are values of bf16 all the same
    assert not dcp.different(expected, {key: tensor.to(expected[key].dtype) for key, tensor in found.items()})
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--mtp", "drop")
    assert digests(tmp_path / "hf") == digests(tmp_path / "saved")
    assert torch.equal(logits(tmp_path / "hf"), logits(folder))


def test_what_megatron_wrote_in_names_of_transformers(v4_sources, causeway, tmp_path):
    """The reference says how to call them; transformers computes the logits of the release's weights."""
    source = v4_sources("fixture")
    folder = modules_folder(source, tmp_path / "modules")
    causeway("export-to-hf", v4_cases.DEV, tmp_path / "hf", "--reference", folder, "--mtp", "drop")
    assert not dcp.different(hf_files.read_safetensors(folder), hf_files.read_safetensors(tmp_path / "hf"))
    assert torch.equal(logits(tmp_path / "hf"), logits(folder))


# ---- older names of multi-token prediction ----

OLDER = deepseek_v4_names.OLDER


@pytest.mark.parametrize("how", OLDER)
@pytest.mark.parametrize("name", ["fixture", "bf16"])
def test_older_names(name, how, v4_sources, causeway, causeway_verify, tmp_path):
    """The forward pass finds in them what it finds in the release, whose logits are known (test_forward_deepseek_v4.py)."""
    source = v4_sources(name)
    tensors = deepseek_v4_names.older(source.state, source.config["num_hidden_layers"], deepseek_v4.Joins, **OLDER[how])
    folder = write_folder(tmp_path / "older", source.config, tensors, 3)
    check_there_and_back(folder, deepseek_v4.to_dist(source.state, source.config), causeway, tmp_path)
    if name == "bf16":
        assert verdicts(causeway_verify(source.folder, folder, "--prompt-length", 9)) == EQUAL


@pytest.mark.parametrize("how", ["MTP in layers, joined", "MTP in both, joined", "MTP in model.layers, all in model"])
def test_older_names_can_be_dropped(how, v4_sources, causeway, tmp_path):
    """Draft stages too, of which Megatron-Core and the forward pass know nothing else."""
    source = v4_sources("bf16")
    tensors = deepseek_v4_names.older(source.state, source.config["num_hidden_layers"], deepseek_v4.Joins, **OLDER[how])
    folder = write_folder(tmp_path / "older", {**source.config, "dspark_block_size": 5}, tensors)
    causeway("convert-hf", folder, tmp_path / "root", "--mtp", "drop")
    assert not dcp.different(deepseek_v4.to_dist(source.state, source.config, mtp=False), dcp.read_tensors(tmp_path / "root" / "iter_0000000"))
    assert verdicts(causeway("verify", folder, tmp_path / "root")) == EQUAL


@pytest.mark.parametrize("how", OLDER)
def test_older_names_that_nothing_counts(how, v4_sources, causeway, tmp_path):
    """num_nextn_predict_layers 0: dropped by the table's rule under every name, and back."""
    source = v4_sources("fixture")
    tensors = deepseek_v4_names.older(source.state, source.config["num_hidden_layers"], deepseek_v4.Joins, **OLDER[how])
    folder = write_folder(tmp_path / "older", {**source.config, "num_nextn_predict_layers": 0}, tensors, 3)
    check_there_and_back(folder, deepseek_v4.to_dist(source.state, source.config, mtp=False), causeway, tmp_path)


# {what: new name of a tensor of multi-token prediction, or None to leave it}
ASTRAY = {
    "a prefix missed": lambda name: "model." + name,
    "a prefix missed below a module": lambda name: "language_model." + name,
    "one tensor of the depth": lambda name: "model." + name if name.endswith("enorm.weight") else name,
    "the experts only": lambda name: "model." + name if ".experts." in name else name,
    "in a layer further": lambda name: name.replace("mtp.0.", "layers.5."),
}


@pytest.mark.parametrize("what", ASTRAY)
def test_tensors_gone_astray_are_refused(what, v4_sources, causeway, tmp_path):
    """A converter that goes on without them leaves random weights."""
    source = v4_sources("fixture")
    tensors = {ASTRAY[what](name) if name.startswith("mtp.") else name: tensor for name, tensor in source.state.items()}
    folder = write_folder(tmp_path / "astray", source.config, tensors)
    done = causeway("convert-hf", folder, tmp_path / "root", expect=3)
    assert "mtp" in done.stderr or "layers.5" in done.stderr
    assert not (tmp_path / "root").exists()


def test_tensors_that_repeat_the_top(v4_sources, causeway, causeway_verify, tmp_path):
    """A depth may hold embedding and head again; equal ones are no loss and come back, others are refused."""
    source = v4_sources("fixture")
    tensors = {**source.state, "mtp.0.embed.weight": source.state["embed.weight"].clone(), "mtp.0.head.weight": source.state["head.weight"].clone()}
    folder = write_folder(tmp_path / "repeated", source.config, tensors)
    check_there_and_back(folder, deepseek_v4.to_dist(source.state, source.config), causeway, tmp_path)
    tensors["mtp.0.head.weight"][3, 4] += 1
    other = write_folder(tmp_path / "other", source.config, tensors)
    assert "mtp.0.head.weight" in causeway("convert-hf", other, tmp_path / "none", expect=3).stderr
    assert "  mtp.0.head.weight: no copy of output: 1 of " in causeway_verify(folder, other, expect=1).stdout
