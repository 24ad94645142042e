"""The second, newer megatron-core (oracles/pool.py, NEXT_CORE): it loads what convert-hf writes, and what it saves exports."""
import dataclasses
import functools

import pytest
import torch

from interop import cases, test_export, test_export_moe
from interop.conftest import DATA
from oracles import dcp, hf_files, hf_models, make_data, mapping
from oracles.pool import JobError

DENSE = ["llama", "qwen2", "qwen3", "mistral"]
MOE = ["qwen3_moe", "mixtral", "deepseek_v3"]


def _iteration(root):
    return str(root / "iter_0000000")


@pytest.mark.parametrize("name", DENSE + MOE)
def test_logits(name, sources, converted, core):
    source = sources(name)
    ids = cases.tokens(source.arch)
    ((values, logits),) = core.run("load_and_run", arch=source.arch, directory=_iteration(converted(name, "te")), tokens=ids)
    assert values.keys() == mapping.to_megatron(source.arch, source.state).keys()
    cases.close(logits, source.logits(ids))


@pytest.mark.parametrize("name", DENSE + ["qwen3_moe", "mixtral"])
def test_loads_with_every_strictness(name, sources, converted, core):
    core.run("load_strictly", arch=sources(name).arch, directory=_iteration(converted(name, "te")))


def test_the_one_key_that_only_the_older_asks_for(sources, converted, core):
    """An object of multi-token prediction, without which 0.16.1 does not load by default; the newer minds only with raise_all."""
    with pytest.raises(JobError) as refused:
        core.run("load_strictly", arch=sources("deepseek_v3").arch, directory=_iteration(converted("deepseek_v3", "te")))
    assert "Missing keys (for all ranks): {'mtp.layers.0.transformer_layer.self_attention.core_attention._extra_state'}." in str(refused.value)


@pytest.mark.parametrize("name", make_data.NEXT_KEYS)
def test_requested_keys_are_those_on_record(name, core):
    """Of the models that it alone has; the unit tests of the tables compare them too."""
    recorded = (DATA / "requested_keys" / f"{name}.txt").read_text()
    assert make_data.requested_keys(core, make_data.NEXT_KEYS[name]) == recorded


def test_common_state(converted, core):
    """common.pt, which newer versions no longer write but read."""
    (state,) = core.run("common_state", directory=_iteration(converted("qwen3", "te")))
    assert state["iteration"] == 0 and state["args"].num_layers == 3


def _train(core, source, root, **how):
    """Loaded, changed and saved beside the converted iteration, with optimizer state: the tensors now, under Hugging Face's names."""
    (new,) = core.run("train_step", arch=source.arch, source=_iteration(root), directory=str(root / "iter_0000010"), iteration=10, **how)
    (root / "latest_checkpointed_iteration.txt").write_text("10")
    assert not (root / "iter_0000010" / "common.pt").exists()
    assert "common_state/shard_0_1" in dcp.object_keys(root / "iter_0000010")
    expected = mapping.to_hf(source.arch, new)
    assert not torch.equal(expected["model.norm.weight"], source.state["model.norm.weight"])
    return expected


def _check(folder, source, expected, tmp_path):
    if source.arch.moe:
        test_export_moe.check_folder(folder, source.arch, expected, hf_files.copy_with_tensors(source.folder, tmp_path / "plain", expected))
    else:
        test_export.check_folder(folder, source.arch, expected)


@pytest.mark.parametrize("name", ["llama", "qwen3", "qwen3_moe", "deepseek_v3"])
def test_trained(name, sources, core, causeway, tmp_path):
    source, root = sources(name), tmp_path / "root"
    causeway("convert-hf", source.folder, root)
    expected = _train(core, source, root)
    causeway("export-to-hf", root, tmp_path / "hf")
    _check(tmp_path / "hf", source, expected, tmp_path)


def test_arguments_in_the_common_state_count(sources, core, causeway, tmp_path):
    """They are an object of the checkpoint now: a config.json that says otherwise is refused."""
    source = sources("qwen3")
    core.run("save", arch=source.arch, directory=str(tmp_path / "root" / "iter_0000005"), vocab_rows=source.arch.vocab,
                    parameters=[mapping.to_megatron(source.arch, source.state)], iteration=5)
    other = hf_models.config(dataclasses.replace(source.arch, heads=12, head_dim=8, groups=4))
    other.architectures = ["Qwen3ForCausalLM"]
    other.save_pretrained(tmp_path / "other")
    refused = causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--reference", tmp_path / "other", expect=3)
    assert "num_attention_heads: checkpoint 6, config.json 12" in refused.stderr
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--reference", source.folder)
    test_export.check_folder(tmp_path / "hf", source.arch, source.state)


@pytest.mark.parametrize("name", ["qwen3", "qwen2", "qwen3_moe", "mixtral"])
def test_hybrid_model_loads_the_keys_of_a_gpt_model(name, sources, converted, core):
    """megatron-core's own translation (gpt_checkpoint_interop) of what convert-hf writes."""
    source = sources(name)
    ids = cases.tokens(source.arch)
    ((values, logits),) = core.run("load_gpt_into_hybrid", arch=source.arch, directory=_iteration(converted(name, "te")), tokens=ids)
    assert values.keys() == mapping.to_megatron(source.arch, source.state).keys()
    cases.close(logits, source.logits(ids))


# ---- --layout hybrid ----

HYBRID = ["qwen3", "qwen2_tied", "qwen3_moe", "qwen3_moe_some_dense"]


@pytest.fixture(scope="module")
def hybrid(sources, causeway, tmp_path_factory):
    """hybrid(name): what convert-hf made with the keys of a HybridModel."""

    def make(name):
        root = tmp_path_factory.mktemp(f"hybrid-{name}") / "root"
        causeway("convert-hf", sources(name).folder, root, "--layout", "hybrid")
        return root

    return functools.cache(make)


@pytest.mark.parametrize("name", HYBRID)
def test_hybrid_keys_are_what_the_model_requires(name, sources, hybrid, core):
    (required,) = core.run("requested_keys", arch=sources(name).arch, hybrid=True)
    directory = _iteration(hybrid(name))
    assert (sorted(dcp.read_tensors(directory)), sorted(dcp.object_keys(directory))) == required
    core.run("load_strictly", arch=sources(name).arch, directory=directory, hybrid=True)


@pytest.mark.parametrize("name", HYBRID)
def test_hybrid_logits(name, sources, hybrid, core, causeway_verify):
    source = sources(name)
    ids = cases.tokens(source.arch)
    ((_, logits),) = core.run("load_and_run", arch=source.arch, directory=_iteration(hybrid(name)), tokens=ids, hybrid=True)
    cases.close(logits, source.logits(ids))
    causeway_verify(source.folder, hybrid(name))


@pytest.mark.parametrize("name", ["qwen3", "qwen3_moe_some_dense"])
def test_hybrid_trained(name, sources, causeway, core, tmp_path):
    """Its arguments name the pattern, and there is no run_config.yaml."""
    source, root = sources(name), tmp_path / "root"
    causeway("convert-hf", source.folder, root, "--layout", "hybrid")
    expected = _train(core, source, root, hybrid=True)
    causeway("export-to-hf", root, tmp_path / "hf")
    _check(tmp_path / "hf", source, expected, tmp_path)
    # The arguments here have a few fields only, so there is no forward pass of what was trained.
    causeway("verify", tmp_path / "hf", root, "--mode", "hash")
    causeway("verify", source.folder, root, "--mode", "hash", expect=1)
