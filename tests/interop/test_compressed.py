"""INT4 weights, and FP8 weights with a scale a row, a block or a tensor, as Kimi-K2-Thinking, GLM-4.5-FP8, Ministral, ModelOpt's releases
and those that llm-compressor made of other models have them: converted, compared with torch's own reading, run from both sides, and exported file for file."""
import dataclasses
import json
import shutil

import pytest

from interop import cases, test_added_mtp, test_qwen_vl
from interop.test_forward import write_reference
from interop.test_fp8 import digests
from oracles import compressed, dcp, hf_files, hf_models, mapping, qwen_vl, sharding

# case: (the model, how it is quantized). Kimi-K2 is a DeepSeek-V3.
CASES = {"int4": ("deepseek_v3", "int4"), "row": ("glm4_moe", "row"), "tensor": ("ministral", "tensor"), "modelopt": ("llama", "modelopt"),
         "llama": ("llama", "block"), "mistral": ("mistral", "row"), "mistral_int4": ("mistral", "int4"), "mistral_modelopt": ("mistral", "modelopt"),
         "mixtral": ("mixtral", "whole"), "qwen2": ("qwen2", "whole"), "qwen2_moe": ("qwen2_moe", "int4"), "qwen3": ("qwen3", "row"), "qwen3_moe": ("qwen3_moe", "block"),
         "phi3": ("phi3", "row"), "seed_oss": ("seed_oss", "int4"), "mixed": ("deepseek_v3", "mixed")}
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
    compressed.add_config(folder / "hf", kind, stored)
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
    compressed.add_config(source, kind, stored)
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
    there_and_back(qwen_vl.make(test_qwen_vl.CASES[name], tmp_path / "model", seed=1).folder, TOWERS[name], causeway, tmp_path)
    # The text model on its own, whose config.json lists its modules under its own names.
    causeway("export-to-hf", tmp_path / "root", tmp_path / "text", "--parts", "text")
    causeway("convert-hf", tmp_path / "text", tmp_path / "text_root")


# ---- what the configuration says of each module ----

UP = "model.layers.1.mlp.up_proj"
# case: (how the configuration changes, who is said to be wrong, what the converter says, what the forward pass says)
CONTRADICTIONS = {
    "ignored": (lambda config: config["ignore"].append(UP), "F8_E4M3, but quantization_config leaves it alone: ignore has 'model.layers.1.mlp.up_proj'",
                "F8_E4M3, but quantization_config says not quantized: 'model.layers.1.mlp.up_proj' is ignored"),
    "no target": (lambda config: config["config_groups"]["group_0"].update(targets=["re:.*(self_attn|gate_proj|down_proj)"]),
                  "F8_E4M3, but quantization_config leaves it alone: no target of config_groups matches it",
                  "F8_E4M3, but quantization_config says not quantized: no group has it as a target"),
    "not ignored": (lambda config: config["ignore"].remove("lm_head"), "BF16, but quantization_config quantizes it: config_groups.group_0 has the target 'Linear'",
                    "BF16, but quantization_config says FP8: 'Linear' is a target of group_0"),
    "another kind": (lambda config: config["config_groups"].update(own=compressed.CONFIGS["int4"]["config_groups"]["group_0"] | {"targets": [UP], "format": "pack-quantized"}),
                     "F8_E4M3, but quantization_config says I32: config_groups.own has the target 'model.layers.1.mlp.up_proj'",
                     "F8_E4M3, but quantization_config says INT4: 'model.layers.1.mlp.up_proj' is a target of own"),
}


def quantized_mistral(sources, folder):
    source = sources("mistral")
    stored, _ = compressed.quantized(source.state, "row")
    shutil.copytree(source.folder, folder)
    hf_files.write_safetensors(folder, stored, 1)
    compressed.add_config(folder, "row", stored)
    return source


def change(folder, edit):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    edit(config["quantization_config"])
    file.write_text(json.dumps(config))


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_named(name, sources, causeway, causeway_verify, tmp_path):
    edit, converter, view = CONTRADICTIONS[name]
    quantized_mistral(sources, tmp_path / "hf")
    change(tmp_path / "hf", edit)
    assert converter in causeway("convert-hf", tmp_path / "hf", tmp_path / "root", expect=3).stderr
    assert view in causeway_verify(tmp_path / "hf", tmp_path / "hf", expect=3).stderr


def test_patterns_say_the_same(sources, causeway, tmp_path):
    """The lists as people write them, whatever they match besides."""
    quantized_mistral(sources, tmp_path / "hf")

    def edit(config):
        config["config_groups"]["group_0"]["targets"] = [r"re:^model\.layers\.\d+\.(mlp|self_attn)\..+_proj$", "model.layers.0.mlp.up_proj"]
        config["ignore"] = ["re:.*lm_head", "re:visual.*", "model.norm"]
    change(tmp_path / "hf", edit)
    causeway("convert-hf", tmp_path / "hf", tmp_path / "root")
    causeway("verify", tmp_path / "hf", tmp_path / "root")
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    assert digests(tmp_path / "back") == digests(tmp_path / "hf")


def test_layers_that_training_added_are_ignored(causeway, pools, tmp_path):
    """Multi-token prediction that the release has not is written plain; what the release lists stays in front."""
    arch = test_added_mtp.ARCHITECTURES["mistral"]
    reference = hf_models.save(hf_models.model(arch, seed=70), tmp_path / "reference")
    stored, plain = compressed.quantized(hf_files.read_safetensors(reference), "row")
    hf_files.write_safetensors(reference, stored, 1)
    compressed.add_config(reference, "row", stored)
    mtp = hf_files.mtp_tensors(arch, plain, seed=71)
    trained = tmp_path / "trained" / "iter_0000007"
    trained.parent.mkdir()
    pools["te"].run("save", arch=arch, directory=str(trained), vocab_rows=arch.vocab, parameters=[mapping.to_megatron(arch, plain | mtp)], iteration=7)
    causeway("export-to-hf", trained, tmp_path / "kept", "--reference", reference, "--mtp", "keep")
    exported = hf_files.read_safetensors(tmp_path / "kept")
    assert not dcp.different(stored, {name: exported[name] for name in stored})
    before, after = (json.loads((folder / "config.json").read_text())["quantization_config"]["ignore"] for folder in (reference, tmp_path / "kept"))
    added = {name.removesuffix(".weight") for name in exported.keys() - stored.keys() if exported[name].ndim == 2}
    assert added and after[:len(before)] == before and set(after[len(before):]) == added
    causeway("convert-hf", tmp_path / "kept", tmp_path / "root")
