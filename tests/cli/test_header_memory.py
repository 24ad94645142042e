"""--memory holds for what a header makes the reader allocate, whatever is in it."""
import struct

import pytest

from helpers import hf_fixture, run

TENSOR = b'{"t":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
HEADERS = {
    "metadata": lambda n: b'{"__metadata__":{"x":"' + b"y" * n + b'"},' + TENSOR[1:],
    "metadata with escapes": lambda n: b'{"__metadata__":{"x":"' + b"\\n" * (n // 2) + b'"},' + TENSOR[1:],
    "spaces": lambda n: TENSOR + b" " * n,
    "spaces inside": lambda n: TENSOR[:1] + b" " * n + TENSOR[1:],
    "name": lambda n: TENSOR.replace(b'"t"', b'"' + b"x" * n + b'"'),
    "dtype": lambda n: TENSOR.replace(b"BF16", b"B" * n),
    "number": lambda n: TENSOR.replace(b"[1]", b"[1." + b"0" * n + b"]"),
}


def write(folder, header):
    folder.mkdir()
    (folder / "config.json").write_bytes((hf_fixture("qwen3_dense") / "config.json").read_bytes())
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    return folder


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("memory", (64, 128, 256))
def test_the_cap_holds(kind, memory, tmp_path):
    folder = write(tmp_path / "hf", HEADERS[kind](60_000_000))
    done = run("inspect", folder, "--memory", f"{memory}MiB")
    assert done.peak_bytes < (memory + 64) << 20, done
    assert done.code in (0, 2, 3), done


def test_tensor_names_have_a_limit(tmp_path):
    run("inspect", write(tmp_path / "a", HEADERS["name"](4096)), expect=0)
    done = run("inspect", write(tmp_path / "b", HEADERS["name"](4097)), expect=3)
    assert "4097" in done.err and "4096" in done.err
