"""causeway-verify's three verdicts on two checkpoints: equal conversions are equal bit for bit, settings and sizes that differ are
named. test_verify_mutations.py has what wrong conversions make."""
import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from interop import cases
from interop.test_forward import CONVERTED


def verdicts(done):
    return {line.split()[0]: line.split()[1].rstrip(",:") for line in done.stdout.splitlines() if line.startswith(("configuration", "tensors", "forward"))}


EQUAL = {"configuration": "equal", "tensors": "equal", "forward": "equal"}


@pytest.mark.parametrize("name", CONVERTED)
def test_conversions_are_equal_bit_for_bit(name, causeway_verify, sources, converted):
    done = causeway_verify(sources(name).folder, converted(name, "te"))
    assert verdicts(done) == EQUAL and "equal, bit for bit" in done.stdout


# No argument of Megatron-LM names the GELU of Gemma.
@pytest.mark.parametrize("name", [name for name in CONVERTED if not name.startswith("gemma")])
def test_the_arguments_say_what_run_config_says(name, causeway_verify, converted, tmp_path):
    """Megatron-LM writes no run_config.yaml; its arguments are in the common state."""
    shutil.copytree(converted(name, "te"), tmp_path / "root", symlinks=True)
    (tmp_path / "root" / "iter_0000000" / "run_config.yaml").unlink()
    assert verdicts(causeway_verify(converted(name, "te"), tmp_path / "root")) == EQUAL


def test_two_specifications_are_equal(causeway_verify, converted):
    assert verdicts(causeway_verify(converted("deepseek_v3", "te"), converted("deepseek_v3", "local"))) == EQUAL


@pytest.mark.parametrize("length, seed", [(1, 1), (7, 2), (100, 3)])
def test_prompts(length, seed, causeway_verify, sources, converted):
    done = causeway_verify(sources("deepseek_v3").folder, converted("deepseek_v3", "te"), "--prompt-length", length, "--seed", seed)
    assert verdicts(done) == EQUAL and f"{length}/{length}" in done.stdout


# Megatron-Core has one epsilon; the converter warns, and the comparison says where it counts.
def test_the_norms_of_the_latents(causeway_verify, sources, converted):
    done = causeway_verify(sources("deepseek_v3_eps").folder, converted("deepseek_v3_eps", "te"), expect=1)
    # convert-hf warned of it: it is listed, and what it does to the logits counts.
    assert verdicts(done) == {"configuration": "equal", "tensors": "equal", "forward": "DIFFERENT"}
    assert "  layers.0.attention.latent_eps: 1e-06 and 0.001" in done.stdout and "  first in hidden.0: " in done.stdout


def test_settings_that_no_tensor_shows(causeway_verify, sources, converted, tmp_path):
    shutil.copytree(converted("qwen3", "te"), tmp_path / "root", symlinks=True)
    path = tmp_path / "root" / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"]["rotary_base"] = 1e5
    path.write_text(yaml.safe_dump(config))
    done = causeway_verify(sources("qwen3").folder, tmp_path / "root", expect=1)
    assert verdicts(done) == {"configuration": "DIFFERENT", "tensors": "equal", "forward": "DIFFERENT"}
    assert "  layers.2.attention.rotary.base: 1000000 and 100000" in done.stdout


def test_one_unit_in_the_last_place(causeway_verify, sources, tmp_path):
    """One unit in the last place."""
    source = sources("qwen3_tied_fp32")
    shutil.copytree(source.folder, tmp_path / "hf")
    index = json.loads((tmp_path / "hf" / "model.safetensors.index.json").read_text())
    path = tmp_path / "hf" / index["weight_map"]["model.layers.1.mlp.down_proj.weight"]
    state = load_file(path)
    state["model.layers.1.mlp.down_proj.weight"].view(torch.int32)[5, 7] ^= 1
    save_file(state, path, metadata={"format": "pt"})
    done = causeway_verify(source.folder, tmp_path / "hf", expect=1)
    assert "1 of 9792 values differ" in done.stdout and "  layers.1.down: " in done.stdout
    assert verdicts(done)["forward"] == "equal"  # within what fp32 sums may differ by, and the tensors have said it


def test_a_model_of_another_depth_is_not_run(causeway_verify, sources):
    done = causeway_verify(sources("deepseek_v3").folder, sources("deepseek_v3_mtp3").folder, expect=1)
    assert "forward        DIFFERENT: not comparable (MTP depths: 1 and 3)" in done.stdout


def test_one_checkpoint_alone_is_a_usage_error(causeway_verify, sources):
    done = causeway_verify(sources("qwen3").folder, expect=2)
    assert "nothing to compare it with" in done.stderr


def test_both_sides_against_a_reference(causeway_verify, sources, converted, tmp_path):
    source = sources("qwen3")
    ids = cases.tokens(source.arch)
    (logits,) = source.logits(ids)
    save_file({"input_ids": torch.tensor(ids), "logits": logits}, tmp_path / "reference.safetensors")
    done = causeway_verify(source.folder, converted("qwen3", "te"), "--reference-logits", tmp_path / "reference.safetensors")
    assert done.stdout.count(" meets the reference\n") == 2
