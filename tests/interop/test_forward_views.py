"""causeway-verify's three verdicts on two checkpoints: equal conversions are equal bit for bit, and what a wrong table makes (which
hash mode, with that table, finds nothing wrong with) is found and named."""
import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from interop import cases
from interop.test_forward import CONVERTED
from interop.test_table_mistakes import MISTAKES, SOURCES, convert_with, read_table


def verdicts(done):
    return {line.split()[0]: line.split()[1].rstrip(",:") for line in done.stdout.splitlines() if line.startswith(("configuration", "tensors", "forward"))}


EQUAL = {"configuration": "equal", "tensors": "equal", "forward": "equal"}


@pytest.mark.parametrize("name", CONVERTED)
def test_conversions_are_equal_bit_for_bit(name, causeway_verify, sources, converted):
    done = causeway_verify(sources(name).folder, converted(name, "te"))
    assert verdicts(done) == EQUAL and "equal, bit for bit" in done.stdout


@pytest.mark.parametrize("name", CONVERTED)
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
    assert verdicts(done) == {"configuration": "DIFFERENT", "tensors": "equal", "forward": "DIFFERENT"}
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


# All but one: a table that allows F32 finds the biases in BF16 itself.
HIDDEN_FROM_HASHES = [mistake for mistake in MISTAKES if mistake[2] != "router.expert_bias"]
# Where it is in test_table_mistakes' words: the canonical tensors that show it.
SHOWN = {
    "experts.linear_fc1": "experts.0.gate", "experts.linear_fc2": "experts.0.down", "linear_qkv.weight": "layers.0.", "q_layernorm": "layers.0.q_norm",
    "shared_experts.linear_fc1": "shared.up", "mlp.linear_fc1": "layers.0.gate", "enorm": "mtp.0.embedding_norm", "mtp.layers.0.": "mtp.0.",
    "mtp.layers.0.final_layernorm": "mtp.0.final_norm", "mtp.layers.1.eh_proj": "mtp.1.projection",
}


@pytest.mark.parametrize("name, mistake, where", HIDDEN_FROM_HASHES, ids=[f"{name}-{i}-{where}" for i, (name, _, where) in enumerate(HIDDEN_FROM_HASHES)])
def test_a_wrong_table_passes_hash_mode_and_is_found_here(name, mistake, where, causeway, causeway_verify, sources, tmp_path):
    source, table = sources(SOURCES[name]), read_table(name)
    mistake(table)
    convert_with(table, source, causeway, tmp_path)
    causeway("verify", "--mode", "hash", source.folder, tmp_path / "root", "--mapping", tmp_path / "table.jsonc")
    done = causeway_verify(source.folder, tmp_path / "root", expect=1)
    assert verdicts(done)["tensors"] == "DIFFERENT"
    assert any(SHOWN[where] in line for line in done.stdout.splitlines() if "differ, by" in line), done.stdout


def test_permuted_experts_are_the_same_model_in_other_tensors(causeway_verify, sources, tmp_path):
    """Experts, their router rows and their biases in another order: the forward pass cannot tell, the tensors can."""
    source = sources("deepseek_v3_mtp2_fp32")
    shutil.copytree(source.folder, tmp_path / "hf")
    state = load_file(tmp_path / "hf" / "model.safetensors")
    moe = source.arch.moe
    # within the groups and whole groups
    order = torch.tensor([3, 2, 0, 1, 6, 7, 5, 4])
    assert len(order) == moe.experts
    changed = dict(state)
    for name, tensor in state.items():
        if ".mlp.gate." in name:
            changed[name] = tensor[order].contiguous()
        if ".mlp.experts." in name:
            before, number, after = name.split(".mlp.experts.")[0], int(name.split(".mlp.experts.")[1].split(".")[0]), name.rsplit(".", 2)[-2:]
            changed[name] = state[".".join([f"{before}.mlp.experts.{int(order[number])}", *after])]
    save_file(changed, tmp_path / "hf" / "model.safetensors")
    done = causeway_verify(source.folder, tmp_path / "hf", expect=1)
    assert verdicts(done) == {"configuration": "equal", "tensors": "DIFFERENT", "forward": "equal"}


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
    assert done.stdout.count("the forward pass meets the reference") == 2
