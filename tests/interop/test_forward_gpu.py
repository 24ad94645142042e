"""The forward pass on a GPU: every family against logits that other software computed on the CPU, both views, twice the same. Skips where there
is no GPU; without one, tests/models/forward/one_device_test.cpp holds the pass to one device."""
import json
import os
import pathlib
import subprocess

import pytest

from interop import cases, deepseek_v4_cases
from interop.conftest import DATA
from interop.test_forward import write_reference
from oracles import deepseek_v4_reference, hf_files

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def gpu(causeway_verify):
    """Skips where there is none. One that is there and cannot be used, as libraries are missing or the driver is too old, fails."""
    folder = DATA / "bridge_written" / "qwen3_dense" / "hf"
    binary = pathlib.Path(os.environ["CAUSEWAY"]).with_name("causeway-verify")
    done = subprocess.run([binary, folder, folder, "--device", "cuda"], capture_output=True, text=True, timeout=120)
    if done.returncode == 5 and "--device cuda: no CUDA device: " in done.stderr:
        pytest.skip(done.stderr.splitlines()[0])
    assert done.returncode == 0, done.stderr


@pytest.fixture
def report(causeway_verify, tmp_path):
    def run(*arguments, expect=0):
        causeway_verify(*arguments, "--device", "cuda", "--report", tmp_path / "report.json", expect=expect)
        return json.loads((tmp_path / "report.json").read_text())

    return run


def holds(report, source, root, reference):
    """Both sides meet the reference, are equal bit for bit, and so are two runs."""
    first, second = (report(source, root, "--reference-logits", reference) for _ in range(2))
    assert first["equal"] and first["forward"]["identical"] and len(first["reference"]) == 2
    assert first["reference"] == second["reference"] and first["device"].startswith("cuda")


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "qwen3_moe", "mixtral", "deepseek_v3", "deepseek_v3_mtp3", "fp8"])
def test_a_family_of_transformers(name, report, sources, converted, tmp_path):
    source, ids = sources(name), cases.tokens(sources(name).arch)
    holds(report, source.folder, converted(name, "te"), write_reference(tmp_path / "reference.safetensors", ids, source.logits(ids)))


@pytest.mark.parametrize("name", ["dense_text", "moe_3_6", "next"])
@pytest.mark.parametrize("length", [24, 130])
def test_linear_attention(name, length, report, qwen_sources, qwen_converted, tmp_path):
    """Token by token, and by chunks."""
    source = qwen_sources(name)
    ids = (cases.tokens(source.arch) * (length // 24 + 1))[:length]
    holds(report, source.folder, qwen_converted(name), write_reference(tmp_path / "reference.safetensors", ids, source.logits(ids)))


@pytest.mark.parametrize("length", [5, 150])
def test_compressed_attention(length, report, causeway, tmp_path):
    config = json.loads((deepseek_v4_cases.FIXTURE / "config.json").read_text())
    reference = deepseek_v4_reference.Reference(config, hf_files.read_safetensors(deepseek_v4_cases.FIXTURE))
    tokens, logits, margins = reference.prompt(length, 7)
    causeway("convert-hf", deepseek_v4_cases.FIXTURE, tmp_path / "root")
    holds(report, deepseek_v4_cases.FIXTURE, tmp_path / "root", write_reference(tmp_path / "reference.safetensors", tokens, logits, topk_margin=margins))


def test_bf16(report, sources, converted, tmp_path):
    source, ids = sources("deepseek_v3"), cases.tokens(sources("deepseek_v3").arch)
    reference = write_reference(tmp_path / "reference.safetensors", ids, source.logits(ids))
    found = report(source.folder, converted("deepseek_v3", "te"), "--compute", "bf16", "--reference-logits", reference)
    assert found["equal"] and found["forward"]["identical"]


@pytest.mark.parametrize("name", ["bridge_written/qwen3_6_moe_vl", "deepseek_v4_fp8fp4"])
def test_memory_of_a_long_prompt(name, report):
    """Scores of every token for every token would be a gigabyte."""
    found = report(DATA / name / "hf", DATA / name / "hf", "--prompt-length", 4000)
    assert found["equal"] and 0 < found["peak_device_bytes"] < 600 << 20


def test_a_device_that_is_not_there(causeway_verify):
    folder = DATA / "bridge_written" / "qwen3_dense" / "hf"
    done = causeway_verify(folder, folder, "--device", "cuda:99", expect=2)
    assert "--device cuda:99: there are " in done.stderr and len(done.stderr.splitlines()) == 1


def test_auto_takes_it(causeway_verify):
    folder = DATA / "bridge_written" / "qwen3_dense" / "hf"
    assert "fp32 on cuda:0 (" in causeway_verify(folder, folder).stdout
