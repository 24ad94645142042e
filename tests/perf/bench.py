"""Races causeway against cp and against plain Python, and holds it to its promises.

    python tests/perf/bench.py --causeway BINARY --work DIR [--case NAME]... [--rounds N] [--no-python] [--keep]

Cases (all by default; model_shapes.py has the models):
    dense   3 GB of BF16 in few tensors                                  against cp of the model
    moe     3 GB of BF16 in 10,000 small experts                         against cp of the model
    transpose   1 GB of gpt-oss in BF16, whose expert matrices are transposed            against cp of the model
    fp8     2 GB of DeepSeek-V3's FP8 matrices with their scales and MTP against cp of the BF16 side, which convert
            writes and export and verify read; against torch that only dequantizes
    fp4     0.8 GB of DeepSeek-V4 in 11,520 small FP4 experts, 3 GB in BF16, as fp8
    many    DeepSeek-V3's 91,991 tensors, each tiny: what a tensor costs against a loop over them with torch.save
    plan    DeepSeek-V3 in full size (the payload is a hole): --dry-run  against json.loads of the same headers
    logits  dense, moe and fp8 once more: verify --mode logits of each and its Megatron side, against cmp of as many bytes;
            memory, also of a prompt of 4096 tokens

Method (scripts/bench.sh builds and calls this):
  1. One random checkpoint a case; its files and the Megatron copy of it are read once, so that every run starts warm.
  2. Correctness first: convert, verify and export must give back every file byte for byte.
  3. Rounds. In each, every tool runs once, in an order rotated from round to round; before each run the
     previous output is removed and the disks are synced. Ratios are taken within a round, then summarised. The
     Python converters run in the first round only.
  4. causeway makes its output durable (fsync) before it reports success; cp does not. So both are printed: the
     ratio to cp, and the ratio to cp followed by sync of the files it wrote. The second compares like with like
     and is the one judged. cp runs with --reflink=never: sharing blocks would copy nothing.
  5. Against cp, wall time is judged, unless the slowest cp was more than twice the fastest (a noisy host): then CPU
     time. What is computed (a quantized element, a tensor's headers) shows in user or CPU time alone, against Python.
Only ratios and the promised bounds decide the exit status; absolute times are printed.
"""

import argparse
import dataclasses
import filecmp
import gzip
import json
import math
import os
import pathlib
import platform
import re
import shutil
import statistics
import struct
import subprocess
import sys
import time

import bench_logits
import make_model
import model_shapes
from measure import MIB, Goals, Run, bytes_in, files_in, measure, remove, startup, warm

DEFAULT_MEMORY = 256 * MIB
MEMORY_SLACK = 64 * MIB
MAX_STARTUP_SECONDS = 0.020
STARTS = (("--version",), ("mappings", "show", "LlamaForCausalLM"))  # without a table, and with the one that is needed
MAX_PLAN_RATIO = 5.0  # of the time that json.loads takes for the headers
NAMES = pathlib.Path(__file__).parents[2] / "data/keys/deepseek_v3.tsv.gz"


@dataclasses.dataclass
class Case:
    copies_target: bool = False  # cp is of the Megatron side, not of the source
    small_memory: int = 64 * MIB
    copy_limits: dict = dataclasses.field(default_factory=dict)  # tool -> at most so many times cp+sync
    # Python tool -> (ours, at least so many times as fast, in which time)
    python: dict = dataclasses.field(default_factory=dict)


CASES = {
    "dense": Case(
        copy_limits={"convert 1 thread": 1.5, "convert 2 threads": 1.5, "export 2 threads": 1.5},
        python={
            "python convert": ("convert 1 thread", 5, "wall"),
            "python export": ("export 2 threads", 5, "wall"),
        },
    ),
    "moe": Case(
        copy_limits={"convert 1 thread": 1.2, "convert 2 threads": 1.2, "export 2 threads": 1.2},
    ),
    # Gathering costs CPU time, and Megatron's side is read in shorter stretches.
    "transpose": Case(
        copy_limits={"convert 1 thread": 3, "convert 2 threads": 3, "export 2 threads": 4, "verify 2 threads": 4},
    ),
    "fp8": Case(
        copies_target=True,
        copy_limits={"convert 2 threads": 1.5, "export 2 threads": 1.5, "verify 2 threads": 1.5},
        python={"python dequantize": ("convert 1 thread", 8, "user")},
    ),
    "fp4": Case(
        copies_target=True,
        copy_limits={"convert 2 threads": 1.5, "export 2 threads": 1.5, "verify 2 threads": 1.5},
    ),
    "many": Case(
        small_memory=128 * MIB,
        python={"python items": ("convert 1 thread", 6, "cpu")},
    ),
}


