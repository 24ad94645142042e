"""safetensors files byte by byte, so that wrong ones can be written: 8 bytes of length, JSON, payload."""
import dataclasses
import json
import math
import pathlib

SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "F32": 4, "I32": 4, "F64": 8, "I64": 8}
INDEX = "model.safetensors.index.json"


@dataclasses.dataclass
class Tensor:
    dtype: str
    shape: list
    data: bytes


def read(path):
    """({name: Tensor}, metadata) in order of the payload."""
    raw = pathlib.Path(path).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    payload = raw[8 + length :]
    entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    return {name: Tensor(e["dtype"], e["shape"], payload[slice(*e["data_offsets"])]) for name, e in entries}, metadata


def header_of(tensors, metadata=None):
    header, at = {} if metadata is None else {"__metadata__": metadata}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, at + len(tensor.data)]}
        at += len(tensor.data)
    return header


def write_raw(path, header, payload, length=None):
    """header: bytes, or what json.dumps makes of it. length: what the first 8 bytes claim."""
    if not isinstance(header, bytes):
        header = json.dumps(header, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)
    pathlib.Path(path).write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + payload)


def write(path, tensors, metadata=None):
    for name, tensor in tensors.items():
        assert len(tensor.data) == math.prod(tensor.shape) * SIZES[tensor.dtype], name
    write_raw(path, header_of(tensors, metadata), b"".join(tensor.data for tensor in tensors.values()))


class Model:
    """The weights of a folder: {shard: {name: Tensor}}; save() writes shards and index again."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.shards = {path.name: read(path)[0] for path in sorted(self.folder.glob("*.safetensors"))}

    def names(self):
        return sorted(name for shard in self.shards.values() for name in shard)

    def shard_of(self, name):
        return next(shard for shard in self.shards.values() if name in shard)

    def split(self, count):
        """Deals the tensors out to count shards."""
        tensors = [item for shard in self.shards.values() for item in shard.items()]
        for old in self.shards:
            (self.folder / old).unlink()
        self.shards = {f"model-{i + 1:05}-of-{count:05}.safetensors": dict(tensors[i::count]) for i in range(count)}
        return self

    def save(self):
        for name, tensors in self.shards.items():
            write(self.folder / name, tensors, {"format": "pt"})
        if list(self.shards) != ["model.safetensors"]:
            weight_map = {tensor: shard for shard, tensors in self.shards.items() for tensor in tensors}
            total = sum(len(t.data) for tensors in self.shards.values() for t in tensors.values())
            (self.folder / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2))
        return self


def edit_tensors(folder, change):
    """change(Model) is written to the folder."""
    model = Model(folder)
    change(model)
    model.save()


def renamed(old, new):
    """A change: the tensor stays in its shard."""

    def change(model):
        shard = model.shard_of(old)
        shard[new] = shard.pop(old)

    return change
