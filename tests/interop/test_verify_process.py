"""causeway and causeway-verify as two processes: who ends whom, where results go, how threads wait."""
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest


def children_of(pid):
    return [int(word) for word in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return found


def is_running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def verifying(sources, converted):
    """A `causeway verify` whose child has much to do; (process, pid of the child)."""
    started = []

    def start(**how):
        process = subprocess.Popen([os.environ["CAUSEWAY"], "verify", sources("qwen3").folder, converted("qwen3", "te"), "--mode", "logits", "--prompt-length", "200000",
                                    "--threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how)
        child = wait_until(lambda: children_of(process.pid))[0]
        started.extend((process, child))
        return process, child

    yield start
    for process in started[::2]:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", (signal.SIGKILL, signal.SIGHUP, signal.SIGTERM, signal.SIGINT), ids=lambda number: number.name)
def test_the_child_ends_with_its_parent(number, verifying):
    process, child = verifying()
    wait_until(lambda: "libtorch" in pathlib.Path(f"/proc/{child}/maps").read_text())
    process.send_signal(number)
    process.wait(30)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    wait_until(lambda: not is_running(child), 10)


def test_the_child_of_a_parent_that_is_gone_already(sources, converted):
    """The kernel tells nobody of a death before it was asked to."""
    program = pathlib.Path(os.environ["CAUSEWAY"]).with_name("causeway-verify")
    done = subprocess.run([program, "--called-by-process", str(1 << 22), sources("qwen3").folder, converted("qwen3", "te")], capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("set_by_user", (None, "active"))
def test_threads_that_wait_sleep(set_by_user, verifying, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if set_by_user:
        monkeypatch.setenv("OMP_WAIT_POLICY", set_by_user)
    _, child = verifying()
    wait_until(lambda: b"causeway-verify" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes())
    variables = pathlib.Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    assert f"OMP_WAIT_POLICY={set_by_user or 'passive'}".encode() in variables


def test_threads_that_wait_sleep_when_it_is_run_by_hand(sources, converted, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    program = pathlib.Path(os.environ["CAUSEWAY"]).with_name("causeway-verify")
    process = subprocess.Popen([program, sources("qwen3").folder, converted("qwen3", "te"), "--prompt-length", "200000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: b"OMP_WAIT_POLICY=passive" in pathlib.Path(f"/proc/{process.pid}/environ").read_bytes())
        assert b"--prompt-length" in pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("mode", ("logits", "both"))
def test_report_to_standard_output_is_json_alone(mode, sources, converted):
    done = subprocess.run([os.environ["CAUSEWAY"], "verify", sources("qwen3").folder, converted("qwen3", "te"), "--mode", mode, "--report", "/dev/stdout"],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and json.loads(done.stdout)["logits"]["equal"]
    assert "configuration" in done.stderr and "forward" in done.stderr
