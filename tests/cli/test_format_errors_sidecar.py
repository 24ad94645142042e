"""Damage to the sidecar ROOT/causeway/: an export that would not give back the source's files is refused."""
import json
import os
import shutil
import zlib

import pytest

from common_state import CommonState
from helpers import copy_tree, flip_bit, hf_fixture, refused, run, export, hashes

FIXTURE = "qwen3_dense"
SHARD = "model-00001-of-00001.safetensors"
FILES = ["manifest.json", f"headers/{SHARD}", "source_crc32.tsv", *(f"files/{name}" for name in ("config.json", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"))]


@pytest.fixture
def root(tmp_path, converted):
    return copy_tree(converted(FIXTURE), tmp_path / "root")


def test_the_list_is_complete(converted):
    sidecar = converted(FIXTURE) / "causeway"
    assert sorted(FILES) == sorted(str(path.relative_to(sidecar)) for path in sidecar.rglob("*") if path.is_file())


def outcome(root, folder, name):
    """Refused, naming the file."""
    refused("export-to-hf", root, folder, (3, 4), name.split("/")[-1])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", (0.01, 0.5, 0.99))
def test_flipped(name, where, root, tmp_path):
    path = root / "causeway" / name
    flip_bit(path, int(path.stat().st_size * where))
    outcome(root, tmp_path, name)


@pytest.mark.parametrize("name", FILES)
def test_missing(name, root, tmp_path):
    (root / "causeway" / name).unlink()
    outcome(root, tmp_path, name)


@pytest.mark.parametrize("name", FILES)
def test_truncated(name, root, tmp_path):
    path = root / "causeway" / name
    os.truncate(path, path.stat().st_size - 1 if name != "manifest.json" else path.stat().st_size // 2)
    outcome(root, tmp_path, name)


def manifest(change):
    def damage(root):
        path = root / "causeway" / "manifest.json"
        content = json.loads(path.read_text())
        content.pop("manifest_crc32")  # the change itself must be noticed
        change(content)
        path.write_text(json.dumps(content))

    return damage


def lead_out(root):
    (root.parent / "secret").write_text("{}")
    (root / "causeway" / "files" / "tokenizer.json").unlink()
    (root / "causeway" / "files" / "tokenizer.json").symlink_to("../../../secret")


def other_header(root):
    """A header whose CRC is right and whose tensors are not the checkpoint's."""
    path = root / "causeway" / "headers" / SHARD
    raw = path.read_bytes().replace(b"mlp.up_proj", b"mlp.uq_proj")
    path.write_bytes(raw)
    manifest(lambda m: m["shards"][0].update(header_crc32=f"{zlib.crc32(raw):08x}"))(root)


def shard_among_files(root):
    shutil.copyfile(root / "causeway" / "files" / "tokenizer.json", root / "causeway" / "files" / SHARD)
    manifest(lambda m: m["files"].append({**m["files"][2], "name": SHARD}))(root)


MANIFESTS = {
    "not an object": lambda r: (r / "causeway" / "manifest.json").write_text("[]"),
    "format missing": manifest(lambda m: m.pop("format")),
    "shards missing": manifest(lambda m: m.pop("shards")),
    "shards a number": manifest(lambda m: m.update(shards=1)),
    "shard in the parent folder": manifest(lambda m: m["shards"][0].update(name="../x")),
    "absolute shard": manifest(lambda m: m["shards"][0].update(name="/etc/passwd")),
    "shard twice": manifest(lambda m: m["shards"].append(m["shards"][0])),
    "shard of another size": manifest(lambda m: m["shards"][0].update(size=1)),
    "negative size": manifest(lambda m: m["shards"][0].update(size=-1)),
    "huge size": manifest(lambda m: m["shards"][0].update(size=1 << 70)),
    "file in the parent folder": manifest(lambda m: m["files"][0].update(name="../manifest.json")),
    "absolute file": manifest(lambda m: m["files"][0].update(name="/etc/hostname")),
    "file of the shard's name": shard_among_files,
    "file twice": manifest(lambda m: m["files"].append(m["files"][2])),
    "no config.json": manifest(lambda m: m["files"].pop(0)),
    "CRC is a number": manifest(lambda m: m["files"][0].update(crc32=1)),
    "CRC of another length": manifest(lambda m: m["files"][0].update(crc32="ab")),
    "choices a string": manifest(lambda m: m.update(choices="x")),
    "witnesses announced": manifest(lambda m: m.update(witnesses_crc32="00000000")),
    "symlink out": lead_out,
    "header of another model": other_header,
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifest(case, root, tmp_path):
    MANIFESTS[case](root)
    refused("export-to-hf", root, tmp_path, 4 if case == "witnesses announced" else 3, ("manifest.json", "witnesses.bin", "uq_proj"))


# --- witnesses.bin: records of tensor, first byte, length (8 bytes each), then the bytes; here the scales -----------

MAGIC = 8


@pytest.fixture
def fp8(tmp_path, converted):
    return copy_tree(converted("deepseek_v3_fp8"), tmp_path / "root")


def make_right(root):
    """The manifest's CRC is that of the damaged file, so that the damage itself must be noticed."""
    crc = zlib.crc32((root / "causeway" / "witnesses.bin").read_bytes())
    manifest(lambda m: m.update(witnesses_crc32=f"{crc:08x}"))(root)


def field(number, value):
    """Another tensor, first byte or length in the first record."""

    def damage(content):
        content[MAGIC + 8 * number : MAGIC + 8 * number + 8] = value.to_bytes(8, "little", signed=True)

    return damage


def first_record(content):
    return bytes(content[MAGIC : MAGIC + 24 + int.from_bytes(content[MAGIC + 16 : MAGIC + 24], "little")])


def drop_first(content):
    del content[MAGIC : MAGIC + len(first_record(content))]


def cut(size):
    def damage(content):
        del content[size:]

    return damage


WITNESSES = {
    "empty": cut(0),
    "magic cut": cut(7),
    "another magic": lambda content: content.__setitem__(0, content[0] ^ 1),
    "no record": cut(MAGIC),
    "cut in the last record": cut(-1),
    "cut in the first header": cut(MAGIC + 12),
    "a record missing": drop_first,
    "a record twice": lambda content: content.extend(first_record(content)),
    "tensor below none": field(0, -1),
    "tensor beyond all": field(0, 1 << 40),
    "begins before the tensor": field(1, -4),
    "begins behind the tensor": field(1, 1 << 50),
    "no length": field(2, 0),
    "negative length": field(2, -4),
    "longer than the tensor": field(2, 8),
    "longer than anything": field(2, (1 << 63) - 1),
}


@pytest.mark.parametrize("right_crc", (False, True), ids=("CRC stays", "CRC made right"))
@pytest.mark.parametrize("case", WITNESSES)
def test_witnesses(case, right_crc, fp8, tmp_path):
    path = fp8 / "causeway" / "witnesses.bin"
    content = bytearray(path.read_bytes())
    WITNESSES[case](content)
    path.write_bytes(content)
    if right_crc:
        make_right(fp8)
    refused("export-to-hf", fp8, tmp_path, 3, ("witnesses.bin", "does not hold its scales"))


@pytest.mark.parametrize("where", (0.01, 0.5, 0.99))
def test_an_edited_scale(where, fp8, tmp_path):
    """One bit, anywhere: refused by verify as by export, never a model that is quantized anew in silence."""
    path = fp8 / "causeway" / "witnesses.bin"
    flip_bit(path, int(path.stat().st_size * where))
    refused("export-to-hf", fp8, tmp_path, 3, "witnesses.bin", "CRC-32")
    done = run("verify", hf_fixture("deepseek_v3_fp8"), fp8, "--mode", "hash")
    assert done.code == 3 and "witnesses.bin" in done.err, done


def test_no_witnesses(fp8, tmp_path):
    (fp8 / "causeway" / "witnesses.bin").unlink()
    refused("export-to-hf", fp8, tmp_path, (3, 4), "witnesses.bin")
    manifest(lambda m: m.update(witnesses_crc32=None))(fp8)
    refused("export-to-hf", fp8, tmp_path, 3, "does not hold its scales")
    export(fp8, tmp_path / "out", "--reference", hf_fixture("deepseek_v3_fp8"))
    assert hashes(tmp_path / "out") == hashes(hf_fixture("deepseek_v3_fp8"))


def test_a_later_format(root, tmp_path):
    manifest(lambda m: m.update(format=2))(root)
    refused("export-to-hf", root, tmp_path, 5, "causeway: manifest.json", "format 2")


def test_without_a_sidecar(root, tmp_path):
    """Nothing says what the other side looks like, nor the checkpoint itself: a question of usage, answered with the options."""
    shutil.rmtree(root / "causeway")
    common = CommonState(root)
    del common.state["args"]
    common.save()
    (root / "iter_0000000" / "run_config.yaml").unlink()
    refused("export-to-hf", root, tmp_path, 2, "--reference", "--sidecar")


def test_sidecar_elsewhere(root, tmp_path):
    (root / "causeway").rename(tmp_path / "elsewhere")
    export(root, tmp_path / "out", "--sidecar", tmp_path / "elsewhere")
    assert hashes(tmp_path / "out") == hashes(hf_fixture(FIXTURE))
    done = run("export-to-hf", root, tmp_path / "out2", "--sidecar", tmp_path / "nowhere")
    assert done.code in (3, 4) and "nowhere" in done.err, done
