"""gpt-oss in megatron-core's local specification, whose attention has sinks and windows of its own, and its release in MXFP4."""
import json

import pytest
import torch

from interop import cases
from interop.test_fp8 import HOW, digests, export
from oracles import dcp, hf_files, mapping, mxfp4, sharding


@pytest.mark.parametrize("name", ["gpt_oss", "gpt_oss_mxfp4"])
def test_megatron_computes_the_same(name, sources, converted, pools):
    """Every tensor is where an independent mapping has it, a default-strict load takes it, and the logits are transformers'."""
    source = sources(name)
    arch, iteration = source.arch, converted(name, "local") / "iter_0000000"
    parameters = {key: tensor.float() if key.endswith("softmax_offset") else tensor  # a parameter in F32
                  for key, tensor in mapping.to_megatron(arch, source.state).items()}
    assert not dcp.different(sharding.dist_keys(arch, parameters, "local"), dcp.read_tensors(iteration))
    ids = cases.tokens(arch)
    ((values, logits),) = pools["local"].run("load_and_run", arch=arch, directory=str(iteration), tokens=ids)
    assert not dcp.different({key: tensor.float() for key, tensor in parameters.items()}, values)
    cases.close(logits, source.logits(ids))


@pytest.mark.parametrize("how", HOW)
def test_mxfp4_gives_back_the_files(how, sources, converted, causeway, tmp_path):
    source = sources("gpt_oss_mxfp4")
    export(causeway, how, converted("gpt_oss_mxfp4", "te"), source.folder, tmp_path)
    assert digests(tmp_path / "hf") == digests(source.folder)


def test_dtype_writes_what_mxfp4_stands_for(sources, converted, causeway, tmp_path):
    """The matrices of transformers' model, and a configuration that says nothing of MXFP4."""
    source = sources("gpt_oss_mxfp4")
    causeway("export-to-hf", converted("gpt_oss_mxfp4", "te"), tmp_path / "hf", "--dtype", "bf16")
    assert not dcp.different(source.state, hf_files.read_safetensors(tmp_path / "hf"))
    assert "quantization_config" not in json.loads((tmp_path / "hf" / "config.json").read_text())


def test_trained_blocks_alone_change(sources, pools, causeway, tmp_path):
    """Half a block of an expert's gate; the rule's scale is the least power of two that 6 of reaches the largest value."""
    source = sources("gpt_oss_mxfp4")
    full = mapping.to_megatron(source.arch, source.state)
    key = "decoder.layers.1.mlp.experts.local_experts.2.linear_fc1.weight"
    full[key] = full[key].clone()
    full[key][5, 32:48] = 0.71875
    pools["local"].run("save", arch=source.arch, directory=str(tmp_path / "root" / "iter_0000005"), vocab_rows=source.arch.vocab, parameters=[full],
                       iteration=5)
    (tmp_path / "root" / "latest_checkpointed_iteration.txt").write_text("5")
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--reference", source.folder)
    stored, returned = hf_files.read_safetensors(source.folder), hf_files.read_safetensors(tmp_path / "hf")
    name = "model.layers.1.mlp.experts.gate_up_proj"
    block = (2, 2 * 5, 1)
    values = full[key][5, 32:64].float()
    exponent = torch.log2(values.abs().max() / 6).ceil()
    stored[name + "_scales"][block], stored[name + "_blocks"][block] = exponent + 127, mxfp4.pack(values, exponent)
    assert not dcp.different(stored, returned)
