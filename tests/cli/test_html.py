"""The pages of --html in a real browser: headless Chromium runs their scripts, and what it then shows is read."""

import html
import json
import re
import shutil
import struct
import subprocess

import pytest

from helpers import convert, flip_bit, hf_fixture, run


def shown(page):
    """The text that a reader sees. A line of the browser's console is a failure."""
    program = shutil.which("chromium")
    assert program, "scripts/install.sh --tests installs chromium"
    done = subprocess.run(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         f"--user-data-dir={page.parent / 'browser'}", page.as_uri()],
        capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    body = re.search(r"<main>(.*)</main>", done.stdout, re.DOTALL).group(1)
    return html.unescape(re.sub(r"<[^>]*>", " ", body))


@pytest.fixture
def converted(tmp_path):
    convert(hf_fixture("deepseek_v3"), tmp_path / "megatron")
    return hf_fixture("deepseek_v3"), tmp_path / "megatron"


def test_equal_checkpoints(converted, tmp_path):
    page = tmp_path / "verify.html"
    run("verify", *converted, "--html", page, expect=0)
    text = shown(page)
    for words in ("The checkpoints are equal", "bit for bit", "Every field is equal", "Heads", "mtp_logits.0", "top-5",
                  "experts of layers.", "embedding rows", "Tensors by their largest difference"):
        assert words in text, words
    assert "First divergence" not in text and "Tensors that differ" not in text


def test_the_first_divergence_is_shown(converted, tmp_path):
    source, megatron = converted
    data = max((megatron / "iter_0000000").glob("*.distcp"), key=lambda file: file.stat().st_size)
    # The records of a .distcp are stored as they are, so a bit in the middle is one of a weight; its CRC is then wrong
    # too, which hash mode refuses. Logits mode reads weights as a runtime does.
    flip_bit(data, 8 * (data.stat().st_size // 2) + 6)
    page = tmp_path / "verify.html"
    done = run("verify", source, megatron, "--mode", "logits", "--html", page, "--report", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())["logits"]
    assert done.code == 1, done
    text = shown(page)
    assert "The checkpoints differ" in text
    for found in report["tensors"]["differences"]:
        assert found["name"] in text
        assert found["largest"] > 0
    first = report["forward"]["first_diverging"]
    assert first is None or first["state"] in text


def test_hash_mode_has_a_page_too(converted, tmp_path):
    page = tmp_path / "verify.html"
    run("verify", *converted, "--mode", "hash", "--html", page, expect=0)
    text = shown(page)
    assert "bytes, source to Megatron" in text and "bytes, and back" in text and "identical" in text


@pytest.mark.parametrize("kind", ["hf", "megatron"])
def test_inspect(converted, tmp_path, kind):
    page = tmp_path / "inspect.html"
    run("inspect", converted[kind == "megatron"], "--html", page, expect=0)
    text = shown(page)
    for words in ("Bytes by dtype", "Bytes by layer", "Families", "Files"):
        assert words in text, words


def test_a_name_cannot_become_part_of_the_page(tmp_path):
    name = "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'>"
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    page = tmp_path / "inspect.html"
    run("inspect", tmp_path / "hf", "--html", page, expect=0)
    assert page.read_text().count("<script") == 2
    assert name in shown(page)


def test_a_large_model_stays_readable(tmp_path):
    """The experts of 61 layers take a line a family, and the page stays small."""
    names = [f"model.layers.{layer}.mlp.experts.{expert}.{part}_proj.weight"
             for layer in range(61) for expert in range(256) for part in ("gate", "up", "down")]
    header = json.dumps({name: {"dtype": "F8_E4M3", "shape": [1, 2], "data_offsets": [2 * i, 2 * i + 2]}
                         for i, name in enumerate(names)}).encode()
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(2 * len(names)))
    page = tmp_path / "inspect.html"
    run("inspect", tmp_path / "hf", "--html", page, expect=0)
    assert page.stat().st_size < 100_000
    text = shown(page)
    assert "model.layers.*.mlp.experts.*.up_proj.weight" in text and "model.layers.60" in text and "46,848" in text


def test_where_a_page_may_lie(converted, tmp_path):
    done = run("verify", *converted, "--html", converted[1] / "page.html", expect=2)
    assert "--html" in done.err and "lies in the input" in done.err
    run("inspect", converted[0], "--json", "--html", tmp_path / "page.html", expect=2)
