"""Writes data/dcp/old_torch.metadata: `.metadata` as torch 2.2 and megatron-core 0.15 spelled it.

    python3 tests/io/torch_dist/old_metadata.py data/dcp/old_torch.metadata

Those versions cannot be installed everywhere, so their classes are stand-ins with the same module, name and
state; CPython's pickler does the rest. Beyond what the real ones write, storage_data comes first and one
optimizer entry has a path and a dtype that must not matter.
"""

import enum
import pathlib
import pickle
import sys
import types


def module(name):
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
    return sys.modules[name]


def stand_in(module_name, name, **members):
    made = type(name, (), {"__module__": module_name, "__qualname__": name, **members})
    setattr(module(module_name), name, made)
    return made


def instance(cls, **state):
    made = cls()
    made.__dict__.update(state)
    return made


METADATA = "torch.distributed.checkpoint.metadata"
SHARDED = "torch.distributed._shard.sharded_tensor.metadata"
FILESYSTEM = "torch.distributed.checkpoint.filesystem"
PLANNER = "torch.distributed.checkpoint.planner"
MCORE = "megatron.core.dist_checkpointing.strategies.torch"


class Size(tuple):
    def __reduce__(self):
        return (Size, (tuple(self),))


class Dtype:  # pickles as the global torch.NAME
    __module__ = "torch"

    def __init__(self, name):
        self.name = name
        setattr(module("torch"), name, self)

    def __reduce__(self):
        return self.name


class Layout:
    def __reduce__(self):
        return (_get_layout, ("torch.strided",))


def _get_layout(name):
    pass


Size.__module__ = "torch"
module("torch").Size = Size
_get_layout.__module__ = "torch.serialization"
module("torch.serialization")._get_layout = _get_layout
bfloat16, complex64 = Dtype("bfloat16"), Dtype("complex64")

TensorStorage = stand_in(METADATA, "TensorStorageMetadata")
BytesStorage = stand_in(METADATA, "BytesStorageMetadata")
ChunkStorage = stand_in(METADATA, "ChunkStorageMetadata")
Index = stand_in(METADATA, "MetadataIndex")
StorageMeta = stand_in(METADATA, "StorageMeta")
Properties = stand_in(SHARDED, "TensorProperties", __getstate__=lambda self: self.state)
StorageInfo = stand_in(FILESYSTEM, "_StorageInfo")
StoragePrefix = stand_in(FILESYSTEM, "_StoragePrefix")
WriteItem = stand_in(PLANNER, "WriteItem")
TensorWriteData = stand_in(PLANNER, "TensorWriteData")
SavePlan = stand_in(MCORE, "MCoreSavePlan")
Metadata = stand_in(MCORE, "MCoreMetadata")
MemoryFormat = enum.Enum("MEM_FORMAT_ENCODING", {"TORCH_CONTIGUOUS_FORMAT": 0}, module=SHARDED)
module(SHARDED).MEM_FORMAT_ENCODING = MemoryFormat
WriteItemType = enum.Enum("WriteItemType", {"TENSOR": 1, "SHARD": 2}, module=PLANNER)
module(PLANNER).WriteItemType = WriteItemType

PROJ = "decoder.layers.self_attention.linear_proj.weight"


def tensor(dtype, shape, chunks):
    return instance(
        TensorStorage,
        properties=instance(Properties, state=(dtype, Layout(), False, MemoryFormat(0), False)),
        size=Size(shape),
        chunks=[instance(ChunkStorage, offsets=Size(o), sizes=Size(s)) for o, s in chunks],
    )


def index(key, offset, number=None):
    return instance(Index, fqn=key, offset=None if offset is None else Size(offset), index=number)


def info(path, offset, length):
    return instance(StorageInfo, relative_path=path, offset=offset, length=length)


STATE = {
    PROJ: tensor(
        bfloat16, (2, 2, 4), [(o, (1, 2, 2)) for o in ((1, 0, 0), (0, 0, 0), (0, 0, 2), (1, 0, 2))]
    ),
    "optimizer.state.exp_avg." + PROJ: tensor(complex64, (3,), [((0,), (3,))]),
    "rng_state/shard_0_1": instance(BytesStorage),
    "decoder.layers.self_attention.linear_proj._extra_state/shard_0_2": instance(BytesStorage),
    "scale": tensor(bfloat16, (), [((), ())]),
}
STORAGE = {
    index(PROJ, (0, 0, 0), 0): info("__0_0.distcp", 0, 1200),
    index(PROJ, (1, 0, 0), 0): info("__0_0.distcp", 1200, 1200),
    index(PROJ, (0, 0, 2), 1): info("__1_0.distcp", 0, 1300),
    index(PROJ, (1, 0, 2), 1): info("__1_0.distcp", 1300, 1400),
    index("optimizer.state.exp_avg." + PROJ, (0,)): info("../elsewhere", 5, 6),
    index("rng_state/shard_0_1", None): info("__0_0.distcp", 2400, 5),
    index("decoder.layers.self_attention.linear_proj._extra_state/shard_0_2", None): info(
        "__0_0.distcp", 2405, 5
    ),
    index("scale", (), 0): info("__0_0.distcp", 5000, 999),
}
PLAN = instance(
    SavePlan,
    items=[
        instance(
            WriteItem,
            index=index("scale", (), 0),
            type=WriteItemType.SHARD,
            bytes_io_data=None,
            tensor_data=instance(TensorWriteData, chunk=STATE["scale"].chunks[0], size=Size(())),
        )
    ],
    storage_data=instance(StoragePrefix, prefix="__0_"),
    planner_data=None,
)

with open(sys.argv[1], "wb") as file:
    top = instance(
        Metadata,
        storage_data=STORAGE,
        storage_meta=instance(
            StorageMeta, checkpoint_id=pathlib.PosixPath("/old/iter_0000100"), save_id="1"
        ),
        all_local_plans=[PLAN],
        mcore_data={"scale": {"nd_reformulated_orig_global_shape": (1,)}},
        planner_data={"scale": ("model", "scale")},
        state_dict_metadata=STATE,
    )
    pickle.dump(top, file, protocol=2)
