"""scripts/unit_tests.py, which runs the GoogleTest binaries: whatever ends badly is a failed test, also what GoogleTest
could not write down."""
import pathlib
import subprocess
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts"

# Behaves as GoogleTest does (docs/advanced.md, "Distributing Test Functions to Multiple Machines", "Generating an XML
# Report"): ten tests, one of which ends as told.
BINARY = """#!{python}
import os, sys
total, index = int(os.environ["GTEST_TOTAL_SHARDS"]), int(os.environ["GTEST_SHARD_INDEX"])
cases, status = [], 0
for number in range(10):
    if number % total != index:
        continue
    name = f"Suite.Test{{number}}"
    print(f"[ RUN      ] {{name}}", flush=True)
    body = ""
    if number == 7:
        {how}
    cases.append(f'<testcase classname="Suite" name="Test{{number}}" time="0.{{number}}">{{body}}</testcase>')
    print(f"[       OK ] {{name}} (0 ms)")
with open(os.environ["GTEST_OUTPUT"].removeprefix("xml:"), "w") as file:
    file.write("<testsuites>" + "".join(cases) + "</testsuites>")
sys.exit(status)
"""
ENDS = {
    "well": ("pass", 0, "10 0 0"),
    "failed": ("body, status = '<failure message=\"expected 1\"/>', 1", 1, "9 1 0"),
    "skipped": ("body = '<skipped/>'", 0, "9 0 1"),
    "leak": ("status = 23", 1, "10 1 0"),  # LeakSanitizer's, after all tests passed
    "killed": ("os.kill(os.getpid(), 9)", 1, "9 1 0"),
    "early exit": ("os._exit(0)", 1, "9 1 0"),
}


def run(tmp_path, how, *names):
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "binaries.txt").write_text("some_tests\n")
    binary = tests / "some_tests"
    binary.write_text(BINARY.format(python=sys.executable, how=how))
    binary.chmod(0o755)
    results = tmp_path / "results.xml"
    done = subprocess.run([sys.executable, SCRIPTS / "unit_tests.py", tmp_path, results, "2", *names], capture_output=True, text=True)
    return done, results


@pytest.mark.parametrize("end", ENDS)
def test_counts(tmp_path, end):
    how, status, counts = ENDS[end]
    done, results = run(tmp_path, how)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("Suite.Test7" in done.stdout) == (status != 0)
    counted = subprocess.run([sys.executable, SCRIPTS / "junit_counts.py", results], capture_output=True, text=True, check=True)
    assert counted.stdout.strip() == counts
    if end in ("killed", "early exit"):
        assert "some_tests 8/8: Suite.Test7" in results.read_text()


def test_a_binary_that_was_not_built_is_no_success(tmp_path):
    done, results = run(tmp_path, "pass", "other_tests")
    assert done.returncode == 1 and "not built" in done.stderr and not results.exists()


def test_an_emulator(tmp_path, monkeypatch):
    """What was built for another processor runs in it."""
    monkeypatch.setenv("CAUSEWAY_EMULATOR", "env EMULATED=1")
    done, _ = run(tmp_path, "status = 0 if os.environ.get('EMULATED') == '1' else 23")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_slowest(tmp_path):
    _, results = run(tmp_path, "pass")
    done = subprocess.run([sys.executable, SCRIPTS / "junit_slowest.py", results], capture_output=True, text=True, check=True)
    lines = done.stdout.split("\n")
    assert lines[0] == "    0.90 s  Suite.Test9" and lines[9] == "    0.00 s  Suite.Test0"
