"""Running the `causeway` binary (environment variable CAUSEWAY) as a user does, and what every refusal must look like."""
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

DATA = pathlib.Path(__file__).resolve().parent.parent.parent / "data"
DENSE_FIXTURES = ("qwen3_dense", "llama_tied")
V3_FIXTURES = ("deepseek_v3", "deepseek_v3_mtp2", "deepseek_v3_fp8")  # latent attention, experts, multi-token prediction
MOE_FIXTURES = ("qwen3_moe", *V3_FIXTURES)
HF_FIXTURES = (*DENSE_FIXTURES, *MOE_FIXTURES)


def hf_fixture(name):
    return DATA / "bridge_written" / name / "hf"


@dataclasses.dataclass
class Done:
    command: str
    code: int
    out: str
    err: str
    cpu_seconds: float
    peak_bytes: int

    def __str__(self):
        return f"{self.command}: exit {self.code}, {self.cpu_seconds:.2f} s, {self.peak_bytes >> 20} MiB\n{self.out}{self.err}"


def binary():
    path = os.environ.get("CAUSEWAY")
    assert path, "set CAUSEWAY to the causeway binary"
    return os.path.abspath(path)


def start(*arguments, **popen):
    return subprocess.Popen([binary(), *map(os.fspath, arguments)], stdin=subprocess.DEVNULL, **popen)


@functools.cache
def spawner():
    script = pathlib.Path(__file__).with_name("spawner.py")
    return subprocess.Popen([sys.executable, "-I", "-S", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run(*arguments, expect=None, cwd=".", timeout=60):
    """Runs the binary to its end. With expect, the test fails unless that is the exit status."""
    argv = [binary(), *map(os.fspath, arguments)]
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        print(json.dumps([argv, os.path.abspath(cwd), out.name, err.name, timeout]), file=spawner().stdin, flush=True)
        code, cpu_seconds, peak_bytes = json.loads(spawner().stdout.readline())
        texts = [file.read().decode("utf-8") for file in (out, err)]  # strict: messages are UTF-8 whatever the input holds
    done = Done("causeway " + " ".join(argv[1:]), code, *texts, cpu_seconds, peak_bytes)
    assert expect is None or done.code == expect, f"expected exit {expect}\n{done}"
    return done


def convert(source, target, *options, **how):
    return run("convert-hf", source, target, *options, expect=0, **how)


def export(source, target, *options, **how):
    return run("export-to-hf", source, target, *options, expect=0, **how)


def check_message(done, code, *words):
    """What an error must look like: the right status, one line that names the place, at most one more that says what to do; between
    them a line for each field of a configuration that is not the checkpoint's. A tuple among the words: any of these."""
    assert done.code in (code if isinstance(code, tuple) else (code,)), f"expected exit {code}\n{done}"
    lines = [line for line in done.err.splitlines() if not re.fullmatch(r"  \w+: checkpoint .*, config\.json .*", line)]
    assert 1 <= len(lines) <= 2, f"{len(lines)} lines on stderr\n{done}"
    assert lines[0].startswith("causeway: "), str(done)
    assert len(lines) == 1 or lines[1].startswith("  "), str(done)
    assert done.err.endswith("\n") and all(c.isprintable() or c == "\n" for c in done.err), repr(done.err)
    for word in words:
        alternatives = word if isinstance(word, tuple) else (word,)
        assert any(each in done.err for each in alternatives), f"the message does not say {word!r}\n{done}"


def check_cheap(done):
    assert done.cpu_seconds < 2, f"too slow\n{done}"
    assert done.peak_bytes < 100_000_000, f"too much memory\n{done}"


@contextlib.contextmanager
def nothing_written(folder):
    """Whatever runs inside leaves the folder as it is: no output, no partial folder, no lock file."""
    before = snapshot(folder)
    yield
    after = snapshot(folder)
    assert after == before, f"changed: {sorted(set(after.items()) ^ set(before.items()))}"


def refused(command, source, folder, code, *words, options=()):
    """Runs command source folder/out and checks message, cost, and that folder stays as it is."""
    with nothing_written(folder):
        done = run(command, source, folder / "out", *options, cwd=folder)
    done.err = done.err.replace(f"{folder}/", "")  # its name is the test's, and so may hold the words
    print(done.err)  # `pytest -rP` shows every message
    check_message(done, code, *words)
    check_cheap(done)
    return done


def snapshot(folder):
    """{relative path: what is there} of a tree."""
    found = {}
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_symlink():
            what = f"-> {os.readlink(path)}"
        else:
            what = "folder" if path.is_dir() else path.stat().st_size
        found[str(path.relative_to(folder))] = what
    return found


def hashes(folder):
    """{relative path: SHA-256} of the files of a tree; symlinks by where they lead."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def copy_tree(source, target):
    """A writable copy; data files of the repository may be read-only."""
    shutil.copytree(source, target, symlinks=True, copy_function=shutil.copyfile)
    return pathlib.Path(target)


def edit_config(folder, **fields):
    """Sets fields of config.json; None removes one."""
    path = pathlib.Path(folder) / "config.json"
    config = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def work_in_memory(config):
    """For pytest_configure. The binary syncs every file it writes, and in most tests only the order of things matters."""
    if config.option.basetemp is None and os.access("/dev/shm", os.W_OK):
        config.option.basetemp = tempfile.mkdtemp(prefix="causeway-tests-", dir="/dev/shm")
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp))


def flip_bit(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
