"""What the benches measure with: processes under time(1), goals that are met or missed."""

import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import time

MIB = 1 << 20
TIMEOUT_SECONDS = 1800


@dataclasses.dataclass
class Run:
    wall: float
    user: float
    cpu: float  # with the kernel's part
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
    return Run(wall, float(user), float(user) + float(system), int(kilobytes) * 1024)


def files_in(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def bytes_in(folder):
    return sum(path.stat().st_size for path in files_in(folder))


def warm(folder):
    for path in files_in(folder):
        with open(path, "rb", buffering=0) as file:
            while file.read(8 * MIB):
                pass


def chill(*folders):
    """Takes the folders' files out of the page cache, as far as the file system does so."""
    os.sync()  # what is not written yet stays
    for folder in folders:
        for path in files_in(folder):
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def remove(path):
    if path.exists():
        shutil.rmtree(path)


class Goals:
    def __init__(self):
        self.checks = []

    def check(self, text, good):
        self.checks.append(good)
        print(f"{'ok    ' if good else 'MISSED'} {text}", flush=True)

    def no_slower(self, name, ratios, limit):
        """ratios: of CPU time, of race()."""
        ratio = statistics.median(ratios)
        self.check(f"{name}: CPU time {ratio:.3f} x that of before, {min(ratios):.3f} to {max(ratios):.3f} (at most {limit})", ratio <= limit)

    def bounded(self, name, peak, *limits):
        """limits: what is allowed, as a sum."""
        text = " + ".join(f"{limit // MIB}" for limit in limits)
        self.check(f"{name}: peak RSS {peak / MIB:.0f} MiB (at most {text})", peak <= sum(limits))


def race(before, after, rounds, cpu_of):
    """The ratios of CPU time of two builds: each round runs both, in turn which is first. cpu_of(binary): seconds of one run."""
    ratios = []
    for number in range(rounds):
        cpu = {binary: cpu_of(binary) for binary in (before, after)[:: -1 if number % 2 else 1]}
        ratios.append(cpu[after] / cpu[before])
        print(f"round {number + 1}: {cpu[before]:.2f} s and {cpu[after]:.2f} s of CPU", flush=True)
    return ratios


def startup(binary, goals, limit, commands=(("--version",),), runs=21):
    for arguments in commands:
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            subprocess.run([binary, *arguments], stdout=subprocess.DEVNULL, check=True)
            seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds)
        goals.check(f"{binary.name} {arguments[0]}: start-up {median * 1e3:.1f} ms (at most {limit * 1e3:.0f})", median <= limit)
