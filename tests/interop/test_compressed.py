"""INT4 weights, and FP8 weights with a scale a row or a tensor, as Kimi-K2-Thinking, GLM-4.5-FP8, Ministral and ModelOpt's releases
have them: converted, compared with torch's own reading, run from both sides, and exported file for file."""
import json
import shutil

import pytest

from interop import cases
from interop.test_forward import write_reference
from interop.test_fp8 import digests
from oracles import compressed, dcp, hf_files, hf_models, mapping, sharding

# case: (the model, how it is quantized). Kimi-K2 is a DeepSeek-V3.
CASES = {"int4": ("deepseek_v3", "int4"), "row": ("glm4_moe", "row"), "tensor": ("ministral", "tensor"), "modelopt": ("llama", "modelopt")}


@pytest.fixture(scope="module", params=CASES)
def release(request, sources, tmp_path_factory):
    """(arch, folder of the release, the state dict it stands for, folder of that)"""
    name, kind = CASES[request.param]
    source, folder = sources(name), tmp_path_factory.mktemp(request.param)
    stored, plain = compressed.quantized(source.state, kind)
    if kind == "row":  # the release's copy of the output layer has codes of its own
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