class Bench:
    """One case's checkpoint and the tools that run on it, each to self.out."""

    def __init__(self, args, name, goals):
        self.case = CASES[name]
        self.causeway = args.causeway.resolve()
        self.goals = goals
        self.source = args.work / name
        self.megatron = args.work / "megatron"
        self.out = args.work / "out"
        self.log = args.work / "run.log"
        if not self.source.exists():
            partial = args.work / "partial"
            remove(partial)
            make_model.make(partial, name)
            partial.rename(self.source)

    def run(self, *command):
        remove(self.out)
        os.sync()
        return measure(command, self.log)

    def convert(self, *options):
        return self.run(self.causeway, "convert-hf", "--quiet", *options, self.source, self.out)

    def export(self, *options):
        return self.run(self.causeway, "export-to-hf", "--quiet", *options, self.megatron, self.out)

    def verify(self, *options):
        command = [self.causeway, "verify", "--quiet", "--mode", "hash", *options]
        return self.run(*command, self.source, self.megatron)

    def copied(self):
        return self.megatron if self.case.copies_target else self.source

    def copy(self):
        return self.run("cp", "-r", "--reflink=never", self.copied(), self.out)

    def sync_copy(self):
        return measure(["sync", *files_in(self.out)], self.log)

    def python(self, *arguments):
        script = pathlib.Path(__file__).with_name("python_converter.py")
        return self.run(sys.executable, script, *arguments)

    def tools(self, with_python):
        tools = {
            "cp": self.copy,
            "convert 1 thread": lambda: self.convert("--threads", "1"),
            "convert 2 threads": lambda: self.convert("--threads", "2"),
            "export 2 threads": lambda: self.export("--threads", "2"),
            "verify 2 threads": lambda: self.verify("--threads", "2"),
        }
        python = {
            "python convert": lambda: self.python("convert", self.source, self.out),
            "python export": lambda: self.python(
                "export", self.megatron / "iter_0000000", self.out, self.source
            ),
            "python dequantize": lambda: self.python("dequantize", self.source, self.out),
            "python items": lambda: self.python("items", self.source, self.out),
        }
        return tools | {name: python[name] for name in self.case.python if with_python}

    def round_trip(self):
        remove(self.megatron)
        self.convert()
        self.out.rename(self.megatron)
        self.verify()
        self.export()
        names = [path.relative_to(self.source) for path in files_in(self.source)]
        back = [path.relative_to(self.out) for path in files_in(self.out)]
        same = names == back and all(
            filecmp.cmp(self.source / name, self.out / name, shallow=False) for name in names
        )
        self.goals.check(f"round trip: {len(names)} files byte-identical", same)

    def rounds(self, count, with_python):
        """Tool name -> one Run a round. "cp+sync" is the copy and its sync together."""
        results = {}
        tools = self.tools(with_python)
        for number in range(count):
            names = [name for name in tools if number == 0 or not name.startswith("python")]
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                run = tools[name]()
                results.setdefault(name, []).append(run)
                if name == "cp":
                    sync = self.sync_copy()
                    both = [getattr(run, x) + getattr(sync, x) for x in ("wall", "user", "cpu")]
                    results.setdefault("cp+sync", []).append(Run(*both, max(run.rss, sync.rss)))
            walls = ", ".join(f"{name} {results[name][-1].wall:.2f} s" for name in names)
            print(f"round {number + 1}: {walls}", flush=True)
        return results

    def memory(self, results):
        for name, runs in results.items():
            if name.startswith(("convert", "export", "verify")):
                self.goals.bounded(name, max(run.rss for run in runs), DEFAULT_MEMORY, MEMORY_SLACK)
        small = self.case.small_memory
        for name, run in (("convert", self.convert), ("export", self.export), ("verify", self.verify)):
            memory = f"{small // MIB}MiB"
            self.goals.bounded(f"{name}, --memory {memory}", run("--memory", memory).rss, small, MEMORY_SLACK)


def ratios(runs, base, field):
    return [getattr(a, field) / max(getattr(b, field), 1e-9) for a, b in zip(runs, base)]


def summary(values):
    return f"{statistics.median(values):6.2f} [{min(values):.2f}-{max(values):.2f}]"


def print_table(results, size):
    """size: bytes of what cp copies."""
    print(f"\n{'tool':<20}{'wall s':>8}{'cpu s':>8}{'GB/s':>7}{'RSS MiB':>9}"
          "   wall to cp          wall to cp+sync     cpu to cp+sync")
    for name, runs in results.items():
        wall = statistics.median(run.wall for run in runs)
        cpu = statistics.median(run.cpu for run in runs)
        rss = max(run.rss for run in runs) / MIB
        print(f"{name:<20}{wall:8.2f}{cpu:8.2f}{size / wall / 1e9:7.2f}{rss:9.0f}"
              f"   {summary(ratios(runs, results['cp'], 'wall')):<20}"
              f"{summary(ratios(runs, results['cp+sync'], 'wall')):<20}"
              f"{summary(ratios(runs, results['cp+sync'], 'cpu'))}")
    print()


