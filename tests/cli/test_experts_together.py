"""Experts in one tensor, as transformers 5 keeps them: into Megatron as those of the release, and back in their own spelling."""
import sys

import pytest
from helpers import DATA, convert, copy_tree, export, hashes, hf_fixture, run
from safetensors_raw import Model
from torch_dist_raw import Checkpoint

sys.path.append(str(DATA.parent / "tests"))
from oracles import respell  # noqa: E402  (needs the path above)


def spelled(fixture, folder, pick):
    """(the fixture under the names of `pick`, the part of the description that respell gives it; options it needs)"""
    read = respell.read_folder(hf_fixture(fixture))
    (found,) = [each for each in respell.spellings(read, read) if each[0] == pick]
    _, config, tensors, options = found
    respell.write_folder(hf_fixture(fixture), folder, config, tensors)
    return folder, options.split()


FORMS = {
    "qwen3_moe": ("qwen3_moe", "experts in one tensor"),
    "qwen3_moe bare": ("qwen3_moe", "experts in one tensor, without model."),
    "mixtral": ("qwen3_moe", "Qwen3's tensors as a Mixtral with experts in one tensor"),
    "mixtral bare": ("qwen3_moe", "Qwen3's tensors as a Mixtral with experts in one tensor, without model."),
    "deepseek_v3": ("deepseek_v3", "experts in one tensor, of MTP in one tensor"),
    "deepseek_v3, MTP as released": ("deepseek_v3_mtp2", "experts in one tensor, of MTP one by one"),
    "deepseek_v3 bare": ("deepseek_v3", "experts in one tensor, of MTP one by one, without model."),
}


@pytest.mark.parametrize("form", FORMS)
def test_there_and_back(form, tmp_path):
    fixture, pick = FORMS[form]
    folder, options = spelled(fixture, tmp_path / "hf", pick)
    assert any(name.endswith("mlp.experts.gate_up_proj") for name in Model(folder).names())
    convert(folder, tmp_path / "root", *options)
    run("verify", folder, tmp_path / "root", "--mode", "hash", expect=0)
    export(tmp_path / "root", tmp_path / "back", *options)
    assert hashes(tmp_path / "back") == hashes(folder)
    # Megatron has the bytes that the release's spelling gives.
    if "mixtral" not in form:
        convert(hf_fixture(fixture), tmp_path / "expected")
        found, expected = Checkpoint(tmp_path / "root"), Checkpoint(tmp_path / "expected")
        assert found.keys() == expected.keys()
        for key in expected.keys():
            assert found.pieces(key) == expected.pieces(key), key


def test_the_spelling_of_the_reference_counts(tmp_path):
    """A checkpoint without a sidecar goes out as the reference has it."""
    folder, _ = spelled("qwen3_moe", tmp_path / "hf", "experts in one tensor")
    convert(hf_fixture("qwen3_moe"), tmp_path / "root")
    (tmp_path / "root" / "causeway").rename(tmp_path / "sidecar")
    export(tmp_path / "root", tmp_path / "back", "--reference", folder)
    assert hashes(tmp_path / "back") == hashes(folder)


@pytest.mark.parametrize("name, shape", (("gate_up_proj", [4, 32, 64]), ("down_proj", [5, 64, 32])))
def test_another_shape_is_refused(name, shape, tmp_path):
    folder, _ = spelled("qwen3_moe", tmp_path / "hf", "experts in one tensor")
    model = Model(folder)
    full = next(each for each in model.names() if each.endswith(f"mlp.experts.{name}"))
    tensor = model.shard_of(full)[full]
    size = len(tensor.data) // (tensor.shape[0] * tensor.shape[1] * tensor.shape[2])
    tensor.shape = shape
    tensor.data = bytes(shape[0] * shape[1] * shape[2] * size)
    model.save()
    assert full in run("convert-hf", folder, tmp_path / "root", expect=3).err
