"""Damaged torch_dist checkpoints through the binary. Real readers are silent about many of these (flipped bits, uncovered regions,
other dtypes) or run what is in the pickle; we refuse them all, naming file and key."""
import io
import json
import os
import pickle
import zipfile

import pytest

import dcp_pickle
from dcp_pickle import METADATA, Metadata, new, numbers_of, size
from helpers import copy_tree, export, flip_bit, hashes, hf_fixture, refused

KEY = "decoder.layers.mlp.linear_fc2.weight"  # [3, 72, 136], one item a layer
DATA = "__0_0.distcp"


@pytest.fixture
def root(tmp_path, converted):
    return copy_tree(converted("llama_tied"), tmp_path / "root")


class Checkpoint:
    def __init__(self, root):
        self.root = root
        self.dist = root / "iter_0000000"
        self.file = self.dist / DATA
        self.metadata = Metadata(self.dist / ".metadata")
        self.entry = self.metadata.entries[KEY]
        self.index, self.place = self.metadata.places(KEY)[1]  # of the second layer

    def item(self):
        return self.file.read_bytes()[self.place["offset"] :][: self.place["length"]]

    def replace_item(self, content):
        """Puts another archive in place of the item's, at the end of the file."""
        self.place["offset"], self.place["length"] = self.file.stat().st_size, len(content)
        with open(self.file, "ab") as file:
            file.write(content)

    def records(self):
        with zipfile.ZipFile(io.BytesIO(self.item())) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


def metadata(change):
    """A change of the decoded `.metadata`, which is then written again."""

    def damage(checkpoint):
        change(checkpoint)
        checkpoint.metadata.save()

    return damage


def metadata_bytes(change):
    def damage(checkpoint):
        path = checkpoint.metadata.path
        path.write_bytes(change(path.read_bytes()))

    return damage


def place(**fields):
    return metadata(lambda c: c.place.state.update(fields))


def archive(change=lambda records: records, compression={}):
    """The item's archive, changed, written by Python's zipfile; change returns [(name, content)] or a dict."""

    def rewrite(checkpoint):
        out = io.BytesIO()
        records = change(checkpoint.records())
        with zipfile.ZipFile(out, "w") as file:
            for name, content in records.items() if isinstance(records, dict) else records:
                file.writestr(name, content, compression.get(name, zipfile.ZIP_STORED))
        checkpoint.replace_item(out.getvalue())

    return metadata(rewrite)


def record(name, change):
    def edit(records):
        full = f"archive/{name}"
        assert full in records
        return {key: change(value) if key == full else value for key, value in records.items()}

    return archive(edit)


def item_bytes(change):
    return metadata(lambda c: c.replace_item(change(c.item())))


def chunk(number, **fields):
    return metadata(lambda c: c.entry["chunks"][number].state.update(fields))


def retype(name):
    return metadata(lambda c: c.metadata.retype(KEY, name))


def move_chunk(c):
    """The second layer says it is the first: overlap, and a gap where it was."""
    chunks = sorted(c.entry["chunks"], key=lambda chunk: numbers_of(chunk["offsets"]))
    chunks[1]["offsets"] = chunks[0]["offsets"]


def shift_chunk(c):
    """Chunk and place alike: the tensor has a hole."""
    c.entry["chunks"].sort(key=lambda chunk: numbers_of(chunk["offsets"]))
    c.entry["chunks"][1]["offsets"] = c.index["offset"] = size(5, 0, 0)


def a_billion_chunks_long(c):
    c.entry["size"] = size(1 << 40, 72, 136)


def extra_place(c):
    c.metadata.storage[new(METADATA, "MetadataIndex", {"fqn": KEY, "offset": size(9, 0, 0), "index": None})] = c.place


def swapped_items(c):
    """Two items of different shapes exchanged: each is a good archive."""
    other = c.metadata.places("decoder.layers.self_attention.linear_proj.weight")[0][1]
    c.place.state, other.state = other.state, c.place.state


def evil(path, *arguments):
    """Pickles as a call of path."""
    return dcp_pickle.stand_in(*path)(*arguments)


SYSTEM = ("os", "system")
EVIL_BYTES = b"\x80\x02cos\nsystem\nX\x13\0\0\0touch run_by_pickle\x85R."  # refused() finds what this makes
BOMB = b"\x80\x04]" + b"(" * 1_000_000 + b"."
LONG_STRING = b"\x80\x04\x8d" + (1 << 62).to_bytes(8, "little") + b"a."
MEMO = b"\x80\x04}r\xff\xff\xff\xff."
BILLION_LAUGHS = b"\x80\x04]q\x00" + b"".join(b"](h%ch%ch%ch%ceq%c" % (i, i, i, i, i + 1) for i in range(60)) + b"."

