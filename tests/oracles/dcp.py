"""torch.distributed.checkpoint directories through torch itself."""
import os
import pickle
import shutil

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import MetadataIndex, TensorStorageMetadata


def metadata(directory):
    return dcp.FileSystemReader(directory).read_metadata()


def read_tensors(directory):
    """{key: full tensor} of every tensor of the checkpoint, in its stored dtype."""
    entries = metadata(directory).state_dict_metadata
    tensors = {key: torch.empty(entry.size, dtype=entry.properties.dtype) for key, entry in entries.items() if isinstance(entry, TensorStorageMetadata)}
    dcp.load(tensors, storage_reader=dcp.FileSystemReader(directory), no_dist=True, planner=dcp.DefaultLoadPlanner(flatten_state_dict=False))
    return tensors


def object_keys(directory):
    return {key for key, entry in metadata(directory).state_dict_metadata.items() if not isinstance(entry, TensorStorageMetadata)}


def copy_without(directory, copy, removed):
    """A copy whose `.metadata` no longer lists the keys for which removed(key) holds."""
    shutil.copytree(directory, copy)
    entries = metadata(directory)
    gone = {key for key in entries.state_dict_metadata if removed(key)}
    assert gone, "nothing to remove"
    for key in gone:
        del entries.state_dict_metadata[key]
    entries.storage_data = {index: place for index, place in entries.storage_data.items() if index.fqn not in gone}
    with open(os.path.join(copy, ".metadata"), "wb") as file:
        pickle.dump(entries, file)
    return copy


def add_object(directory, key, like):
    """Makes `.metadata` list one more non-tensor object, whose bytes are those of `like`."""
    entries = metadata(directory)
    entries.state_dict_metadata[key] = entries.state_dict_metadata[like]
    (place,) = [place for index, place in entries.storage_data.items() if index.fqn == like]
    entries.storage_data[MetadataIndex(key)] = place
    with open(os.path.join(directory, ".metadata"), "wb") as file:
        pickle.dump(entries, file)


def different(expected, actual):
    """Keys that are not bit for bit the same tensor in both (NaNs and signed zeros included), with what differs."""
    out = [f"{key}: missing" for key in sorted(expected.keys() - actual.keys())] + [f"{key}: unexpected" for key in sorted(actual.keys() - expected.keys())]
    for key in sorted(expected.keys() & actual.keys()):
        want, got = expected[key], actual[key]
        if want.dtype != got.dtype or want.shape != got.shape:
            out.append(f"{key}: {got.dtype} {tuple(got.shape)}, expected {want.dtype} {tuple(want.shape)}")
        elif not torch.equal(want.contiguous().view(torch.uint8), got.contiguous().view(torch.uint8)):
            out.append(f"{key}: {int((want != got).sum())} of {want.numel()} values differ")
    return out
