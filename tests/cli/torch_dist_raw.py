"""Tensors of a torch_dist checkpoint without torch: read whole, or changed in place.

1. `.metadata` says which chunk (offsets, sizes) of a tensor lies where (file, offset, length)
2. each chunk is a zip archive as torch.save writes it; its payload, stored and not compressed, is the record data/0
3. the record's CRC-32 stands behind it and in the archive's directory
"""
import io
import math
import pathlib
import zipfile
import zlib

from dcp_pickle import Metadata, numbers_of

SIZES = {"bfloat16": 2, "float16": 2, "float32": 4}


class Checkpoint:
    def __init__(self, root):
        self.folder = pathlib.Path(root) / "iter_0000000"
        self.metadata = Metadata(self.folder / ".metadata")

    def keys(self):
        return self.metadata.tensors()

    def shape(self, key):
        return numbers_of(self.metadata.entries[key]["size"])

    def dtype(self, key):
        properties = self.metadata.entries[key]["properties"].state
        return (properties[0] if isinstance(properties, tuple) else properties["dtype"]).path[1]

    def rows(self, key, *leading):
        """The rows of a matrix, as bytes; leading: layer and expert where the tensor has such axes."""
        shape = self.shape(key)
        assert len(shape) == len(leading) + 2, shape
        found = [None] * shape[-2]
        width = shape[-1] * SIZES[self.dtype(key)]
        for _, place, offsets, sizes in self._chunks(key):
            if all(o <= at < o + s for at, o, s in zip(leading, offsets, sizes)):
                assert sizes[:-2] == (1,) * len(leading) and sizes[-1] == shape[-1]
                payload = self._payload(place)
                for row in range(sizes[-2]):
                    found[offsets[-2] + row] = payload[row * width : (row + 1) * width]
        assert None not in found
        return found

    def payload(self, key):
        """The bytes of a tensor that lies in one chunk."""
        (_, place, _, _), = self._chunks(key)
        return self._payload(place)

    def pieces(self, key):
        """{offsets of a chunk: its bytes}"""
        return {tuple(offsets): self._payload(place) for _, place, offsets, _ in self._chunks(key)}

    def edit(self, key, change):
        """change(bytearray) of the first chunk's payload; the archive's CRCs are made right."""
        _, place, _, _ = self._chunks(key)[0]
        path = self.folder / place["relative_path"]
        content = bytearray(path.read_bytes())
        archive = content[place["offset"] : place["offset"] + place["length"]]
        payload = bytearray(self._payload(place))
        at = archive.index(payload)
        before = zlib.crc32(payload).to_bytes(4, "little")
        change(payload)
        archive[at : at + len(payload)] = payload
        head, tail = archive[: at + len(payload)], archive[at + len(payload) :]
        assert tail.count(before) == 2
        content[place["offset"] : place["offset"] + place["length"]] = head + tail.replace(before, zlib.crc32(payload).to_bytes(4, "little"))
        path.write_bytes(content)

    def _chunks(self, key):
        """[(MetadataIndex, _StorageInfo, offsets, sizes)]"""
        sizes = {numbers_of(chunk["offsets"]): numbers_of(chunk["sizes"]) for chunk in self.metadata.entries[key]["chunks"]}
        return [(index, place, (offset := numbers_of(index["offset"])), sizes[offset]) for index, place in self.metadata.places(key)]

    def _payload(self, place):
        with open(self.folder / place["relative_path"], "rb") as file:
            file.seek(place["offset"])
            content = file.read(place["length"])
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read(next(name for name in archive.namelist() if name.endswith("/data/0")))

    def bytes(self):
        return sum(math.prod(self.shape(key)) * SIZES[self.dtype(key)] for key in self.keys())
