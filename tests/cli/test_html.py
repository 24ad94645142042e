"""The pages of --html in a real browser: headless Chromium runs their scripts, and what it then shows is read."""

import html
import json
import re
import shutil
import struct
import subprocess

import pytest

from helpers import DATA, convert, copy_tree, hf_fixture, run


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


def change_signs(folder, name):
    """Turns every value of a BF16 tensor into its negative."""
    for shard in folder.glob("*.safetensors"):
        data = bytearray(shard.read_bytes())
        begin = 8 + struct.unpack("<Q", data[:8])[0]
        entry = json.loads(data[8:begin]).get(name)
        if entry is None:
            continue
        first, last = entry["data_offsets"]
        for high_byte in range(begin + first + 1, begin + last, 2):
            data[high_byte] ^= 0x80
        shard.write_bytes(data)
        return
    raise AssertionError(f"no tensor {name}")


def test_the_first_divergence_is_shown(converted, tmp_path):
    source, megatron = converted
    copy_tree(source, tmp_path / "changed")
    change_signs(tmp_path / "changed", "model.layers.1.self_attn.o_proj.weight")
    page, report = tmp_path / "verify.html", tmp_path / "report.json"
    run("verify", tmp_path / "changed", megatron, "--html", page, "--report", report, expect=1)
    found = json.loads(report.read_text())["logits"]
    (difference,) = found["tensors"]["differences"]
    assert difference["name"] == "layers.1.o" and difference["largest"] > 0
    text = shown(page)
    for words in ("The checkpoints differ", "First divergence", "hidden.1", "layers.1.o",
                  "decoder.layers.1.self_attention.linear_proj.weight"):
        assert words in text, words


def test_hash_mode_has_a_page_too(converted, tmp_path):
    page = tmp_path / "verify.html"
    run("verify", *converted, "--mode", "hash", "--html", page, expect=0)
    text = shown(page)
    assert "bytes, source to Megatron" in text and "bytes, and back" in text and "identical" in text


def test_a_training_step_of_one_checkpoint(tmp_path):
    page = tmp_path / "step.html"
    run("verify", DATA / "mistral" / "hf", "--mode", "train-step", "--html", page, expect=0)
    text = shown(page)
    assert "One training step" in text and "Losses of the training step" in text and "checkpoints" not in text


@pytest.mark.parametrize("kind", ["hf", "megatron"])
def test_inspect(converted, tmp_path, kind):
    page = tmp_path / "inspect.html"
    run("inspect", converted[kind == "megatron"], "--html", page, expect=0)
    text = shown(page)
    for words in ("Bytes by dtype", "Bytes by layer", "Families", "Files"):
        assert words in text, words


def model_folder(folder, header, payload):
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(payload))


def test_a_name_cannot_become_part_of_the_page(tmp_path):
    name = "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'>"
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    model_folder(tmp_path / "hf", header, 4)
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
    model_folder(tmp_path / "hf", header, 2 * len(names))
    page = tmp_path / "inspect.html"
    run("inspect", tmp_path / "hf", "--html", page, expect=0)
    assert page.stat().st_size < 100_000
    text = shown(page)
    assert "model.layers.*.mlp.experts.*.up_proj.weight" in text and "model.layers.60" in text and "46,848" in text


def test_where_a_page_may_lie(converted, tmp_path):
    done = run("verify", *converted, "--html", converted[1] / "page.html", expect=2)
    assert "--html" in done.err and "lies in the input" in done.err
    run("inspect", converted[0], "--json", "--html", tmp_path / "page.html", expect=2)
