"""A Megatron checkpoint alone -> `causeway export-to-hf` -> transformers: the config.json that is made of what the checkpoint says of
itself loads, computes the logits of the source, and converts to the fields that the checkpoint has."""
import json
import shutil

import pytest
import torch
import yaml

from interop import cases, deepseek_v4_cases, qwen3_5_cases
from oracles import dcp, deepseek_v4, hf_files, hf_models, qwen3_5_reference
from oracles.arch import awkward
from oracles.deepseek_v4_reference import Reference


def alone(root, folder):
    """The checkpoint as its training leaves it: nothing of Hugging Face beside it."""
    return shutil.copytree(root, folder, symlinks=True, ignore=shutil.ignore_patterns("causeway"))


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def provider(root):
    """The fields that convert-hf made of a config.json, without the name of the folder that it came from."""
    model = yaml.safe_load((root / "iter_0000000" / "run_config.yaml").read_text())["model"]
    return {name: rounded(value) for name, value in model.items() if name != "hf_model_id"}


def rounded(value):
    """attention_factor comes out of a logarithm, and goes into one."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


def check_fields(causeway, root, folder, again):
    causeway("convert-hf", folder, again)
    before, after = provider(root), provider(again)
    assert {name: (before[name], after.get(name)) for name in before if before[name] != after.get(name)} == {}
    assert not dcp.different(dcp.read_tensors(root / "iter_0000000"), dcp.read_tensors(again / "iter_0000000"))


# Many have the same fields: llama, mistral, phi3 and the dense layers of others; qwen2 and mimo; DeepSeek-V3 without YaRN and GLM-4.7-Flash;
# Hy3 and GLM-4.5.
NAMED = {name: name for name in ("llama", "mistral", "ministral", "phi3", "qwen2", "seed_oss", "deepseek_v3", "glm4_moe_lite", "hy_v3")}
# Megatron has no such attention, or other constants: what was converted is no longer the source's model.
OTHER_FUNCTION = ("qwen2_window", "llama_llama3_rope", "llama4_long")
# Megatron has the sinks in F32, and nothing beside it says in what the source had them.
WIDER = ("gpt_oss_square", "gpt_oss_mxfp4")


@pytest.mark.parametrize("name", [*cases.CASES, *(name for name in cases.FORWARD if name not in (*cases.CASES, *OTHER_FUNCTION, *WIDER))])
def test_decoders(name, sources, converted, causeway, tmp_path):
    check_decoder(sources(name), alone(converted(name, "te"), tmp_path / "root"), causeway, tmp_path)


def test_attention_factor(causeway, tmp_path):
    """Of YaRN, which Megatron-Core has as mscale."""
    rope = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32, attention_factor=1.3)
    source = cases.make(cases.Case(awkward("qwen3", tied=False, dtype="bfloat16", hf=dict(rope_parameters=rope)), 44), tmp_path)
    causeway("convert-hf", source.folder, tmp_path / "converted")
    check_decoder(source, alone(tmp_path / "converted", tmp_path / "root"), causeway, tmp_path)


def check_decoder(source, root, causeway, tmp_path):
    arch = [option for family in [NAMED.get(source.arch.family)] if family for option in ("--arch", family)]
    causeway("export-to-hf", root, tmp_path / "hf", *arch)
    config = config_of(tmp_path / "hf")
    assert config["model_type"] == source.arch.family and "quantization_config" not in config
    assert not dcp.different(source.state, cases.read_safetensors(tmp_path / "hf"))
    ids = cases.tokens(source.arch)
    computed = hf_models.logits_with_mtp(source.arch, tmp_path / "hf", ids)
    assert all(torch.equal(a, b) for a, b in zip(computed, source.logits(ids), strict=True))
    check_fields(causeway, root, tmp_path / "hf", tmp_path / "again")


@pytest.mark.parametrize("name", qwen3_5_cases.SAME_FUNCTION)
def test_gated_deltanet(name, qwen_sources, qwen_converted, causeway, tmp_path):
    """Of a checkpoint with a vision tower, the text model."""
    source, root = qwen_sources(name), alone(qwen_converted(name), tmp_path / "root")
    arch = "qwen3_next" if source.arch.family == "qwen3_next" else "qwen3_5"
    done = causeway("export-to-hf", root, tmp_path / "hf", "--arch", arch)
    assert ("needs --reference" in done.stdout) == (source.form.vision is not None)
    config = config_of(tmp_path / "hf")
    assert config["architectures"] == [{"qwen3_next": "Qwen3NextForCausalLM", "qwen3_5": "Qwen3_5ForCausalLM", "qwen3_5_moe": "Qwen3_5MoeForCausalLM"}[source.arch.family]]
    if source.arch.gdn.gated:  # transformers has no model without
        ids = cases.tokens(source.arch)
        computed = qwen3_5_reference.logits(tmp_path / "hf", ids)
        assert all(torch.equal(a, b) for a, b in zip(computed, source.logits(ids), strict=True))
    causeway("convert-hf", tmp_path / "hf", tmp_path / "again")
    done = causeway("verify", tmp_path / "hf", tmp_path / "again", "--mode", "hash")
    before, after = provider(root), provider(tmp_path / "again")
    if source.form.vision is None:
        check_fields(causeway, root, tmp_path / "hf", tmp_path / "once more")
    else:
        of_the_whole = {"_target_", "position_embedding_type", "attention_softmax_in_fp32", "bias_activation_fusion", "moe_router_dtype"}
        assert {name for name in after if before[name] != after[name]} <= of_the_whole


@pytest.mark.parametrize("name", deepseek_v4_cases.NAMES)
def test_deepseek_v4(name, v4_sources, v4_converted, causeway, tmp_path):
    source, root = v4_sources(name), alone(v4_converted(name), tmp_path / "root")
    causeway("export-to-hf", root, tmp_path / "hf")
    state = hf_files.read_safetensors(tmp_path / "hf")
    plain = deepseek_v4.plain(source.state)
    assert not dcp.different(plain, state)
    ids = [(7 * i) % source.config["vocab_size"] for i in range(40)]
    plain_config = {key: value for key, value in source.config.items() if key not in ("quantization_config", "expert_dtype")}
    if source.config["n_shared_experts"] == 1:  # transformers has no more
        expected, _ = Reference(plain_config, plain).logits(ids)
        computed, _ = Reference(config_of(tmp_path / "hf"), state).logits(ids)
        assert all(torch.equal(a, b) for a, b in zip(computed, expected, strict=True))
    check_fields(causeway, root, tmp_path / "hf", tmp_path / "again")
