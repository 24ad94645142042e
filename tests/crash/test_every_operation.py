"""A conversion is killed and failed at every file operation, in both directions, with nothing under the output's name before and with an
earlier output there. The name always shows nothing, or the old, or the new output, whole; the next run ends with the bytes of an undisturbed
one and leaves nothing else. What a failure leaves is what --resume needs, or nothing. All the while, nothing outside the output's folder is
changed, and no socket is made (fault.c)."""
import errno
import os
import re
import signal
import subprocess
import sys

import pytest
from helpers import binary, convert, copy_tree, export, hf_fixture
from scenario import JOURNAL, LEASE, LEFTOVERS, LOCK, Scenario

WHOLE = os.environ.get("CAUSEWAY_CRASH") == "whole"
MODELS = ("qwen3_dense", "deepseek_v3_fp8") if WHOLE else ("qwen3_dense",)
COMMANDS = ("convert-hf", "export-to-hf")
# With a journal, every operation on it and, unless all are wanted, each of this many others.
STEP = 1 if WHOLE else 7

# What the system says of an operation that fails (man-pages(2)).
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EPERM)
ERRORS = {
    "open": (errno.EIO, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    "create": (errno.EIO, errno.EACCES, errno.EMFILE, errno.EROFS, *NO_SPACE),
    "pread": (errno.EIO, errno.EISDIR, errno.ENOMEM),
    "pwrite": (errno.EIO, errno.EFBIG, *NO_SPACE),
    "fsync": (errno.EIO, *NO_SPACE),
    "ftruncate": (errno.EIO, errno.EFBIG, errno.ENOSPC),
    "fallocate": (errno.EIO, errno.EFBIG, *NO_SPACE),
    "flock": (errno.EIO, errno.ENOMEM),
    "fstat": (errno.EIO, errno.ENOMEM),
    "stat": (errno.EIO, errno.EACCES, errno.ENOMEM),
    "lstat": (errno.EIO, errno.EACCES, errno.ENOMEM),
    "statvfs": (errno.EIO, errno.EACCES),
    "realpath": (errno.EIO, errno.EACCES),
    "readlink": (errno.EIO, errno.EACCES),
    "opendir": (errno.EIO, errno.EACCES, errno.EMFILE),
    "readdir": (errno.EIO,),
    "mkdir": (errno.EIO, errno.EROFS, *DENIED, *NO_SPACE),
    "rmdir": (errno.EIO, errno.EBUSY, *DENIED),
    "unlink": (errno.EIO, errno.EBUSY, *DENIED),
    "symlink": (errno.EIO, errno.EACCES, *NO_SPACE),
    "rename": (errno.EIO, *DENIED, *NO_SPACE),
    "renameat2": (errno.EIO, *DENIED, *NO_SPACE),
    "exchange": (errno.EIO, *DENIED, *NO_SPACE),
}
# After these the run goes on and ends well: interrupted calls are made again, what a file system cannot do has another way.
PASSED_OVER = {
    **{kind: (errno.EINTR,) for kind in ("open", "create", "pread", "pwrite", "ftruncate", "statvfs")},
    "fallocate": (errno.EINTR, errno.EOPNOTSUPP),
    "flock": (errno.EINTR, errno.ENOLCK, errno.ENOSYS),
    "renameat2": (errno.EINVAL, errno.ENOSYS),
    "exchange": (errno.EINVAL, errno.ENOSYS),
}
# Operations by which a run removes what it leaves: one that fails may leave the rest.
REMOVING = ("unlink", "rmdir", "opendir", "readdir", "stat", "lstat", "open", "fsync", "rename", "exchange")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """{(model, command): (what is converted, an earlier output of another model)}, all below one folder."""
    folder = tmp_path_factory.getbasetemp() / "sources"
    convert(hf_fixture("llama_tied"), folder / "old" / "megatron")
    export(folder / "old" / "megatron", folder / "old" / "hf")
    made = {}
    for model in MODELS:
        hf = copy_tree(hf_fixture(model), folder / model / "hf")
        convert(hf, folder / model / "megatron")
        made[model, "convert-hf"] = hf, folder / "old" / "megatron"
        made[model, "export-to-hf"] = folder / model / "megatron", folder / "old" / "hf"
    return made


@pytest.fixture(params=(False, True), ids=("plain", "journal"))
def journal(request):
    return request.param


@pytest.fixture(params=("fresh", "overwrite"))
def scenario(request, model, command, journal, sources, fault_library, tmp_path):
    source, old = sources[model, command]
    made = Scenario(fault_library, tmp_path / "case", command, source, old if request.param == "overwrite" else None, journal)
    yield made
    print(f"{made.runs} runs were struck, of {len(made.operations)} operations")


def numbers(scenario):
    """The operations to strike, from 1."""
    every = enumerate(scenario.operations, 1)
    return [number for number, operation in every if not scenario.journal or operation.path.endswith(JOURNAL) or number % STEP == 0]


def check_shown(scenario, where):
    assert scenario.shown() in ("new", "nothing" if scenario.old is None else "old"), where
    assert scenario.leftovers() <= LEFTOVERS, where
    assert scenario.partial_is_sound(), where


def check_next_run(scenario, where):
    done = scenario.run_again()
    assert done.code == 0, f"{where}: the next run: {done}"
    assert scenario.shown() == "new" and not scenario.leftovers(), f"{where}: the next run: {scenario.shown()}, {scenario.leftovers()}"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("model", MODELS)
def test_killed(scenario):
    shown = set()
    for number in numbers(scenario):
        where = f"operation {number}: {scenario.operations[number - 1]}"
        assert scenario.struck(number, "kill").code == -signal.SIGKILL, where
        check_shown(scenario, where)
        shown.add(scenario.shown())
        check_next_run(scenario, where)
    assert len(shown) == 2, "before and after the commit"


def check_message(done, where):
    lines = done.err.splitlines()
    assert 1 <= len(lines) <= 2 and lines[0].startswith("causeway: ") and all(line.startswith("  ") for line in lines[1:]), f"{where}: {done}"


def check_failed(scenario, number, error):
    operation = scenario.operations[number - 1]
    where = f"operation {number}: {operation} {errno.errorcode[error]}"
    done = scenario.struck(number, error)
    check_shown(scenario, f"{where}: {done}")
    # A lock file that could not be locked may be somebody else's, and so may a lease that could not be read; they stay, and
    # keep nobody out.
    harmless = {LOCK, LEASE} if operation.path.endswith((LOCK, LEASE)) else set()
    if done.code == 0:
        assert scenario.shown() == "new", f"{where}: {done}"
        assert operation.kind in REMOVING or scenario.leftovers() <= harmless, f"{where}: {scenario.leftovers()}"
    else:
        assert done.code == 4, f"{where}: {done}"
        check_message(done, where)
        # The new output may be in place when removing the old one fails, and the message says so.
        in_place = "the new output is in place" in done.err
        assert (scenario.shown() == "new") == in_place, f"{where}: {done}"
        resumable = "--resume goes on from" in done.err
        assert resumable == ({JOURNAL, ".out.partial"} <= scenario.leftovers()), f"{where}: {done} {scenario.leftovers()}"
        assert resumable or in_place or scenario.leftovers() <= harmless, f"{where}: {done} {scenario.leftovers()}"
    check_next_run(scenario, where)
    return done.code


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("model", MODELS)
def test_failed(scenario):
    """Each operation fails with each of its errors; with one of them, in turn, unless all are wanted."""
    codes = []
    for number in numbers(scenario):
        errors = ERRORS[scenario.operations[number - 1].kind]
        for error in errors if WHOLE else errors[number % len(errors) :][:1]:
            codes.append(check_failed(scenario, number, error))
    assert codes.count(4) > 0.8 * len(codes), "most operations cannot be done without"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("model", MODELS)
def test_passed_over(scenario):
    """Errors after which a run goes on. One operation of each kind and folder, unless all are wanted."""
    tried = set()
    for number in numbers(scenario):
        operation = scenario.operations[number - 1]
        for error in PASSED_OVER.get(operation.kind, ()):
            case = operation.kind, error, os.path.dirname(operation.path)
            if case in tried and not WHOLE:
                continue
            tried.add(case)
            where = f"operation {number}: {operation} {errno.errorcode[error]}"
            done = scenario.struck(number, error)
            assert done.code == 0, f"{where}: {done}"
            assert scenario.shown() == "new" and not scenario.leftovers(), f"{where}: {done} {scenario.leftovers()}"
    assert tried


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("model", MODELS)
def test_told_to_end(scenario):
    """SIGTERM before an operation: the run ends with 143 and leaves what --resume needs, or nothing; or it came to its end before that."""
    for number in numbers(scenario) if WHOLE else numbers(scenario)[:: 4 * STEP]:
        where = f"operation {number}: {scenario.operations[number - 1]}"
        done = scenario.struck(number, "term")
        check_shown(scenario, f"{where}: {done}")
        if done.code == 0:
            assert scenario.shown() == "new" and not scenario.leftovers(), f"{where}: {scenario.leftovers()}"
        else:
            assert done.code == 128 + signal.SIGTERM, f"{where}: {done}"
            assert scenario.shown() != "new", f"{where}: {done}"
            resumable = re.fullmatch(r"causeway: interrupted; --resume goes on from .*\n", done.err)
            assert resumable or done.err == "causeway: interrupted; nothing was left behind\n", f"{where}: {done}"
            assert bool(resumable) == bool(scenario.leftovers()), f"{where}: {done} {scenario.leftovers()}"
        check_next_run(scenario, where)


def test_what_is_forbidden_is_noticed(fault_library, sources, tmp_path):
    """Otherwise none of the runs above would show that nothing else is changed, and no socket made."""
    hf, _ = sources[MODELS[0], "convert-hf"]
    socket = [sys.executable, "-B", "-c", "import socket; socket.socket()"]
    for command, word in (([binary(), "convert-hf", hf, tmp_path / "out"], "a change of"), (socket, "a socket")):
        environment = {**os.environ, "LD_PRELOAD": os.fspath(fault_library), "CRASH_CHANGES": os.fspath(tmp_path / "elsewhere")}
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode == -signal.SIGABRT and f"forbidden: {word}" in done.stderr, done
