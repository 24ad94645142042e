"""INT4 weights, and FP8 weights with a scale a row, a block or a tensor, as Kimi-K2-Thinking, GLM-4.5-FP8, Ministral, ModelOpt's releases
and those that llm-compressor made of other models have them: converted, compared with torch's own reading, run from both sides, and exported file for file."""
import json
import shutil

import pytest

from interop import cases, test_qwen_vl
from interop.test_forward import write_reference
from interop.test_fp8 import digests
from oracles import compressed, dcp, hf_files, hf_models, mapping, sharding

# case: (the model, how it is quantized). Kimi-K2 is a DeepSeek-V3.
CASES = {"int4": ("deepseek_v3", "int4"), "row": ("glm4_moe", "row"), "tensor": ("ministral", "tensor"), "modelopt": ("llama", "modelopt"),
         "llama": ("llama", "block"), "mistral": ("mistral", "row"), "mistral_int4": ("mistral", "int4"), "mistral_modelopt": ("mistral", "modelopt"),
         "mixtral": ("mixtral", "whole"), "qwen2": ("qwen2", "whole"), "qwen2_moe": ("qwen2_moe", "int4"), "qwen3": ("qwen3", "row"), "qwen3_moe": ("qwen3_moe", "block"),
         "phi3": ("phi3", "row"), "seed_oss": ("seed_oss", "int4")}
# Megatron-Core's keys of these are not in the oracle: their forward passes and bytes are compared.
FURTHER = {"gemma2": ("gemma2", "row"), "gemma3": ("gemma3", "int4"), "glm4": ("glm4", "row"), "starcoder2": ("starcoder2", "whole"),
           "deepseek_v2": ("deepseek_v2", "row"), "glm4_moe_lite": ("glm4_moe_lite", "block"), "minimax_m2": ("minimax_m2", "int4")}
# Of images and text, and with linear attention: as llm-compressor leaves towers, gates and the small projections alone.
HYBRIDS = {"qwen3_5": ("dense", "row"), "qwen3_5_moe": ("moe_separate", "int4"), "qwen3_next": ("next", "block")}
TOWERS = {"qwen2_5_vl": "row", "qwen3_vl": "block"}
KEPT = (*compressed.KEPT, "visual", "conv1d", "in_proj_a", "in_proj_b", "shared_expert_gate", "mtp.fc")


@pytest.fixture(scope="module", params=CASES | FURTHER)
def release(request, sources, tmp_path_factory):
    """(arch, folder of the release, the state dict it stands for, folder of that)"""
    name, kind = (CASES | FURTHER)[request.param]
    source, folder = sources(name), tmp_path_factory.mktemp(request.param)
    stored, plain = compressed.quantized(source.state, kind)
    if name == "glm4_moe":  # the release's copy of the output layer has codes of its own
        copy = f"model.layers.{source.arch.layers}.shared_head.head.weight"
        stored |= compressed.quantized({copy: source.state[copy]}, kind, kept=())[0]
    shutil.copytree(source.folder, folder / "hf")
    hf_files.write_safetensors(folder / "hf", stored, 2)
    compressed.add_config(folder / "hf", kind)
    return source.arch, folder / "hf", plain, hf_files.copy_with_tensors(source.folder, folder / "plain", plain)


@pytest.fixture(scope="module")
def root(release, causeway, tmp_path_factory):
    root = tmp_path_factory.mktemp("megatron") / "root"
    causeway("convert-hf", release[1], root)
    return root


@pytest.mark.parametrize("release", CASES, indirect=True)
def test_megatron_has_the_values(release, root):
    arch, _, plain, _ = release
    expected = sharding.dist_keys(arch, mapping.to_megatron(arch, plain))
    assert not dcp.different(expected, dcp.read_tensors(root / "iter_0000000"))


@pytest.mark.parametrize("how", ["sidecar", "reference"])
def test_untouched_it_comes_back(how, release, root, causeway, tmp_path):
    bare = shutil.copytree(root / "iter_0000000", tmp_path / "bare")
    causeway("export-to-hf", bare, tmp_path / "hf", f"--{how}", root / "causeway" if how == "sidecar" else release[1])
    assert digests(tmp_path / "hf") == digests(release[1])


def test_hash_mode_finds_no_difference(release, root, causeway):
    causeway("verify", release[1], root, "--mode", "hash")


def test_logits_of_both_views(release, root, forward, tmp_path):
    """Those of transformers for the values that the codes stand for."""
    arch, folder, _, plain = release
    ids = cases.tokens(arch)
    reference = write_reference(tmp_path / "reference.safetensors", ids, hf_models.logits_with_mtp(arch, plain, ids))
    forward(folder, reference)
    forward(root, reference)


def test_exported_in_bf16(release, root, causeway, tmp_path):
    causeway("export-to-hf", root, tmp_path / "hf", "--dtype", "bf16")
    assert not dcp.different(release[2], hf_files.read_safetensors(tmp_path / "hf"))
    assert "quantization_config" not in json.loads((tmp_path / "hf" / "config.json").read_text())


def there_and_back(folder, kind, causeway, place):
    """Quantizes what a folder holds, and converts it there and back."""
    state = hf_files.read_safetensors(folder)
    stored, plain = compressed.quantized(state, kind, kept=KEPT)
    source = shutil.copytree(folder, place / "source", ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    hf_files.write_safetensors(source, stored, 2)
    compressed.add_config(source, kind)
    causeway("convert-hf", source, place / "root")
    causeway("export-to-hf", place / "root", place / "back")
    assert digests(place / "back") == digests(source)
    causeway("verify", source, place / "root")
    causeway("export-to-hf", place / "root", place / "plain", "--dtype", "bf16")
    exported = hf_files.read_safetensors(place / "plain")
    values = {name: tensor for name, tensor in plain.items() if stored.get(name) is not tensor}
    assert values and exported.keys() == state.keys()
    assert not dcp.different(values, {name: exported[name] for name in values})


@pytest.mark.parametrize("name", HYBRIDS)
def test_hybrids(name, qwen_sources, causeway, tmp_path):
    case, kind = HYBRIDS[name]
    there_and_back(qwen_sources(case).folder, kind, causeway, tmp_path)


@pytest.mark.parametrize("name", TOWERS)
def test_models_of_images_and_text(name, causeway, tmp_path):
    there_and_back(test_qwen_vl.make(test_qwen_vl.CASES[name], tmp_path / "model").folder, TOWERS[name], causeway, tmp_path)
