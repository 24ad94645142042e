"""Our readers against Python's safetensors, zipfile and pickle, on mutated files: what ours take, the others take too, and find the same in it.
What they do differently on purpose is listed in allowed.py. reader_driver.cpp is the one process that reads for us."""
import collections
import hashlib
import io
import json
import os
import pathlib
import pickle
import random
import re
import select
import subprocess
import zipfile

import allowed
import mutate
import opaque_pickle
import pytest
import safetensors
from helpers import DATA, binary
from make_seeds import first_archive, safetensors_file

INPUTS = 10_000 if os.environ.get("CAUSEWAY_DIFFERENTIAL") == "whole" else 1_000
LARGEST_SEED = 32 << 10
SECONDS = 20  # for one input
SHOWN = 10


class Driver:
    """reader_driver, started once."""

    def __init__(self, folder, classes):
        program = pathlib.Path(binary()).with_name("reader_driver")
        self.path = folder / "input"
        self.process = subprocess.Popen([program, *(f"{module} {name}" for module, name in classes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, kind, data):
        self.path.write_bytes(data)
        self.process.stdin.write(f"{kind} {self.path}\n".encode())
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        assert ready, f"no answer after {SECONDS} s: {self.path}"
        line = self.process.stdout.readline()
        assert line, f"the driver ended with {self.process.wait()}: {self.path}"
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(SECONDS) == 0


# ---- safetensors ----


class Safetensors:
    change = staticmethod(mutate.change_header)

    def __init__(self):
        self.seeds = [
            safetensors_file({}),
            safetensors_file({"w": ("BF16", [2, 3], 12)}, {"format": "pt"}),
            safetensors_file({"s": ("F32", [], 4), "e": ("F16", [0, 8], 0), "q": ("F8_E4M3", [2, 2], 4), "f": ("F4", [4], 2)}),
            safetensors_file({f"model.layers.{layer}.mlp.up_proj.weight": ("BF16", [4, 8], 64) for layer in range(12)}),
            *(path.read_bytes() for path in sorted(DATA.rglob("*.safetensors")) if path.stat().st_size <= LARGEST_SEED),
        ]

    @staticmethod
    def theirs(data, path):
        found = {name: (tensor["dtype"], tuple(tensor["shape"]), bytes(tensor["data"])) for name, tensor in safetensors.deserialize(data)}
        with safetensors.safe_open(path, "np") as file:
            return found, file.metadata() or {}

    @staticmethod
    def ours(answer, data):
        payload = data[answer["payload"] :]
        tensors = answer["tensors"].items()
        return {name: (dtype, tuple(shape), payload[begin:end]) for name, (dtype, shape, begin, end) in tensors}, answer["metadata"]


# ---- zip ----


class Zip:
    change = staticmethod(mutate.change_record)

    def __init__(self):
        items = [path.read_bytes() for path in sorted((DATA / "torch_items").glob("*.pt"))]
        items += [first_archive(path) for path in sorted(DATA.rglob("*.distcp"))[:20]]
        items += [self.written_by_python(names) for names in (["archive/version"], ["a/data.pkl", "a/data/0", "a/data/\u00e9"])]
        self.seeds = [data for data in items if 0 < len(data) <= LARGEST_SEED]

    @staticmethod
    def written_by_python(names):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name in names:
                archive.writestr(name, name * 3)
        return out.getvalue()

    @staticmethod
    def theirs(data, path):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [(Zip.raw_name(entry), hashlib.sha256(archive.read(entry)).hexdigest()) for entry in archive.infolist()]

    @staticmethod
    def raw_name(entry):
        return entry.orig_filename.encode("utf-8" if entry.flag_bits & 0x800 else "cp437")

    @staticmethod
    def ours(answer, data):
        return [(name.encode(), content) for name, content in answer["entries"]]


# ---- pickle ----


class Pickle:
    change = staticmethod(mutate.change_operations)

    def __init__(self):
        value = {"a": [1, 2**40, -(2**80), -1.5, None, True], ("t", 1): b"bytes", "s": {"x"}, "e": (), "f": frozenset((1, 2)), "o": collections.OrderedDict(a=1)}
        value["\udc80"] = [value["a"], bytearray(b"array")]
        self.seeds = [pickle.dumps(value, protocol) for protocol in (2, 3, 4, 5)]
        self.seeds += [path.read_bytes() for path in sorted((DATA / "pickles").glob("*.bin")) + sorted((DATA / "dcp").glob("*.metadata"))]
        for path in sorted((DATA / "torch_items").glob("*.pt")):
            if path.stem != "without_crc":  # which zipfile does not read
                with zipfile.ZipFile(path) as archive:
                    self.seeds += [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
        self.seeds = [data for data in self.seeds if len(data) <= LARGEST_SEED]
        self.classes = sorted(set().union(*map(opaque_pickle.classes_of, self.seeds)))

    def theirs(self, data, path):
        return opaque_pickle.load(data, self.classes)

    @staticmethod
    def ours(answer, data):
        return answer.get("value", NotImplemented)  # a tree that is too large to print


READERS = {"safetensors": Safetensors, "zip": Zip, "pickle": Pickle}


def is_allowed(table, message):
    return any(re.search(pattern, message) for pattern in table)


def compare(kind, reader, driver, data):
    """("same", "stricter", "refused" or "laxer") if that may be; else what is wrong."""
    answer = driver.read(kind, data)
    try:
        theirs, reason = reader.theirs(data, driver.path), None
    except Exception as error:  # whatever a library raises for such a file
        theirs, reason = None, f"{type(error).__name__}: {error}"
    if "code" in answer:
        if answer["code"] not in (3, 5):
            return f"exit status {answer['code']}: {answer['message']}"
        if reason is not None:
            return "refused"
        return "stricter" if is_allowed(allowed.STRICTER[kind], answer["message"]) else f"only ours refuses: {answer['message']}"
    if reason is not None:
        reason = reason if answer.get("has_crc", True) else f"without CRCs: {reason}"
        return "laxer" if is_allowed(allowed.LAXER[kind], reason) else f"only ours takes it; theirs: {reason}"
    ours = reader.ours(answer, data)
    if kind == "pickle" and ours is not NotImplemented:
        ours, theirs = opaque_pickle.canonical_tree(ours), opaque_pickle.canonical(theirs)
    return "same" if ours is NotImplemented or ours == theirs else f"they differ: {ours!r:.300} / {theirs!r:.300}"


@pytest.mark.parametrize("kind", READERS)
def test_readers(kind, tmp_path):
    reader = READERS[kind]()
    assert len(reader.seeds) > 3
    driver = Driver(tmp_path, getattr(reader, "classes", ()))
    for data in reader.seeds:
        assert compare(kind, reader, driver, data) in ("same", "stricter", "laxer"), "a seed"
    verdicts, wrong = collections.Counter(), []
    for number in range(INPUTS // len(READERS) + 1):
        data = mutate.mutated(random.Random(f"{kind} {number}"), reader.seeds, reader.change)
        verdict = compare(kind, reader, driver, data)
        if verdict not in ("same", "stricter", "refused", "laxer"):
            wrong.append(f"input {number}: {verdict}")
            (tmp_path / f"wrong-{number}").write_bytes(data)
            verdict = "wrong"
        verdicts[verdict] += 1
    driver.close()
    print(f"{kind}: {dict(verdicts)}")
    assert not wrong, f"{len(wrong)} of {sum(verdicts.values())}, in {tmp_path}:\n" + "\n".join(wrong[:SHOWN])
    # What every reader refuses shows little: a tenth must be read by both, and a tenth be refused.
    assert min(verdicts["same"], verdicts["refused"]) > 0.1 * sum(verdicts.values()), verdicts
