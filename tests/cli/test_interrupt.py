"""Ctrl-C and kill: exit status 128 + signal, nothing left behind; after kill -9 the next run cleans up."""
import os
import resource
import signal
import subprocess
import time

import pytest

import large_model
from helpers import convert, hf_fixture, run, snapshot, start


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return large_model.make(tmp_path_factory.mktemp("large") / "hf")


def signalled(number, source, folder, *options, before=signal.SIG_DFL):
    """Starts a conversion, sends the signal once data is being written; (exit status, stderr). before: what the shell had set."""

    def in_child():
        if number != signal.SIGKILL:
            signal.signal(number, before)

    process = start("convert-hf", source, folder / "out", "--threads", "1", *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=in_child)
    deadline = time.monotonic() + 30
    while not list(folder.glob(".out.partial/iter_0000000/*.distcp")):
        assert process.poll() is None and time.monotonic() < deadline, "it ended before the signal"
        time.sleep(0.0005)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    return process.returncode, err.decode()


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM, signal.SIGHUP), ids=lambda number: number.name)
def test_interrupted(number, large, tmp_path):
    code, err = signalled(number, large, tmp_path)
    assert code == 128 + number, err
    assert err == "causeway: interrupted; nothing was left behind\n"
    assert snapshot(tmp_path) == {}


def test_interrupted_overwrite_keeps_the_old(large, tmp_path):
    convert(hf_fixture("qwen3_dense"), tmp_path / "out")
    before = snapshot(tmp_path)
    code, _ = signalled(signal.SIGINT, large, tmp_path, "--overwrite")
    assert code == 130
    assert snapshot(tmp_path) == before


def test_a_background_job_goes_on(large, tmp_path):
    """What the shell told to ignore Ctrl-C (nohup, &) ignores it."""
    code, err = signalled(signal.SIGINT, large, tmp_path, before=signal.SIG_IGN)
    assert code == 0, err
    assert os.listdir(tmp_path) == ["out"]


def test_file_size_limit(large, tmp_path):
    """A full disk, as seen from inside: an ordinary error, nothing left behind."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))  # noqa: E731
    process = start("convert-hf", large, tmp_path / "out", stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limit)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 4 and b".distcp" in err and b"File too large" in err, err
    assert snapshot(tmp_path) == {}


def test_killed(large, tmp_path):
    """Nothing that looks finished; the next run removes what was left."""
    code, _ = signalled(signal.SIGKILL, large, tmp_path)
    assert code == -signal.SIGKILL
    assert not (tmp_path / "out").exists() and (tmp_path / ".out.partial").exists()
    convert(large, tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]
    done = run("verify", large, tmp_path / "out", "--mode", "hash", "--memory", "32MiB", expect=0)
    assert done.peak_bytes < (32 + 64) << 20, done
