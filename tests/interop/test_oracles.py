"""The instruments, without Causeway: the independent mapping is right because real megatron-core and real transformers agree
on the logits of the weights it carries over, and the fixtures hold what their rule says."""
import shutil

import pytest
import torch

from interop import cases
from interop.conftest import DATA
from oracles import dcp, fixture_weights, hf_models, make_data, mapping


@pytest.mark.parametrize("spec", cases.SPECS)
@pytest.mark.parametrize("name", cases.CASES)
def test_mapped_weights_give_the_logits_of_transformers(name, spec, sources, pools):
    source = sources(name)
    parameters = mapping.to_megatron(source.arch, source.state)
    if source.arch.tied:
        parameters["output_layer.weight"] = source.state["model.embed_tokens.weight"]
    ids = cases.tokens(source.arch)
    (logits,) = pools[spec].run("run", arch=source.arch, parameters=parameters, tokens=ids)
    cases.close(logits, hf_models.logits(source.model, ids))


@pytest.mark.parametrize("name", cases.CASES)
def test_mapping_and_sharding_invert(name, sources):
    source = sources(name)
    parameters = mapping.to_megatron(source.arch, source.state)
    assert not dcp.different(source.state, mapping.to_hf(source.arch, parameters))
    for key, full in parameters.items():
        shards = [mapping.tp_shard(key, full, 2, rank, 158) for rank in (0, 1)]
        assert mapping.tp_merge(key, shards)[: len(full)].equal(full), key


LINEARS = {"self_attention.linear_qkv", "self_attention.linear_proj", "mlp.linear_fc1", "mlp.linear_fc2"}


@pytest.mark.parametrize("spec", cases.SPECS)
def test_objects_a_model_requires(spec, pools):
    """With TransformerEngine every norm that is a module of its own has extra state too."""
    arch = cases.CASES["qwen3"].arch
    (keys,) = pools[spec].run("requested_objects", arch=arch)
    layered = LINEARS | ({"self_attention.q_layernorm", "self_attention.k_layernorm"} if spec == "te" else set())
    expected = {f"decoder.layers.{module}._extra_state/shard_{layer}_{arch.layers}" for module in layered for layer in range(arch.layers)}
    if spec == "te":
        expected.add("decoder.final_layernorm._extra_state/shard_0_1")
    assert set(keys) == expected


@pytest.mark.parametrize("folder", make_data.FOLDERS)
def test_fixture_is_what_the_script_makes(folder, pools, tmp_path):
    make_data.make(pools["local"], tmp_path / folder, folder)
    stored = DATA / "megatron_written" / folder / "iter_0000000"
    again = tmp_path / folder / "iter_0000000"
    assert not dcp.different(dcp.read_tensors(stored), dcp.read_tensors(again))
    assert dcp.object_keys(stored) == dcp.object_keys(again)


def test_fixture_holds_its_rule():
    for folder, arch in (("dense", fixture_weights.DENSE), ("dense_tied_qknorm", fixture_weights.TIED_QKNORM)):
        stored = dcp.read_tensors(DATA / "megatron_written" / folder / "iter_0000000")
        assert not dcp.different(mapping.dist_keys(arch, fixture_weights.parameters(arch)), stored)


@pytest.mark.parametrize("name", ["qwen3_dense", "llama_tied"])
def test_bridge_agrees_with_the_mapping(name):
    """The mapping also equals what real Megatron-Bridge wrote from the same source."""
    arch, state = cases.bridge_source(DATA / "bridge_written" / name / "hf")
    stored = dcp.read_tensors(DATA / "bridge_written" / name / "megatron" / "iter_0000000")
    assert not dcp.different(mapping.dist_keys(arch, mapping.to_megatron(arch, state)), stored)


@pytest.mark.parametrize("name", ["qwen3_dense", "llama_tied"])
def test_megatron_loads_what_bridge_wrote(name, pools, tmp_path):
    """Default strictness: the stand-in for TransformerEngine asks for nothing Bridge's model did not write. megatron-core
    0.16.1 looks for common.pt, which newer writers keep inside the data, so the copy gets one."""
    fixture = DATA / "bridge_written" / name
    arch, state = cases.bridge_source(fixture / "hf")
    copy = shutil.copytree(fixture / "megatron" / "iter_0000000", tmp_path / "iter_0000000")
    torch.save({"checkpoint_version": 3.0}, copy / "common.pt")
    (loaded,) = pools["te"].run("load", arch=arch, directory=str(copy), vocab_rows=arch.vocab)
    assert not dcp.different(mapping.to_megatron(arch, state), loaded)
