#!/usr/bin/env python3
"""Runs the GoogleTest binaries of a build folder and writes one JUnit file of every single test.

    scripts/unit_tests.py BUILD_DIR RESULTS.xml JOBS [BINARY...]      all of BUILD_DIR/tests/binaries.txt unless some are named

A process per test, as ctest starts them, costs more than most tests do, above all under the sanitizers. So:

  1. Each binary runs in SHARDS processes a job; GoogleTest deals the tests out among them (GTEST_TOTAL_SHARDS).
  2. JOBS processes at a time. Each writes the results of its tests as XML.
     What was built for another processor runs in the emulator that CAUSEWAY_EMULATOR names.
  3. A process that ends otherwise than its results say (a crash, a finding of a sanitizer, a leak at exit, a time-out)
     is a failed test of its own, named after the test that ran last.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

SHARDS = 4
SECONDS = 1800
EMULATOR = os.environ.get("CAUSEWAY_EMULATOR", "").split()


def case_of_process(name, text):
    case = ElementTree.Element("testcase", classname="process", name=name, time="0")
    # XML has no place for most control characters.
    ElementTree.SubElement(case, "failure", message=re.sub(r"[^\x20-\x7e\n]", "?", text))
    return case


def run_shard(binary, index, total, results):
    """The cases of one process and what it printed, if a test of it failed."""
    environment = dict(os.environ, GTEST_TOTAL_SHARDS=str(total), GTEST_SHARD_INDEX=str(index), GTEST_OUTPUT=f"xml:{results}")
    try:
        done = subprocess.run([*EMULATOR, binary], cwd=binary.parent, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=SECONDS, check=False)
        status, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as expired:
        status, output = f"none after {SECONDS} s", expired.stdout or b""
    output = output.decode(errors="replace")
    try:
        cases, complete = list(ElementTree.parse(results).getroot().iter("testcase")), True
    except (OSError, ElementTree.ParseError):
        cases, complete = [], False
    explained = any(case.find("failure") is not None for case in cases)
    if not complete or (status != 0 and not explained):
        last = (re.findall(r"^\[ RUN      \] (\S+)", output, re.MULTILINE) or ["no test"])[-1]
        cases.append(case_of_process(f"{binary.name} {index + 1}/{total}: {last}", f"exit status {status}"))
        return cases, output or "no output\n"
    return cases, output if status != 0 else ""


def binaries_of(folder, names):
    tests = pathlib.Path(folder, "tests").resolve()
    return [tests / name for name in names or (tests / "binaries.txt").read_text().split()]


def main(folder, results, jobs, *names):
    binaries, total = binaries_of(folder, names), SHARDS * int(jobs)
    if missing := [str(binary) for binary in binaries if not os.access(binary, os.X_OK)]:
        sys.exit(f"not built: {' '.join(missing)}")
    suites = ElementTree.Element("testsuites")
    well = True
    with tempfile.TemporaryDirectory() as temporary, concurrent.futures.ThreadPoolExecutor(int(jobs)) as pool:
        running = [pool.submit(run_shard, binary, index, total, pathlib.Path(temporary, f"{binary.name}-{index}.xml"))
                   for binary in binaries for index in range(total)]
        for shard in running:
            cases, output = shard.result()
            suites.extend(cases)
            if output:
                well = False
                print(output, flush=True)
    ElementTree.ElementTree(suites).write(results, encoding="unicode", xml_declaration=True)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