METADATA_CASES = {
    "empty": (metadata_bytes(lambda b: b""), 3, []),
    "truncated": (metadata_bytes(lambda b: b[: len(b) // 2]), 3, []),
    "last byte missing": (metadata_bytes(lambda b: b[:-1]), 3, []),
    "bytes after the end": (metadata_bytes(lambda b: b + b"x"), 3, []),
    "text": (metadata_bytes(lambda b: b"hello"), 3, []),
    "a dict": (metadata_bytes(lambda b: pickle.dumps({"a": 1})), 3, []),
    "protocol 9": (metadata_bytes(lambda b: b"\x80\x09" + b[2:]), 3, []),
    "os.system alone": (metadata_bytes(lambda b: EVIL_BYTES), 3, ["os", "system"]),
    "os.system for a size": (metadata(lambda c: c.entry.state.update(size=evil(SYSTEM, "touch run_by_pickle"))), 3, ["system"]),
    "os.system for a dtype": (metadata(lambda c: c.entry.state.update(properties=evil(SYSTEM, "touch run_by_pickle"))), 3, ["system"]),
    "os.system for planner_data": (metadata(lambda c: c.metadata.root.state.update(planner_data=evil(SYSTEM, "touch run_by_pickle"))), 3, ["system"]),
    "builtins.eval for a path": (place(relative_path=evil(("builtins", "eval"), "1")), 3, ["eval"]),
    "a million marks": (metadata_bytes(lambda b: BOMB), 3, []),
    "string of 2^62 bytes": (metadata_bytes(lambda b: LONG_STRING), 3, []),
    "memo slot 2^32": (metadata_bytes(lambda b: MEMO), 3, []),
    "lists that share lists": (metadata_bytes(lambda b: BILLION_LAUGHS), 3, []),
    "nothing in it": (metadata(lambda c: (c.metadata.entries.clear(), c.metadata.storage.clear())), 3, []),
    "no storage_data": (metadata(lambda c: c.metadata.root.state.pop("storage_data")), 3, ["storage_data"]),
    "no state_dict_metadata": (metadata(lambda c: c.metadata.root.state.pop("state_dict_metadata")), 3, ["state_dict_metadata"]),
    "entry is a number": (metadata(lambda c: c.metadata.entries.update({KEY: 3})), 3, [KEY]),
    "no chunks": (metadata(lambda c: c.entry["chunks"].clear()), 3, [KEY]),
    "overlap": (metadata(move_chunk), 3, [KEY]),
    "hole": (metadata(shift_chunk), 3, [KEY]),
    "chunk too large": (chunk(0, sizes=size(2, 72, 136)), 3, [KEY]),
    "chunk too small": (chunk(0, sizes=size(1, 71, 136)), 3, [KEY]),
    "chunk of another rank": (chunk(0, sizes=size(72, 136)), 3, [KEY]),
    "negative chunk": (chunk(0, sizes=size(-1, 72, 136)), 3, [KEY]),
    "negative chunk offset": (chunk(0, offsets=size(-1, 0, 0)), 3, [KEY]),
    "sizes that overflow": (chunk(0, sizes=size(1 << 62, 1 << 62, 4)), 3, [KEY]),
    "tensor of 2^40 layers": (metadata(a_billion_chunks_long), 3, [KEY]),
    "dimension beyond 64 bits": (metadata(lambda c: c.entry.state.update(size=size(1 << 80))), 3, [KEY]),
    "place without chunk": (metadata(extra_place), 3, [KEY]),
    "unknown dtype": (retype("bfloat17"), 3, ["bfloat17"]),
    "dtype of no weight": (retype("complex64"), (3, 5), ["complex64"]),
    "dtype of other items": (retype("float16"), 3, ["linear_fc2", "float16"]),
    "dtype of another width": (retype("float32"), 3, ["linear_fc2"]),
    "absolute path": (place(relative_path="/etc/passwd"), 3, ["/etc/passwd"]),
    "parent folder": (place(relative_path="../__0_0.distcp"), 3, ["../__0_0.distcp"]),
    "parent folder inside": (place(relative_path="a/../__0_0.distcp"), 3, ["a/../__0_0.distcp"]),
    "empty path": (place(relative_path=""), 3, [KEY]),
    "path with NUL": (place(relative_path="a\0b"), 3, [KEY]),
    "path with control characters": (place(relative_path="\x1b[2J"), 3, ["\\x1b[2J"]),
    "file that is not there": (place(relative_path="__7_0.distcp"), 3, ["__7_0.distcp"]),
    "offset behind the end": (place(offset=1 << 40), 3, [DATA, KEY]),
    "negative offset": (place(offset=-1), 3, [KEY]),
    "offset and length overflow": (place(offset=(1 << 63) - 1, length=(1 << 63) - 1), 3, [KEY]),
    "length one short": (metadata(lambda c: c.place.state.update(length=c.place["length"] - 1)), 3, [DATA, KEY]),
    "length one long": (metadata(lambda c: c.place.state.update(length=c.place["length"] + 1)), 3, [DATA, KEY]),
    "length of zero": (place(length=0), 3, [KEY]),
    "length in text": (place(length="12"), 3, [KEY]),
    "compressed": (place(transform_descriptors=["zstd"]), 5, [KEY]),
    "items exchanged": (metadata(swapped_items), 3, [KEY]),
}


@pytest.mark.parametrize("case", METADATA_CASES)
def test_metadata(case, root, tmp_path):
    damage, code, words = METADATA_CASES[case]
    damage(Checkpoint(root))
    refused("export-to-hf", root, tmp_path, code, "root/release", *words)


def flip_payload(checkpoint):
    flip_bit(checkpoint.file, checkpoint.place["offset"] + checkpoint.item().index(checkpoint.records()["archive/data/0"]) + 777)


def flip_after_metadata(needle, shift):
    """A bit of the item's bookkeeping: behind the last (shift < 0) or first occurrence of needle."""

    def damage(checkpoint):
        item = checkpoint.item()
        at = (item.rindex if shift < 0 else item.index)(needle)
        flip_bit(checkpoint.file, checkpoint.place["offset"] + at + abs(shift))

    return damage


def truncate(checkpoint):
    os.truncate(checkpoint.file, checkpoint.file.stat().st_size - 1)


def pickled(change):
    return record("data.pkl", change)


def swap(old, by):
    def change(content):
        assert old in content, content
        return content.replace(old, by)

    return change


ITEM_CASES = {
    "file truncated": (truncate, 3, []),
    "file empty": (lambda c: os.truncate(c.file, 0), 3, []),
    "file missing": (lambda c: c.file.unlink(), 3, []),
    "file is a folder": (lambda c: (c.file.unlink(), c.file.mkdir()), 3, []),
    "file is a symlink out": (lambda c: (c.file.rename(c.root.parent / "elsewhere"), c.file.symlink_to("../../elsewhere")), 3, []),
    "bit flip in a payload": (flip_payload, 3, ["linear_fc2", "CRC"]),
    "bit flip in the pickle": (flip_after_metadata(b"_rebuild_tensor_v2", 3), 3, ["linear_fc2"]),
    "bit flip in a local header": (flip_after_metadata(b"PK\x03\x04", 8), (3, 5), ["linear_fc2"]),
    "bit flip in a local name": (flip_after_metadata(b"archive/data/0", 2), 3, ["linear_fc2"]),
    "bit flip in the directory": (flip_after_metadata(b"PK\x01\x02", -20), 3, ["linear_fc2"]),
    "bit flip in the end record": (flip_after_metadata(b"PK\x05\x06", -12), 3, ["linear_fc2"]),
    "zeros": (item_bytes(lambda item: bytes(len(item))), 3, ["linear_fc2"]),
    "bytes before the end": (item_bytes(lambda item: item + b"\0"), 3, ["linear_fc2"]),
    "compressed": (archive(compression={"archive/data.pkl": zipfile.ZIP_DEFLATED}), 5, ["linear_fc2", "compressed"]),
    "compressed payload": (archive(compression={"archive/data/0": zipfile.ZIP_DEFLATED}), 3, ["linear_fc2"]),
    "record twice": (archive(lambda r: [*r.items(), ("archive/data/0", r["archive/data/0"])]), 3, ["linear_fc2"]),
    "two prefixes": (archive(lambda r: {**r, "other/version": b"3\n"}), 3, ["linear_fc2"]),
    "no data": (archive(lambda r: {k: v for k, v in r.items() if k != "archive/data/0"}), 3, ["linear_fc2"]),
    "no pickle": (archive(lambda r: {k: v for k, v in r.items() if k != "archive/data.pkl"}), 3, ["linear_fc2", "data.pkl"]),
    "no version": (archive(lambda r: {k: v for k, v in r.items() if k != "archive/version"}), 3, ["linear_fc2", "version"]),
    "version 99": (record("version", lambda v: b"99\n"), 3, ["linear_fc2", "99"]),
    "big endian": (record("byteorder", lambda v: b"big"), 5, ["linear_fc2", "big-endian"]),
    "payload of another size": (record("data/0", lambda v: v[:-2]), 3, ["linear_fc2"]),
    "2,000 records": (archive(lambda r: {**r, **{f"archive/x{i}": b"" for i in range(2000)}}), 3, ["linear_fc2"]),
    "os.system": (pickled(lambda p: EVIL_BYTES), (3, 5), ["linear_fc2", "system"]),
    "os.system for the hooks": (pickled(swap(b"ccollections\nOrderedDict\n", b"cos\nsystem\n")), 3, ["linear_fc2", "system"]),
    "another storage type": (pickled(swap(b"BFloat16Storage", b"HalfStorage")), 3, ["linear_fc2"]),
    "an unknown storage type": (pickled(swap(b"BFloat16Storage", b"QInt8Storage")), (3, 5), ["linear_fc2", "QInt8Storage"]),
    "sparse tensor": (pickled(swap(b"_rebuild_tensor_v2", b"_rebuild_sparse_tensor")), (3, 5), ["linear_fc2"]),
    "another shape": (pickled(swap(b"K\x48K\x88", b"K\x88K\x48")), (3, 5), ["linear_fc2"]),
    "pickle truncated": (pickled(lambda p: p[:-10]), 3, ["linear_fc2"]),
    "pickle of a megabyte": (pickled(lambda p: p + bytes(1 << 20)), 3, ["linear_fc2"]),
}


@pytest.mark.parametrize("case", ITEM_CASES)
def test_item(case, root, tmp_path):
    damage, code, words = ITEM_CASES[case]
    damage(Checkpoint(root))
    refused("export-to-hf", root, tmp_path, code, (DATA, ".metadata"), *words)


def backend(**fields):
    def damage(dist):
        path = dist / "metadata.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return damage


FILE_CASES = {
    "metadata.json is not JSON": (lambda d: (d / "metadata.json").write_text("{"), 3, ["metadata.json"]),
    "metadata.json is an array": (lambda d: (d / "metadata.json").write_text("[]"), 3, ["metadata.json"]),
    "metadata.json without backend": (lambda d: (d / "metadata.json").write_text("{}"), 3, ["metadata.json", "sharded_backend"]),
    "backend is a number": (backend(sharded_backend=1), 3, ["metadata.json"]),
    "no .metadata": (lambda d: (d / ".metadata").unlink(), 3, [".metadata"]),
    "common.pt truncated": (lambda d: os.truncate(d / "common.pt", 1000), 3, ["common.pt"]),
    "common.pt empty": (lambda d: os.truncate(d / "common.pt", 0), 3, ["common.pt"]),
    "common.pt is no archive": (lambda d: (d / "common.pt").write_bytes(pickle.dumps({})), 3, ["common.pt"]),
    "common.pt with a flipped bit": (lambda d: flip_bit(d / "common.pt", 300), 3, ["common.pt"]),
    "tracker says nonsense": (lambda d: (d.parent / "latest_checkpointed_iteration.txt").write_text("soon"), 3, ["latest_checkpointed_iteration.txt", "soon"]),
    "tracker is empty": (lambda d: (d.parent / "latest_checkpointed_iteration.txt").write_text(""), 3, ["latest_checkpointed_iteration.txt"]),
    "tracker of a megabyte": (lambda d: (d.parent / "latest_checkpointed_iteration.txt").write_text("1" * 1_000_000), 3, ["latest_checkpointed_iteration.txt"]),
    "tracker names an iteration that is not there": (lambda d: (d.parent / "latest_checkpointed_iteration.txt").write_text("7"), 3, ["iteration 7"]),
    "release leads out": (lambda d: ((d.parent / "release").unlink(), d.rename(d.parent.parent / "x"), (d.parent / "release").symlink_to("../x")), 3, ["release"]),
    "release leads nowhere": (lambda d: ((d.parent / "release").unlink(), (d.parent / "release").symlink_to("x")), 3, ["release"]),
}


@pytest.mark.parametrize("case", FILE_CASES)
def test_file(case, root, tmp_path):
    damage, code, words = FILE_CASES[case]
    damage(root / "iter_0000000")
    refused("export-to-hf", root, tmp_path, code, *words)


def test_the_instrument(root, tmp_path):
    """An item written again by Python's zipfile is as good as before."""
    archive()(Checkpoint(root))
    export(root, tmp_path / "out")
    assert hashes(tmp_path / "out") == hashes(hf_fixture("llama_tied"))
