"""causeway-verify on a GPU and on the CPU, on the checkpoints that record_cases.py wrote. Needs no Python packages.

    python3 tests/gpu/check_cases.py BIN CASES WORK JUNIT.xml

BIN holds causeway and causeway-verify. Of every case, both views on both devices must meet the recorded logits, both views must be equal bit
for bit on the GPU as on the CPU, in bf16 too, and two runs on the GPU must report the same numbers. One line a case gives the largest difference
from the recorded logits; a JUnit file is written for scripts/common.sh.
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

WORKERS = 6  # each has a context of its own on the GPU
TIMEOUT = 240
VARYING = ("seconds", "peak_rss_bytes", "peak_device_bytes")


class Wrong(Exception):
    pass


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=TIMEOUT)
    if done.returncode != 0:
        raise Wrong(f"exit {done.returncode}: {' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def steady(value):
    """A report without what differs between runs."""
    if isinstance(value, dict):
        return {key: steady(each) for key, each in value.items() if key not in VARYING}
    return [steady(each) for each in value] if isinstance(value, list) else value


class Case:
    def __init__(self, binaries, folder, views, work):
        self.binaries, self.work = binaries, work
        self.sides, self.reference = [folder / "hf"], folder / "reference.safetensors"
        work.mkdir(parents=True)
        if views == 2:
            self.sides.append(work / "megatron")
            run([binaries / "causeway", "convert-hf", "--quiet", "--spec", "te", folder / "hf", work / "megatron"])

    def verify(self, *options):
        run([self.binaries / "causeway-verify", *self.sides, "--threads", 2, *options])

    def report(self, device):
        self.verify("--device", device, "--reference-logits", self.reference, "--report", self.work / "report.json")
        found = json.loads((self.work / "report.json").read_text())
        if not found["equal"] or len(found["reference"]) != len(self.sides):
            raise Wrong(f"not all was compared on {device}")
        if len(self.sides) == 2 and not found["forward"]["identical"]:
            raise Wrong(f"the two views differ in bits on {device}")
        return found

    def check(self):
        """A line for a person."""
        cpu, first, second = self.report("cpu"), self.report("cuda"), self.report("cuda")
        if not first["device"].startswith("cuda"):
            raise Wrong(f"it ran on {first['device']}")
        if steady(first) != steady(second):
            raise Wrong("two runs on the GPU report different numbers")
        if len(self.sides) == 2:
            self.verify("--device", "cuda", "--compute", "bf16")
        return f"max |d| {largest(first):.2e} on the GPU, {largest(cpu):.2e} on the CPU, {first['peak_device_bytes'] / 2**20:.1f} MiB there"


def largest(report):
    return max(head["judged"] for side in report["reference"] for head in side["compared"])


def outcome(name, make):
    """(name, seconds, a line, whether it is well)"""
    start = time.monotonic()
    try:
        line, well = make().check(), True
    except (Wrong, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
        line, well = str(error), False
    return name, time.monotonic() - start, line, well


def main(binaries, folder, work, junit):
    views = json.loads((folder / "cases.json").read_text())
    suite = xml.Element("testsuite", name="gpu")
    with concurrent.futures.ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:
        runs = [pool.submit(outcome, name, lambda name=name, count=count: Case(binaries, folder / name, count, work / name))
                for name, count in views.items()]
        for each in concurrent.futures.as_completed(runs):
            name, seconds, line, well = each.result()
            print(f"{'ok    ' if well else 'FAILED'} {name:<28} {line}", flush=True)
            case = xml.SubElement(suite, "testcase", name=name, classname="gpu", time=f"{seconds:.3f}")
            if not well:
                xml.SubElement(case, "failure", message=line.splitlines()[0]).text = line
    xml.ElementTree(suite).write(junit)
    return all(each.result()[3] for each in runs)


if __name__ == "__main__":
    sys.exit(0 if main(*map(pathlib.Path, sys.argv[1:5])) else 1)
