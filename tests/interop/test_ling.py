"""Ling 2.0 (BailingMoeV2), which transformers does not have: its layers compute what GLM-4.5's do (renamed.py, oracles/ling.py)."""
import pytest

from interop import cases, renamed
from oracles import hf_files, recorded
from oracles import ling as ling_files
from oracles.arch import awkward

ARCH = awkward("glm4_moe", tied=False, dtype="bfloat16", mtp=1)


@pytest.fixture(scope="module")
def ling(tmp_path_factory):
    return renamed.make(ling_files.make, ARCH, tmp_path_factory.mktemp("ling") / "model", seed=85)


@pytest.mark.parametrize("spec", cases.SPECS)
def test_there_and_back(spec, ling, causeway, forward, pools, tmp_path):
    renamed.check_there_and_back(ling, spec, causeway, forward, pools, tmp_path)
    config, wanted = renamed.config_from_megatron_alone(ling, "bailing_moe_v2", causeway, tmp_path), ling_files.config(ARCH)
    keys = wanted.keys() & config.keys() - {"rope_scaling"}
    assert {key: config[key] for key in keys} == {key: wanted[key] for key in keys}


def test_without_mtp(ling, causeway, tmp_path):
    renamed.check_without_mtp(ling, lambda name: name.startswith(f"model.layers.{ARCH.layers}."), causeway, tmp_path)


def test_names_without_model(ling, causeway, forward, tmp_path):
    """Both views of a folder that a bare model saved."""
    bare = hf_files.copy_with_tensors(ling.folder, tmp_path / "bare", {name.removeprefix("model."): tensor for name, tensor in ling.state.items()})
    (bare / "model.safetensors.index.json").unlink(missing_ok=True)
    causeway("convert-hf", bare, tmp_path / "root")
    reference = recorded.write(tmp_path / "logits.safetensors", cases.tokens(ARCH), [ling.logits])
    forward(bare, reference)
    forward(tmp_path / "root", reference)
    causeway("verify", bare, tmp_path / "root")


def test_heads_that_are_not_regrouped(ling, causeway, causeway_verify, tmp_path):
    """A table that copies q, k and v as they lie."""
    def as_they_lie(text):
        text = text.replace('"fused_qkv"', '"copy"')
        return text.replace(', {"groups": "kv_heads", "heads": "heads"}', "").replace('"groups": "kv_heads", "heads": "heads", ', "")

    renamed.check_wrong_table(ling, "bailing_moe_v2", as_they_lie, ".k", causeway, causeway_verify, tmp_path)
