"""Races causeway against cp and against a plain Python converter, and holds it to its promises.

    python tests/perf/bench.py --causeway BINARY --work DIR [--rounds N] [--kind dense|moe] [--layers N]

Method (scripts/bench.sh builds and calls this):
  1. One random checkpoint; its files and the Megatron copy of it are read once, so that every run starts warm.
  2. Correctness first: convert, verify and export must give back every file byte for byte.
  3. Rounds. In each, every tool runs once, in an order rotated from round to round; before each run the
     previous output is removed and the disks are synced. Ratios are taken within a round, then summarised.
  4. causeway makes its output durable (fsync) before it reports success; cp does not. So both are printed: the
     ratio to cp, and the ratio to cp followed by sync of the files it wrote. The second compares like with like
     and is the one judged. cp runs with --reflink=never: sharing blocks would copy nothing.
  5. Wall time is judged, unless the slowest cp was more than twice the fastest (a noisy host): then CPU time.
Only ratios and the promised bounds decide the exit status; absolute times are printed.
"""

import argparse
import dataclasses
import filecmp
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

import make_model

MIB = 1 << 20
DEFAULT_MEMORY = 256 * MIB
SMALL_MEMORY = 64 * MIB
MEMORY_SLACK = 64 * MIB
MAX_COPY_RATIO = 1.5
MIN_PYTHON_RATIO = 5.0
MAX_STARTUP_SECONDS = 0.020
TIMEOUT_SECONDS = 1800


@dataclasses.dataclass
class Run:
    wall: float
    cpu: float
    rss: int  # bytes


def measure(command, log):
    """Runs the command under time(1): a child of this process would report this process's memory as its peak."""
    figures = log.with_suffix(".time")
    timed = [shutil.which("time"), "-f", "%U %S %M", "-o", figures, *command]
    with open(log, "wb") as output:
        start = time.perf_counter()
        status = subprocess.run(
            timed, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=TIMEOUT_SECONDS
        ).returncode
        wall = time.perf_counter() - start
    if status != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{log.read_text(errors='replace')[-3000:]}")
    user, system, kilobytes = figures.read_text().split()
    return Run(wall, float(user) + float(system), int(kilobytes) * 1024)


def files_in(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def warm(folder):
    for path in files_in(folder):
        with open(path, "rb", buffering=0) as file:
            while file.read(8 * MIB):
                pass


def remove(path):
    if path.exists():
        shutil.rmtree(path)


class Bench:
    def __init__(self, args):
        self.work = args.work
        self.causeway = args.causeway.resolve()
        self.source = self.work / f"{args.kind}-{args.layers}"
        self.megatron = self.work / "megatron"
        self.out = self.work / "out"
        self.log = self.work / "run.log"
        self.checks = []
        if not self.source.exists():
            partial = self.work / "partial"
            remove(partial)
            make_model.make(partial, args.kind, args.layers)
            partial.rename(self.source)
        self.bytes = sum(path.stat().st_size for path in files_in(self.source))

    def check(self, text, good):
        self.checks.append(good)
        print(f"{'ok    ' if good else 'MISSED'} {text}")

    def run(self, *command):
        remove(self.out)
        os.sync()
        return measure(command, self.log)

    # The tools. Each takes the source or the Megatron checkpoint to self.out.

    def convert(self, *options):
        return self.run(self.causeway, "convert-hf", "--quiet", *options, self.source, self.out)

    def export(self, *options):
        return self.run(self.causeway, "export-to-hf", "--quiet", *options, self.megatron, self.out)

    def copy(self):
        return self.run("cp", "-r", "--reflink=never", self.source, self.out)

    def sync_copy(self):
        return measure(["sync", *files_in(self.out)], self.log)

    def python(self, *arguments):
        script = pathlib.Path(__file__).with_name("python_converter.py")
        return self.run(sys.executable, script, *arguments)

    def python_convert(self):
        return self.python("convert", self.source, self.out)

    def python_export(self):
        distributed = self.megatron / "iter_0000000"
        return self.python("export", distributed, self.out, self.source)

    def round_trip(self):
        remove(self.megatron)
        self.convert()
        self.out.rename(self.megatron)
        measure([self.causeway, "verify", "--quiet", "--mode", "hash", self.source, self.megatron], self.log)
        self.export()
        names = [path.relative_to(self.source) for path in files_in(self.source)]
        back = [path.relative_to(self.out) for path in files_in(self.out)]
        same = names == back and all(
            filecmp.cmp(self.source / name, self.out / name, shallow=False) for name in names
        )
        self.check(f"round trip: {len(names)} files byte-identical", same)

    def rounds(self, count, with_python):
        """Tool name -> one Run a round. "cp+sync" is the copy and its sync together."""
        tools = {
            "cp": self.copy,
            "convert 1 thread": lambda: self.convert("--threads", "1"),
            "convert 2 threads": lambda: self.convert("--threads", "2"),
            "export 2 threads": lambda: self.export("--threads", "2"),
        }
        if with_python:
            tools["python convert"] = self.python_convert
            tools["python export"] = self.python_export
        results = {}
        names = list(tools)
        for number in range(count):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                run = tools[name]()
                results.setdefault(name, []).append(run)
                if name == "cp":
                    sync = self.sync_copy()
                    synced = Run(run.wall + sync.wall, run.cpu + sync.cpu, max(run.rss, sync.rss))
                    results.setdefault("cp+sync", []).append(synced)
            walls = ", ".join(f"{name} {runs[-1].wall:.2f} s" for name, runs in results.items())
            print(f"round {number + 1}: {walls}", flush=True)
        return results

    def startup(self):
        seconds = []
        for _ in range(21):
            start = time.perf_counter()
            subprocess.run([self.causeway, "--version"], stdout=subprocess.DEVNULL, check=True)
            seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds)
        limit = MAX_STARTUP_SECONDS
        self.check(f"start-up {median * 1e3:.1f} ms (at most {limit * 1e3:.0f})", median <= limit)

    def memory(self, results):
        def bounded(name, peak, limit):
            text = f"{name}: peak RSS {peak / MIB:.0f} MiB (at most {limit // MIB} + {MEMORY_SLACK // MIB})"
            self.check(text, peak <= limit + MEMORY_SLACK)

        for name, runs in results.items():
            if name.startswith(("convert", "export")):
                bounded(name, max(run.rss for run in runs), DEFAULT_MEMORY)
        small = ("--memory", f"{SMALL_MEMORY // MIB}MiB")
        bounded("convert, --memory 64MiB", self.convert(*small).rss, SMALL_MEMORY)
        bounded("export, --memory 64MiB", self.export(*small).rss, SMALL_MEMORY)


