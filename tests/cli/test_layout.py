"""`--layout hybrid`: the keys of megatron-core's HybridModel, there and back; what the layout does not cover is refused by name."""
import json

import pytest

from helpers import convert, copy_tree, edit_config, export, hashes, hf_fixture, refused, run
from torch_dist_raw import Checkpoint

ATTENTION = ("linear_qkv.layer_norm_weight", "linear_qkv.weight", "linear_proj.weight")
QK_NORMS = ("q_layernorm.weight", "k_layernorm.weight")
DENSE = ("mlp.linear_fc1.layer_norm_weight", "mlp.linear_fc1.weight", "mlp.linear_fc2.weight")
EXPERTS = ("pre_mlp_layernorm.weight", "mlp.router.weight", "mlp.experts.experts.linear_fc1.weight", "mlp.experts.experts.linear_fc2.weight")


def keys(layers, attention, mlp, tied):
    """As real megatron-core asks for them: a layer for each attention and each MLP."""
    made = {"embedding.word_embeddings.weight", "decoder.final_norm.weight"} | (set() if tied else {"output_layer.weight"})
    for layer in range(layers):
        made |= {f"decoder.layers.{2 * layer}.self_attention.{name}" for name in attention}
        made |= {f"decoder.layers.{2 * layer + 1}.{name}" for name in mlp}
    return made


MODELS = {
    "llama_tied": (keys(3, ATTENTION, DENSE, True), "*-*-*-"),
    "qwen3_dense": (keys(2, ATTENTION + QK_NORMS, DENSE, False), "*-*-"),
    "qwen3_moe": (keys(2, ATTENTION + QK_NORMS, EXPERTS, False), "*E*E"),
}


@pytest.fixture(params=MODELS)
def made(request, tmp_path):
    root = tmp_path / "root"
    done = convert(hf_fixture(request.param), root, "--layout", "hybrid")
    assert "keys of a HybridModel" in done.out
    return request.param, root


def test_there_and_back(made, tmp_path):
    name, root = made
    expected, pattern = MODELS[name]
    assert set(Checkpoint(root).keys()) == expected
    run_config = (root / "iter_0000000" / "run_config.yaml").read_text()
    assert f'hybrid_layer_pattern: "{pattern}"' in run_config or f"hybrid_layer_pattern: '{pattern}'" in run_config
    assert f"num_layers: {len(pattern)}\n" in run_config
    assert "hybrid_provider.HybridModelProvider" in run_config and "GPTModelProvider" not in run_config
    assert json.loads((root / "causeway" / "manifest.json").read_text())["choices"]["layout"] == "hybrid"
    export(root, tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(hf_fixture(name))
    run("verify", hf_fixture(name), root, expect=0)


def test_without_its_sidecar(made, tmp_path):
    """The keys and the pattern say it: a reference, and no configuration at all."""
    name, root = made
    export(root / "iter_0000000", tmp_path / "back", "--reference", hf_fixture(name))
    assert hashes(tmp_path / "back") == hashes(hf_fixture(name))
    if name == "qwen3_moe":
        (root / "causeway").rename(tmp_path / "sidecar")
        export(root, tmp_path / "derived")
        derived, source = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "derived", hf_fixture(name)))
        for key in ("num_hidden_layers", "num_experts", "moe_intermediate_size"):
            assert derived[key] == source[key], key


def test_another_number_of_layers(made, tmp_path):
    name, root = made
    reference = copy_tree(hf_fixture(name), tmp_path / "hf")
    edit_config(reference, num_hidden_layers=7)
    layers = len(MODELS[name][1]) // 2
    refused("export-to-hf", root / "iter_0000000", tmp_path, 3, f"num_layers: checkpoint {layers}, config.json 7", options=("--reference", reference))


UNCOVERED = {
    "deepseek_v3": "multi-head latent attention (MLA)",
    "qwen3_5_moe_text": "Gated DeltaNet (GDN)",
    "qwen3_5_vl": "Gated DeltaNet (GDN)",
}


@pytest.mark.parametrize("name", UNCOVERED)
def test_not_covered(name, tmp_path):
    refused("convert-hf", hf_fixture(name), tmp_path, 5, "--layout hybrid", UNCOVERED[name], options=("--layout", "hybrid", "--mtp", "drop"))


def test_rope_scaling_is_not_covered(tmp_path):
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    folder = copy_tree(hf_fixture("llama_tied"), tmp_path / "hf")
    edit_config(folder, rope_scaling=scaling)
    refused("convert-hf", folder, tmp_path, 5, "--layout hybrid", "rope_scaling", options=("--layout", "hybrid"))


@pytest.mark.parametrize("option", (("--spec", "local"), ("--layer-keys", "stacked")))
def test_options_that_a_hybrid_model_does_not_have(option, tmp_path):
    refused("convert-hf", hf_fixture("qwen3_dense"), tmp_path, 2, "--layout hybrid", " ".join(option), options=("--layout", "hybrid", *option))


def test_gpt_is_the_default(tmp_path, converted):
    convert(hf_fixture("qwen3_dense"), tmp_path / "root", "--layout", "gpt")
    assert hashes(tmp_path / "root") == hashes(converted("qwen3_dense"))


BLOCKS = {
    "decoder.layers.0.self_attention.linear_kv_down_proj.weight": "latent attention",
    "decoder.layers.0.self_attention.in_proj.weight.query": "Gated DeltaNet",
    "decoder.layers.0.self_attention.core_attention.indexer.linear_wk.weight": "sparse attention",
    "mtp.layers.0.mtp_model_layer.layers.0.self_attention.linear_qkv.weight": "multi-token prediction",
    "decoder.layers.0.mlp.linear_fc2.weight": "another order",
    "decoder.final_layernorm.weight": "GPTModel beside them",
}


@pytest.mark.parametrize("key", BLOCKS)
def test_blocks_that_no_gpt_model_has(key, tmp_path):
    root = tmp_path / "root"
    convert(hf_fixture("qwen3_dense"), root, "--layout", "hybrid")
    metadata = Checkpoint(root).metadata
    metadata.copy("decoder.final_norm.weight", key)
    metadata.save()
    refused("export-to-hf", root, tmp_path, 5, "HybridModel", BLOCKS[key])
