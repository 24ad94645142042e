"""A model of 400 MB is killed sixty times, half of them while it is converted and half while it is exported, each a random while after the
start; every next run goes on with --resume, and every output that comes to its end has the bytes of an undisturbed run."""
import os
import random
import shutil
import subprocess
import time

import large_model
import pytest
from helpers import convert, export, hashes, start

KILLS = 30  # of each command, or more until so many runs went on:
RESUMED = 10
WATERMARKS = ("--watermark-every", "20MB")  # about twenty of them
COMMANDS = ("convert-hf", "export-to-hf")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{command: (source, what it makes of it, seconds that takes)}"""
    folder = tmp_path_factory.mktemp("models")
    hf = large_model.make(folder / "hf")
    begin = time.monotonic()
    convert(hf, folder / "megatron", *WATERMARKS)
    middle = time.monotonic()
    export(folder / "megatron", folder / "again", *WATERMARKS)
    end = time.monotonic()
    assert hashes(folder / "again") == hashes(hf)
    shutil.rmtree(folder / "again")
    return {"convert-hf": (hf, hashes(folder / "megatron"), middle - begin), "export-to-hf": (folder / "megatron", hashes(hf), end - middle)}


@pytest.mark.parametrize("command", COMMANDS)
def test_sixty_kills(command, models, tmp_path):
    source, expected, seconds = models[command]
    clock = random.Random(command)
    kills = resumed = finished = 0
    while (killing := kills < KILLS or resumed < RESUMED) or os.listdir(tmp_path) or not finished:
        assert kills < 10 * KILLS, f"{resumed} of {kills} went on"
        process = start(command, source, tmp_path / "out", "--resume", *WATERMARKS, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if killing:
            time.sleep(clock.uniform(0, 0.6 * seconds))
            process.kill()
        _, err = process.communicate(timeout=120)
        resumed += b"goes on from" in err
        if process.returncode != 0:
            assert killing and process.returncode == -9, err
            kills += 1
        # Killed after the commit, or at its end: whole in either case.
        if (tmp_path / "out").exists():
            assert hashes(tmp_path / "out") == expected
            assert process.returncode != 0 or os.listdir(tmp_path) == ["out"]
            finished += 1
            for name in os.listdir(tmp_path):
                path = tmp_path / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(f"{kills} kills, {resumed} runs went on, {finished} came to their end")
