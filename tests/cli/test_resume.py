"""Runs that are killed, told to end or out of space go on with --resume; the output is that of a run that was left alone."""
import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest

import large_model
from helpers import check_message, convert, export, hashes, run, start

EVERY = ("--watermark-every", "20MB")  # 15 of them
COMMANDS = ("convert-hf", "export-to-hf")
JOURNAL = ".out.causeway.journal"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{command: (source, what it makes of it)}"""
    folder = tmp_path_factory.mktemp("models")
    hf = large_model.make(folder / "hf")
    convert(hf, folder / "megatron")
    export(folder / "megatron", folder / "again")
    assert hashes(folder / "again") == hashes(hf)
    return {"convert-hf": (hf, hashes(folder / "megatron")), "export-to-hf": (folder / "megatron", hashes(hf))}


def started(command, source, folder, *options, **popen):
    return start(command, source, folder / "out", *EVERY, *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen)


def wait_for(path, process):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, "it ended before the signal"
        time.sleep(0.0005)


def stopped(number, command, source, folder):
    """Starts a run and sends the signal after its first watermark; (exit status, stderr)."""
    reset = lambda: number != signal.SIGKILL and signal.signal(number, signal.SIG_DFL)  # noqa: E731
    process = started(command, source, folder, "--threads", "1", preexec_fn=reset)
    wait_for(folder / JOURNAL, process)
    time.sleep(0.02)  # the first watermark is being written
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    return process.returncode, err.decode()


def finish(command, source, folder, expected, *options):
    done = run(command, source, folder / "out", *EVERY, *options, expect=0)
    assert hashes(folder / "out") == expected
    assert os.listdir(folder) == ["out"]
    return done


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_random(command, models, tmp_path):
    """Killed a few times, each a random while after there is a journal; then a run comes to its end."""
    source, expected = models[command]
    clock = random.Random(command)
    resumed = 0
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        for _ in range(3):
            process = started(command, source, folder, "--resume", "--threads", "1")
            while process.poll() is None and not (folder / JOURNAL).exists():
                time.sleep(0.0005)
            time.sleep(clock.uniform(0, 0.1))
            process.kill()
            _, err = process.communicate()
            resumed += b"goes on from" in err
            if (folder / "out").exists():  # killed after the commit, or not in time
                break
        finish(command, source, folder, expected, "--resume", "--overwrite")
        shutil.rmtree(folder)
    assert resumed > 0


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM, signal.SIGHUP), ids=lambda number: number.name)
@pytest.mark.parametrize("command", COMMANDS)
def test_interrupted(command, number, models, tmp_path):
    source, expected = models[command]
    code, err = stopped(number, command, source, tmp_path)
    assert code == 128 + number, err
    assert re.fullmatch(r"causeway: interrupted; --resume goes on from [\d.]+\w+ of [\d.]+\w+ \(\d+%\)\n", err), err
    done = finish(command, source, tmp_path, expected, "--resume")
    assert "out: goes on from " in done.err and done.err.count("\n") == 1, done


@pytest.mark.parametrize("command", COMMANDS)
def test_without_resume_it_says_how_far_it_got(command, models, tmp_path):
    source, expected = models[command]
    stopped(signal.SIGKILL, command, source, tmp_path)
    before = hashes(tmp_path)
    del before[".out.causeway.lock.lease"]  # of the killed process; the next one takes it and gives it back
    done = run(command, source, tmp_path / "out", *EVERY)
    check_message(done, 2, "an earlier run got to ", "%) and can be resumed", "--resume goes on from there, --restart starts over")
    assert hashes(tmp_path) == before
    finish(command, source, tmp_path, expected, "--restart")


def test_another_plan_is_refused_or_starts_over(models, tmp_path):
    source, _ = models["convert-hf"]
    stopped(signal.SIGKILL, "convert-hf", source, tmp_path)
    done = run("convert-hf", source, tmp_path / "out", "--resume", "--file-size", "100MB")
    check_message(done, 2, "out: cannot be resumed: --file-size: was 5000000000, is 100000000", "--restart removes what was done and starts over")
    done = convert(source, tmp_path / "out", "--file-size", "100MB")
    assert "out: starts over: --file-size: was 5000000000, is 100000000\n" in done.err, done
    assert os.listdir(tmp_path) == ["out"]


def test_killed_before_the_first_watermark(models, tmp_path):
    source, expected = models["convert-hf"]
    process = start("convert-hf", source, tmp_path / "out", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(tmp_path / ".out.partial/iter_0000000/__0_0.distcp", process)
    process.kill()
    process.communicate()
    done = finish("convert-hf", source, tmp_path, expected)
    assert done.err == f"notice: {tmp_path}/out: starts over: what was left has no journal\n", done


def test_both_options_at_once(models, tmp_path):
    done = run("convert-hf", models["convert-hf"][0], tmp_path / "out", "--resume", "--restart")
    check_message(done, 2, ("--restart excludes --resume", "--resume excludes --restart"))


def test_help(tmp_path):
    for command in COMMANDS:
        done = run(command, "--help", expect=0)
        assert "--resume" in done.out and "--restart" in done.out and "--watermark-every" not in done.out, done
