"""The values that the unit tests of the forward pass expect (data/forward_parts) are still what transformers computes."""
import importlib.util

import safetensors.torch
import torch

from interop.conftest import DATA


def test_expected_values_are_those_of_transformers():
    spec = importlib.util.spec_from_file_location("make_forward_parts", DATA / "forward_parts" / "make_expected.py")
    make_expected = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_expected)
    committed = safetensors.torch.load_file(make_expected.FILE)
    made = make_expected.tensors()
    assert sorted(committed) == sorted(made)
    for name, tensor in made.items():
        assert committed[name].dtype == tensor.dtype, name
        torch.testing.assert_close(committed[name], tensor, rtol=1e-6, atol=1e-7, msg=name)
