"""The values that the unit tests of the forward pass expect (data/forward_parts, data/forward_layers) are still what transformers computes."""
import importlib.util

import safetensors.torch
import torch

from interop.conftest import DATA


def test_expected_values_are_those_of_transformers():
    script = script_of("forward_parts")
    same(safetensors.torch.load_file(script.FILE), script.tensors(), atol=1e-7)


def test_expected_layers_are_those_of_transformers():
    script = script_of("forward_layers")
    for file, made in script.tensors().items():
        same(safetensors.torch.load_file(script.FOLDER / file), made, atol=1e-5)


def script_of(folder):
    spec = importlib.util.spec_from_file_location(f"make_{folder}", DATA / folder / "make_expected.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def same(committed, made, atol):
    assert sorted(committed) == sorted(made)
    for name, tensor in made.items():
        assert committed[name].dtype == tensor.dtype, name
        torch.testing.assert_close(committed[name], tensor, rtol=1e-6, atol=atol, msg=name)
