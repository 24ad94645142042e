"""Sparse latent attention: latent attention with an index, which real megatron-core 0.16.1 refuses. Conversions are met by torch and
by a mapping of their own, both views by transformers' logits, those of multi-token prediction among them."""
import json

import pytest

from interop import cases
from interop.test_derived_config import alone, check_decoder
from interop.test_forward import heads, write_reference
from oracles import dcp, mapping, sharding


@pytest.fixture(scope="module")
def references(sources, tmp_path_factory):
    """references(name, length) -> file with transformers' logits of the first tokens of the prompt."""

    def get(name, length=24):
        ids = cases.tokens(sources(name).arch)[:length]
        return write_reference(tmp_path_factory.mktemp("reference") / f"{name}.safetensors", ids, sources(name).logits(ids))

    return get


@pytest.mark.parametrize("name", cases.INDEXED)
def test_there_and_back(name, sources, converted, causeway, tmp_path):
    source, root = sources(name), converted(name, "te")
    expected = sharding.dist_keys(source.arch, mapping.to_megatron(source.arch, source.state))
    assert not dcp.different(expected, dcp.read_tensors(root / "iter_0000000"))
    causeway("export-to-hf", root, tmp_path / "back")
    for file in source.folder.iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("name", cases.INDEXED)
def test_both_views(name, forward, sources, converted, references):
    reference = references(name)
    for folder in (sources(name).folder, converted(name, "te")):
        assert len(heads(forward(folder, reference))) == 1 + sources(name).arch.mtp


@pytest.mark.parametrize("length", [1, 5, 6])
def test_prompts_as_short_as_the_choice(length, forward, sources, converted, references):
    """Five tokens are chosen."""
    reference = references("deepseek_v32", length)
    forward(sources("deepseek_v32").folder, reference)
    forward(converted("deepseek_v32", "te"), reference)


def test_without_mtp(causeway, causeway_verify, sources, tmp_path):
    causeway("convert-hf", sources("deepseek_v32").folder, tmp_path / "root", "--mtp", "drop")
    assert not [key for key in dcp.read_tensors(tmp_path / "root" / "iter_0000000") if key.startswith("mtp.")]
    causeway_verify(sources("deepseek_v32").folder, tmp_path / "root", "--mtp", "drop")


@pytest.mark.parametrize("name", [name for name in cases.INDEXED if "released" not in name])
def test_a_checkpoint_alone(name, sources, converted, causeway, tmp_path):
    check_decoder(sources(name), alone(converted(name, "te"), tmp_path / "root"), causeway, tmp_path)


def test_no_gradient_of_what_only_chooses(causeway_verify, sources, converted, tmp_path):
    for checkpoint in (sources("deepseek_v32").folder, converted("deepseek_v32", "te")):
        causeway_verify(checkpoint, "--mode", "train-step", "--report", tmp_path / "report.json")
        step = json.loads((tmp_path / "report.json").read_text())["train_step"]
        reasons = {entry["name"]: entry["reason"] for entry in step["gradients"]["without_gradient"]}
        of_index = {name: reason for name, reason in reasons.items() if ".indexer." in name}
        assert len(of_index) == 5 * 5 and set(of_index.values()) == {"the index only chooses"}
        assert all(name.endswith(("expert_bias", "e_score_correction_bias", "embed_tokens.weight", "shared_head.head.weight"))
                   for name in reasons.keys() - of_index.keys())