def judge(case, results, goals):
    copies = [run.wall for run in results["cp"]]
    spread = max(copies) / min(copies)
    noisy = spread > 2
    field = "cpu" if noisy else "wall"
    print(f"slowest cp / fastest cp = {spread:.2f}: {field} time is judged")
    for name, limit in case.copy_limits.items():
        ratio = statistics.median(ratios(results[name], results["cp+sync"], field))
        goals.check(f"{name}: {ratio:.2f} x {field} of cp+sync (at most {limit})", ratio <= limit)
    for python, (ours, least, field) in case.python.items():
        if python not in results:
            continue
        ratio = statistics.median(ratios(results[python], results[ours], field))
        text = f"{ours}: {ratio:.1f} x faster than {python}, {field} time (at least {least})"
        goals.check(text, ratio >= least)


def race(args, name, goals):
    bench = Bench(args, name, goals)
    try:
        print(f"\n== {name}: {bytes_in(bench.source) / 1e9:.2f} GB, load {os.getloadavg()[0]:.1f}")
        warm(bench.source)
        bench.round_trip()
        warm(bench.megatron)
        results = bench.rounds(args.rounds, not args.no_python)
        print_table(results, bytes_in(bench.copied()))
        judge(bench.case, results, goals)
        bench.memory(results)
    finally:
        remove(bench.out)
        remove(bench.megatron)
        if not args.keep:
            remove(bench.source)


def make_full_size(out):
    """DeepSeek-V3 as released, but for the payload: files of the right size without a byte in them."""
    with gzip.open(NAMES, "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    tensors = [
        model_shapes.Tensor(name, dtype, [int(size) for size in shape.split(",")])
        for name, dtype, shape in rows
    ]

    def leave_hole(file, tensor):
        file.truncate(file.seek(make_model.size_of(tensor), os.SEEK_CUR))

    make_model.write_model(out, model_shapes.DEEPSEEK, tensors, leave_hole, 4_300_000_000)


def read_headers(folder):
    """Seconds of CPU that json.loads needs for every header and the index."""
    texts = [(folder / "model.safetensors.index.json").read_bytes()]
    for path in folder.glob("*.safetensors"):
        with open(path, "rb") as file:
            texts.append(file.read(struct.unpack("<Q", file.read(8))[0]))
    start = time.process_time()
    for text in texts:
        json.loads(text)
    return time.process_time() - start


def plan(args, goals):
    source, out = args.work / "full-size", args.work / "out"
    remove(source)
    make_full_size(source)
    try:
        size = bytes_in(source) / 1e9
        print(f"\n== plan: {size:.2f} GB of holes, load {os.getloadavg()[0]:.1f}")
        command = [args.causeway.resolve(), "convert-hf", "--dry-run", source, out]
        pairs = [(measure(command, args.work / "run.log"), read_headers(source)) for _ in range(5)]
        runs = [run for run, _ in pairs]
        ratio = statistics.median(run.cpu / base for run, base in pairs)
        wall = statistics.median(run.wall for run in runs)
        cpu = statistics.median(run.cpu for run in runs)
        print(f"dry run: {wall:.2f} s, {cpu:.2f} s of CPU")
        text = f"plan: {ratio:.1f} x the CPU time of json.loads (at most {MAX_PLAN_RATIO})"
        goals.check(text, ratio <= MAX_PLAN_RATIO)
        goals.bounded("plan", max(run.rss for run in runs), DEFAULT_MEMORY, MEMORY_SLACK)
    finally:
        remove(source)


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--causeway", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--case", choices=(*CASES, "plan", "logits"), action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-python", action="store_true", help="leave the Python converters out")
    parser.add_argument("--keep", action="store_true", help="keep the random checkpoints for the next run")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    goals = Goals()
    print(f"{cpu_model()}, {os.cpu_count()} cores, Linux {platform.release()}")
    startup(args.causeway, goals, MAX_STARTUP_SECONDS, STARTS)
    for name in args.case or (*CASES, "plan", "logits"):
        {"plan": lambda: plan(args, goals), "logits": lambda: bench_logits.race(args, goals)}.get(name, lambda: race(args, name, goals))()
    missed = goals.checks.count(False)
    print(f"\n{len(goals.checks)} goals, {missed} missed (load {os.getloadavg()[0]:.1f})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
