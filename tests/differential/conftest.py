"""CAUSEWAY names the binary; reader_driver lies beside it. Nothing skips."""
import pathlib
import subprocess
import sys

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "cli"), str(TESTS / "fuzz")]

import helpers  # noqa: E402  (needs the path above)

subprocess.run([sys.executable, TESTS.parent / "scripts" / "packed_data.py"], check=True)


def pytest_configure(config):
    helpers.work_in_memory(config)
