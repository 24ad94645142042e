"""MiMo-7B, which transformers does not have: its main model is Qwen2's, its multi-token prediction is computed by megatron-core from
tensors that oracles/mapping.py moved. The names and the order of the projected columns are those of MiMo's own modeling file."""
import json
import shutil

import pytest

from interop import cases
from interop.test_forward import write_reference
from interop.test_table_mistakes import full_text
from oracles import dcp, hf_files, hf_models, mapping, sharding
from oracles import mimo as mimo_files
from oracles.arch import awkward

ARCH = awkward("qwen2", tied=False, dtype="bfloat16", mtp=2)


@pytest.fixture(scope="module")
def mimo(tmp_path_factory):
    """(folder, its tensors, Megatron's parameters)"""
    made = hf_models.model(ARCH, seed=80)
    folder = hf_models.save(made, tmp_path_factory.mktemp("mimo") / "model")
    main = hf_files.read_safetensors(folder)
    mtp = hf_files.mtp_tensors(ARCH, main, seed=81)
    state = mimo_files.make(folder, ARCH, main, mtp, files=2)
    return folder, state, mapping.to_megatron(ARCH, main | mtp), hf_models.logits(made, cases.tokens(ARCH))


@pytest.mark.parametrize("spec", cases.SPECS)
def test_there_and_back(spec, mimo, causeway, forward, pools, tmp_path):
    folder, state, parameters, main = mimo
    causeway("convert-hf", folder, tmp_path / "root", "--spec", spec)
    iteration = tmp_path / "root" / "iter_0000000"
    assert not dcp.different(sharding.dist_keys(ARCH, parameters, spec), dcp.read_tensors(iteration))
    ids = cases.tokens(ARCH)
    ((values, logits),) = pools[spec].run("load_and_run", arch=ARCH, directory=str(iteration), tokens=ids)
    assert not dcp.different({key: tensor.float() for key, tensor in parameters.items()}, values)
    cases.close(logits[:1], [main])
    expected = write_reference(tmp_path / "logits.safetensors", ids, logits)
    forward(folder, expected)
    forward(iteration, expected)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    for file in folder.iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes(), file.name

    shutil.copytree(tmp_path / "root", tmp_path / "alone", symlinks=True, ignore=shutil.ignore_patterns("causeway"))
    causeway("export-to-hf", tmp_path / "alone", tmp_path / "derived", "--arch", "mimo")
    assert not dcp.different(state, hf_files.read_safetensors(tmp_path / "derived"))
    config = json.loads((tmp_path / "derived" / "config.json").read_text())
    assert (config["architectures"], config["num_nextn_predict_layers"]) == (["MiMoForCausalLM"], ARCH.mtp)


def test_without_mtp(mimo, causeway, tmp_path):
    folder, state, _, _ = mimo
    causeway("convert-hf", folder, tmp_path / "root", "--mtp", "drop")
    assert not any(key.startswith("mtp.") for key in dcp.read_tensors(tmp_path / "root" / "iter_0000000"))
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    kept = {name: tensor for name, tensor in state.items() if ".mtp_layers." not in name}
    assert not dcp.different(kept, hf_files.read_safetensors(tmp_path / "back"))


def test_columns_that_are_not_exchanged(mimo, causeway, causeway_verify, tmp_path):
    """A table without the exchange passes every check of shapes and bytes; the views show it."""
    folder, _, _, _ = mimo
    wrong = tmp_path / "wrong.jsonc"
    wrong.write_text(full_text("mimo").replace('"swap_columns"', '"copy"'))
    causeway("convert-hf", folder, tmp_path / "root", "--mapping", wrong)
    causeway("verify", folder, tmp_path / "root", "--mode", "hash")
    done = causeway_verify(folder, tmp_path / "root", expect=1)
    assert "mtp.0.projection" in done.stdout
