"""One small conversion or export, run with a fault at one of its file operations (fault.c)."""
import collections
import os
import pathlib
import shutil
import subprocess

from helpers import binary, hashes

Operation = collections.namedtuple("Operation", "kind path")
Done = collections.namedtuple("Done", "code err")
# What a run may leave beside the output, by the rules of output_dir.h.
LOCK = ".out.causeway.lock"
JOURNAL = ".out.causeway.journal"
LEASE = LOCK + ".lease"
LEFTOVERS = {".out.partial", ".out.old", LOCK, LEASE, JOURNAL}


class Scenario:
    """command source FOLDER/out. old: a folder that lies there before and is replaced; None: nothing does.

    With a journal, watermarks lie so close that a small model has several."""

    def __init__(self, library, folder, command, source, old, journal):
        self.library, self.folder, self.source, self.old, self.journal = library, pathlib.Path(folder), source, old, journal
        self.command = [command, os.fspath(source), os.fspath(self.folder / "out"), "--quiet", "--threads", "1"]
        self.command += ["--watermark-every", "64KB"] if journal else []
        self.overwrite = [] if old is None else ["--overwrite"]
        self.old_hashes = None if old is None else hashes(old)
        self.new_hashes = None
        self.runs = 0  # that were struck
        self.operations = self._count()

    def _count(self):
        """What a run without a fault does: its operations, in order. Sets new_hashes."""
        log = self.folder.with_name(self.folder.name + ".log")
        self.prepare()
        done = self._launch(self.overwrite, CRASH_LOG=log)
        assert done.code == 0, done
        assert os.listdir(self.folder) == ["out"]
        self.new_hashes = hashes(self.folder / "out")
        assert self.new_hashes != self.old_hashes
        operations = [Operation(*line.split(" ", 1)) for line in log.read_text().splitlines()]
        assert len(operations) > 100 and {"pread", "pwrite", "fsync", "create", "mkdir"} <= {operation.kind for operation in operations}
        assert self.journal == any(operation.path.endswith(JOURNAL) and operation.kind == "pwrite" for operation in operations)
        return operations

    def prepare(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if self.old is not None:
            shutil.copytree(self.old, self.folder / "out", symlinks=True, copy_function=os.link)

    def _launch(self, options, **variables):
        # The common parent of source and target: reads count as well as writes.
        root = os.path.commonpath([self.source, self.folder])
        environment = {**os.environ, "LD_PRELOAD": os.fspath(self.library), "CRASH_ROOT": root, "CRASH_CHANGES": os.fspath(self.folder)}
        environment |= {name: os.fspath(value) for name, value in variables.items()}
        done = subprocess.run([binary(), *self.command, *options], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60)
        return Done(done.returncode, done.stderr.decode())

    def struck(self, number, action):
        """A run from the start whose operation `number` (from 1) is struck."""
        self.prepare()
        self.runs += 1
        return self._launch(self.overwrite, CRASH_AT=str(number), CRASH_ACTION=str(action))

    def run_again(self):
        """The next run, without a fault. It takes the place of whatever is there."""
        options = ["--overwrite"] if self.shown() != "nothing" else []
        options += ["--resume"] if self.journal else []
        done = subprocess.run([binary(), *self.command, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        return Done(done.returncode, done.stderr.decode())

    def shown(self):
        """What is there under the output's name."""
        target = self.folder / "out"
        if not os.path.lexists(target):
            return "nothing"
        there = hashes(target)
        return "new" if there == self.new_hashes else "old" if there == self.old_hashes else f"neither: {sorted(there)}"

    def leftovers(self):
        return set(os.listdir(self.folder)) - {"out"}

    def partial_is_sound(self):
        """A partial folder that has `.metadata`, the last file that is written, holds all data that it names."""
        partial = self.folder / ".out.partial"
        if not (partial / "iter_0000000" / ".metadata").exists():
            return True
        data = lambda tree: {name: tree[name] for name in tree if name.endswith(".distcp")}  # noqa: E731
        # After the exchange the partial folder is the old output, whole or partly removed.
        return data(hashes(partial)) == data(self.new_hashes) or data(hashes(partial)).items() <= data(self.old_hashes or {}).items()
