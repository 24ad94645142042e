"""Runs jobs of oracles.megatron in fresh process groups, cheaply.

Importing torch and megatron-core takes seconds, so one server process per spec imports them once and forks the ranks of
each job. A rank lives for one job: no state is carried over, and a rank that hangs is killed.

Client:  Pool("te").run("load", layout=Layout(tp=2), arch=..., directory=...)  ->  [result of rank 0, result of rank 1]
Server:  python -m oracles.pool te 0.16.1        requests and replies are pickles on stdin and stdout

A second version of megatron-core lies beside the packages of the environment (scripts/venv.sh): Pool("te", NEXT_CORE).
"""
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from oracles.layout import Layout

JOB_SECONDS = 60
CORE, NEXT_CORE = "0.16.1", "0.19.2"


class JobError(Exception):
    """A rank raised, died or took too long; the text of every rank's failure."""


class Pool:
    def __init__(self, spec, core=CORE):
        self.spec = spec
        tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        environment = {**os.environ, "NO_VCS_VERSION": "1"}  # else a newer one adds the commit of this repository to its version
        if core != CORE:
            environment["PYTHONPATH"] = os.path.join(sys.prefix, f"megatron-core-{core}")
        self.server = subprocess.Popen([sys.executable, "-m", "oracles.pool", spec, core], cwd=tests, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, job, *, layout=Layout(), **arguments):
        pickle.dump((job, layout, arguments), self.server.stdin)
        self.server.stdin.flush()
        ok, results = pickle.load(self.server.stdout)
        if not ok:
            raise JobError("\n".join(results))
        return results

    def close(self):
        self.server.stdin.close()
        self.server.wait()


def _rank(rank, folder, spec, job, layout, arguments):
    from oracles import megatron, megatron_model

    try:
        megatron_model.init(rank, os.path.join(folder, "rendezvous"), layout)
        result = True, getattr(megatron, job)(spec=spec, **arguments)
    except BaseException as error:  # CheckpointException is not an Exception
        result = False, f"rank {rank}: {type(error).__name__}: {error}\n{traceback.format_exc()}"
    with open(os.path.join(folder, f"part{rank}"), "wb") as file:
        pickle.dump(result, file)
    os.rename(os.path.join(folder, f"part{rank}"), os.path.join(folder, f"rank{rank}"))


def _kill_group(rank):
    """A rank and whatever processes megatron-core started for it."""
    try:
        os.killpg(rank, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _wait(children):
    """A rank that failed leaves the others waiting for it: after the first failure they get a moment, then they are killed."""
    deadline, running = time.monotonic() + JOB_SECONDS, set(children)
    while running and time.monotonic() < deadline:
        for child in list(running):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                running.remove(child)
                _kill_group(child)
                if status:
                    deadline = min(deadline, time.monotonic() + 5)
        time.sleep(0.01)
    for child in running:
        _kill_group(child)
        os.waitpid(child, 0)


def _serve_one(spec, job, layout, arguments):
    folder = tempfile.mkdtemp(prefix="ranks-")
    children = []
    for rank in range(layout.world):
        child = os.fork()
        if not child:
            os.setsid()
            _rank(rank, folder, spec, job, layout, arguments)
            ok = pickle.load(open(os.path.join(folder, f"rank{rank}"), "rb"))[0]
            os._exit(0 if ok else 1)
        children.append(child)
    _wait(children)
    results = []
    for rank in range(layout.world):
        path = os.path.join(folder, f"rank{rank}")
        results.append(pickle.load(open(path, "rb")) if os.path.exists(path) else (False, f"rank {rank}: died or was killed"))
    shutil.rmtree(folder)
    failures = [text for ok, text in results if not ok]
    return (False, failures) if failures else (True, [value for _, value in results])


def _serve(spec, core):
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever megatron-core prints must not mix with the replies
    if spec == "te":
        from oracles import fake_mamba, fake_te

        fake_te.install()
        if core == NEXT_CORE:  # the older one's model has no multi-token prediction, and is not made
            fake_mamba.install()
    import torch

    torch.set_num_threads(1)  # no thread may exist when ranks are forked
    load_from_bytes = torch.storage._load_from_bytes
    from oracles import megatron

    # A newer megatron-core puts one of its own in place, which replies would name and the client does not have.
    torch.storage._load_from_bytes = load_from_bytes

    assert megatron.gpt_layer_specs.HAVE_TE == (spec == "te")
    assert megatron.megatron.core.__version__ == core
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(_serve_one(spec, *request), replies)
        replies.flush()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
