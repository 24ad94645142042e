"""Fixtures of the interop tests: the real programs on one side, the `causeway` binary (environment variable CAUSEWAY) on the
other. Nothing here skips: what is missing fails."""
import functools
import os
import pathlib
import signal
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parent.parent
DATA = TESTS.parent / "data"
sys.path.insert(0, str(TESTS))
subprocess.run([sys.executable, DATA.parent / "scripts" / "packed_data.py"], check=True)

# A shell ignores it for what it starts in the background, and so would every program started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

import torch

torch.set_num_threads(1)

from interop import cases, deepseek_v4_cases, qwen3_5_cases  # noqa: E402  (needs the path above)
from oracles.pool import NEXT_CORE, Pool  # noqa: E402


@pytest.fixture(scope="session")
def pools():
    """{"te": ..., "local": ...}: megatron-core with and without (the stand-in for) TransformerEngine."""
    made = {spec: Pool(spec) for spec in ("te", "local")}
    yield made
    for pool in made.values():
        pool.close()


@pytest.fixture(scope="session")
def core():
    """The newer megatron-core, with the stand-ins for TransformerEngine and for the kernels of Mamba."""
    pool = Pool("te", NEXT_CORE)
    yield pool
    pool.close()


@pytest.fixture(autouse=True)
def device(request, monkeypatch):
    """Only the tests of a GPU see one: the figures of the others are those of the CPU."""
    if not request.node.get_closest_marker("gpu"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def _runner(binary):
    assert os.access(binary, os.X_OK), f"{binary} is not executable"

    def run(*arguments, expect=0):
        done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True, timeout=120)
        command = f"{os.path.basename(binary)} {' '.join(map(str, arguments))}"
        assert done.returncode == expect, f"{command}: exit {done.returncode}, not {expect}\n{done.stdout}{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def causeway():
    """causeway("convert-hf", src, dst, ...) runs the binary and fails the test unless it exits with `expect`."""
    assert "CAUSEWAY" in os.environ, "set CAUSEWAY to the causeway binary"
    return _runner(os.environ["CAUSEWAY"])


@pytest.fixture(scope="session")
def causeway_verify():
    """The same for causeway-verify, which lies beside causeway where it was built with LibTorch."""
    assert "CAUSEWAY" in os.environ, "set CAUSEWAY to the causeway binary"
    return _runner(os.path.join(os.path.dirname(os.environ["CAUSEWAY"]), "causeway-verify"))


@pytest.fixture(scope="session")
def forward(causeway_verify):
    """forward(folder, reference) runs it on one checkpoint."""
    run = causeway_verify
    return lambda folder, reference, *arguments, expect=0: run(folder, "--reference-logits", reference, *arguments, expect=expect)


# ---- made once a session: name -> Source, a Hugging Face folder with its oracle, or the root that `causeway convert-hf` wrote ----


def _conversion(causeway, folder, root, *options):
    causeway("convert-hf", folder, root, *options)
    return root


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    return functools.cache(lambda name: cases.make((cases.CASES | cases.FORWARD | cases.INDEXED)[name], tmp_path_factory.mktemp(f"hf-{name}")))


@pytest.fixture(scope="session")
def converted(sources, causeway, tmp_path_factory):
    """converted(name, spec)"""
    return functools.cache(lambda name, spec: _conversion(causeway, sources(name).folder, tmp_path_factory.mktemp(f"megatron-{name}-{spec}") / "root", "--spec", spec))


@pytest.fixture(scope="session")
def v4_sources(tmp_path_factory):
    return functools.cache(lambda name: deepseek_v4_cases.make(name, tmp_path_factory.mktemp(f"hf-v4-{name}")))


@pytest.fixture(scope="session")
def v4_converted(v4_sources, causeway, tmp_path_factory):
    return functools.cache(lambda name: _conversion(causeway, v4_sources(name).folder, tmp_path_factory.mktemp(f"megatron-v4-{name}") / "root"))


@pytest.fixture(scope="session")
def qwen_sources(tmp_path_factory):
    return functools.cache(lambda name: qwen3_5_cases.make(qwen3_5_cases.CASES[name], tmp_path_factory.mktemp(f"hf-qwen-{name}")))


@pytest.fixture(scope="session")
def qwen_converted(qwen_sources, causeway, tmp_path_factory):
    return functools.cache(lambda name: _conversion(causeway, qwen_sources(name).folder, tmp_path_factory.mktemp(f"megatron-qwen-{name}") / "root"))


# ---- the table of mutations ----

# {mark: (what was done, what must come of it)}
MUTATIONS = {
    "S": ("tables wrong both ways, that hash mode passes", "caught"),
    "B": ("bytes changed after the conversion", "caught"),
    "N": ("the same model with parts of it in another order", "named"),
    "clean": ("lossless conversions, without a false alarm", "equal"),
}
_counts = {kind: [0, 0] for kind in MUTATIONS}
_of_ops = {}  # (kind, op of the rows that were changed)


def pytest_collection_modifyitems(items):
    for item in items:
        item.user_properties += [("mutation", mark.args) for mark in item.iter_markers("mutation")]


def pytest_runtest_logreport(report):
    if report.when == "call" or report.failed:
        for name, (kind, *op) in (entry for entry in report.user_properties if entry[0] == "mutation"):
            for count in [_counts[kind]] + [_of_ops.setdefault((kind, each), [0, 0]) for each in op]:
                count[0] += report.passed
                count[1] += 1


def pytest_terminal_summary(terminalreporter):
    shown = {kind: count for kind, count in _counts.items() if count[1]}
    if shown:
        terminalreporter.section("mutations")
    for kind, (done, total) in shown.items():
        what, result = MUTATIONS[kind]
        terminalreporter.write_line(f"{kind:<6} {what:<58} {done:>4}/{total} {result}")
        for (of, op), (done, total) in sorted(_of_ops.items()):
            if of == kind:
                terminalreporter.write_line(f"{'':<8}{op:<57} {done:>4}/{total}")