def ratios(runs, base, field):
    return [getattr(a, field) / max(getattr(b, field), 1e-9) for a, b in zip(runs, base)]


def summary(values):
    return f"{statistics.median(values):6.2f} [{min(values):.2f}-{max(values):.2f}]"


def print_table(results, size):
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


def judge(bench, results):
    copies = [run.wall for run in results["cp"]]
    noisy = max(copies) > 2 * min(copies)
    field = "cpu" if noisy else "wall"
    spread = max(copies) / min(copies)
    print(f"slowest cp / fastest cp = {spread:.2f}: {field} time is judged")
    for name in ("convert 1 thread", "convert 2 threads"):
        ratio = statistics.median(ratios(results[name], results["cp+sync"], field))
        text = f"{name}: {ratio:.2f} x {field} of cp+sync (at most {MAX_COPY_RATIO})"
        bench.check(text, ratio <= MAX_COPY_RATIO)
    for python, ours in (("python convert", "convert 1 thread"), ("python export", "export 2 threads")):
        if python in results:
            ratio = statistics.median(ratios(results[python], results[ours], "wall"))
            text = f"{ours}: {ratio:.1f} x faster than {python} (at least {MIN_PYTHON_RATIO:.0f})"
            bench.check(text, ratio >= MIN_PYTHON_RATIO)


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--causeway", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", choices=("dense", "moe"), default="dense")
    parser.add_argument("--layers", type=int, default=25, help="dense: 0.54 GB + 0.1 GB a layer")
    parser.add_argument("--no-python", action="store_true", help="leave the Python converter out")
    parser.add_argument("--keep", action="store_true", help="keep the random checkpoint for the next run")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    bench = Bench(args)
    try:
        print(f"{cpu_model()}, {os.cpu_count()} cores, Linux {platform.release()}, "
              f"load {os.getloadavg()[0]:.1f}; {args.kind} checkpoint of {bench.bytes / 1e9:.2f} GB")
        bench.startup()
        warm(bench.source)
        bench.round_trip()
        warm(bench.megatron)
        results = bench.rounds(args.rounds, not args.no_python)
        print_table(results, bench.bytes)
        judge(bench, results)
        bench.memory(results)
    finally:
        remove(bench.out)
        remove(bench.megatron)
        if not args.keep:
            remove(bench.source)
    missed = bench.checks.count(False)
    print(f"{len(bench.checks)} goals, {missed} missed (load {os.getloadavg()[0]:.1f})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
