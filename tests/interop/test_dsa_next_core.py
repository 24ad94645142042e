"""Sparse latent attention (DSA: DeepSeek-V3.2, GLM-5) on real megatron-core 0.19.2, which alone has it: 0.16.1 refuses the option.

It runs on a CPU as it is. TransformerEngine's linears and norms are those of oracles/fake_te.py, as everywhere here; the attention and its
index are megatron-core's own, because `dsa_kernel_backend` is "none" by default and names the plain torch of dsa.py (the other two, tilelang
and cudnn, need a GPU). Training's loss of the index is not run. What cannot run on a CPU: `dsa_indexer_rotate_activation`, whose Hadamard
transform is a CUDA extension and takes BF16 alone; it turns queries and keys of the index alike, so that scores stay what they are, the
converter writes false, and so do the tests.
Forward passes are of one rank: the stand-in of TransformerEngine does not communicate."""
import dataclasses
import json

import pytest
import torch
import yaml

from interop import cases
from interop.test_next_core import core  # noqa: F401 (a fixture)
from interop.test_table_mistakes import convert_with, exchange, read_table
from oracles import dcp, mapping, sharding
from oracles.layout import Layout
from oracles.pool import JobError

NAMES = list(cases.INDEXED)


def _iteration(root):
    return str(root / "iter_0000000")


def same_files(folder, other):
    assert sorted(file.name for file in folder.iterdir()) == sorted(file.name for file in other.iterdir())
    for file in folder.iterdir():
        assert (other / file.name).read_bytes() == file.read_bytes(), file.name


def save_point(root, iteration):
    (root / "latest_checkpointed_iteration.txt").write_text(str(iteration))


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_what_the_model_requires(name, sources, converted, core):  # noqa: F811
    directory = _iteration(converted(name, "te"))
    ((tensors, objects),) = core.run("requested_keys", arch=sources(name).arch)
    assert sorted(dcp.read_tensors(directory)) == tensors
    # An object of multi-token prediction that no version asks for where attention is sparse, or that only 0.16.1 does.
    assert set(objects) <= dcp.object_keys(directory)
    assert all(key.endswith("core_attention._extra_state/shard_0_1") for key in dcp.object_keys(directory) - set(objects))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_and_the_logits(name, sources, converted, core):  # noqa: F811
    """After a default-strict load; of the main head and of every depth of multi-token prediction."""
    source, directory = sources(name), _iteration(converted(name, "te"))
    full = mapping.to_megatron(source.arch, source.state)
    (loaded,) = core.run("load", arch=source.arch, directory=directory, vocab_rows=source.arch.vocab)
    assert not dcp.different(full, loaded)
    ids = cases.tokens(source.arch)
    ((loaded, logits),) = core.run("load_and_run", arch=source.arch, directory=directory, tokens=ids)
    assert not dcp.different({key: value.float() for key, value in full.items()}, loaded)
    cases.close(logits, source.logits(ids))
