"""Llama-4's text model in megatron-core, whose layers without positions are made as mcore-bridge makes them."""
import json
import shutil

import pytest

from interop import cases
from oracles import dcp, hf_files, mapping, sharding


def test_megatron_computes_the_same(sources, converted, pools):
    """Every tensor is where an independent mapping has it, a default-strict load takes it, and the logits are transformers'."""
    source = sources("llama4")
    arch, iteration = source.arch, converted("llama4", "te") / "iter_0000000"
    parameters = mapping.to_megatron(arch, source.state)
    assert not dcp.different(sharding.dist_keys(arch, parameters, "te"), dcp.read_tensors(iteration))
    ids = cases.tokens(arch)
    ((values, logits),) = pools["te"].run("load_and_run", arch=arch, directory=str(iteration), tokens=ids)
    assert not dcp.different({key: tensor.float() for key, tensor in parameters.items()}, values)
    cases.close(logits, source.logits(ids))


@pytest.mark.parametrize("name", ["llama4", "llama4_long"])
def test_there_and_back(name, sources, converted, causeway, tmp_path):
    source, root = sources(name), converted(name, "te")
    # Of four tokens, which are in one chunk and before the first that is sharpened.
    done = causeway("verify", source.folder, root, "--prompt-length", 4)
    assert "that the conversion warned of" in done.stdout  # chunks and sharpened queries
    causeway("export-to-hf", root, tmp_path / "back")
    for file in source.folder.iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes(), file.name


def test_config_from_megatron_alone(sources, converted, causeway, tmp_path):
    source = sources("llama4")
    shutil.copytree(converted("llama4", "te"), tmp_path / "alone", symlinks=True, ignore=shutil.ignore_patterns("causeway"))
    causeway("export-to-hf", tmp_path / "alone", tmp_path / "derived", "--arch", "llama4_text")
    assert not dcp.different(source.state, hf_files.read_safetensors(tmp_path / "derived"))
    config = json.loads((tmp_path / "derived" / "config.json").read_text())
    assert (config["moe_layers"], config["no_rope_layers"], config["use_qk_norm"]) == ([1, 3], [1, 1, 1, 0], True)


def test_more_than_one_expert_a_token(sources, causeway, tmp_path):
    folder = tmp_path / "hf"
    shutil.copytree(sources("llama4").folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_experts_per_tok": 2}))
    assert "num_experts_per_tok 2" in causeway("convert-hf", folder, tmp_path / "root", expect=5).stderr
