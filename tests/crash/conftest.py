"""CAUSEWAY_CRASH=whole runs every case (scripts/test.sh --all); without it, a part that takes minutes. Nothing skips."""
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cli"))

import helpers  # noqa: E402  (needs the path above)

subprocess.run([sys.executable, HERE.parents[1] / "scripts" / "packed_data.py"], check=True)
collect_ignore = [] if os.environ.get("CAUSEWAY_CRASH") == "whole" else ["test_sixty_kills.py"]


def pytest_configure(config):
    helpers.work_in_memory(config)


@pytest.fixture(scope="session")
def fault_library(tmp_path_factory):
    library = tmp_path_factory.mktemp("fault") / "fault.so"
    subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", HERE / "fault.c", "-o", library, "-ldl"], check=True)
    return library
