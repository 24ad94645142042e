"""Several processes write one output: by --rank, by mpirun, by torchrun; whoever dies, any number of others goes on."""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

import large_model
from helpers import binary, check_message, convert, copy_tree, export, flip_bit, hashes, hf_fixture, nothing_written, run, start

EVERY = ("--watermark-every", "10MB")
FILES = {"convert-hf": ("--file-size", "20MB"), "export-to-hf": ("--max-shard-size", "20MB")}
COMMANDS = tuple(FILES)
LAUNCHERS = ("SLURM_", "OMPI_", "PMI", "TORCHELASTIC_", "RANK", "WORLD_SIZE")  # what the names of their variables begin with


def environment(**variables):
    """This environment without any launcher's variables, and these."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}, **variables}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{command: (source, what one process makes of it)}"""
    folder = tmp_path_factory.mktemp("models")
    hf = large_model.make(folder / "hf")
    convert(hf, folder / "megatron", *FILES["convert-hf"])
    export(folder / "megatron", folder / "again", *FILES["export-to-hf"])
    return {"convert-hf": (hf, hashes(folder / "megatron")), "export-to-hf": (folder / "megatron", hashes(folder / "again"))}


def start_rank(index, count, command, source, folder, *options):
    return start(command, source, folder / "out", *EVERY, *FILES[command], "--threads", "1", "--rank", f"{index}/{count}", *options,
                 env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def start_ranks(count, *arguments):
    return [start_rank(index, count, *arguments) for index in range(count)]


def end(processes, timeout=60):
    """[(exit status, stdout, stderr)]"""
    ended = []
    for process in processes:
        out, err = process.communicate(timeout=timeout)
        ended.append((process.returncode, out.decode(), err.decode()))
    return ended


def launched(*launcher, arguments, timeout=120, **variables):
    """Runs the binary under a launcher to its end."""
    argv = [*launcher, binary(), *map(os.fspath, arguments)]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env=environment(**variables), check=False)


def mpirun(count):
    program = shutil.which("mpirun")
    assert program, "scripts/install.sh --tests installs openmpi-bin"
    return [program, "--allow-run-as-root", "-n", str(count), "--oversubscribe"]


def torchrun(count):
    return [sys.executable, "-m", "torch.distributed.run", "--no-python", "--standalone", "--nproc-per-node", str(count)]


def wait_until_all_write(folder, count, processes):
    """Every rank has come, and one has a journal; or the processes have ended."""
    deadline = time.monotonic() + 30
    while any(process.poll() is None for process in processes):
        if list(folder.glob(".out.causeway.journal*")) and len(list(folder.glob(".out.causeway.rank.*"))) == count:
            return
        assert time.monotonic() < deadline
        time.sleep(0.001)


def complete(folder, expected):
    assert hashes(folder / "out") == expected
    assert os.listdir(folder) == ["out"]


# ---- the same bytes ----


@pytest.mark.parametrize("count", (2, 3))
@pytest.mark.parametrize("command", COMMANDS)
def test_by_option(command, count, models, tmp_path):
    source, expected = models[command]
    ended = end(start_ranks(count, command, source, tmp_path))
    for index, (code, out, err) in enumerate(ended):
        assert code == 0, err
        assert f"rank {index} of {count} (--rank)\n" in err
        assert ("target " in out) == (index == 0), "rank 0 prints the summary"
        assert (f"rank {index} of {count}: its part is done\n" in err) == (index > 0)
    complete(tmp_path, expected)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("launcher", (mpirun, torchrun), ids=lambda launcher: launcher.__name__)
def test_by_launcher(launcher, command, models, tmp_path):
    source, expected = models[command]
    done = launched(*launcher(3), arguments=(command, source, tmp_path / "out", *EVERY, *FILES[command]))
    assert done.returncode == 0, done.stderr
    name = {"mpirun": "OpenMPI", "torchrun": "torchrun"}[launcher.__name__]
    for index in range(3):
        assert f"rank {index} of 3 ({name})" in done.stderr
    complete(tmp_path, expected)


def test_sidecar_elsewhere_and_overwrite(models, tmp_path):
    source, _ = models["convert-hf"]
    one, side = tmp_path / "one", tmp_path / "side"
    side.mkdir()
    convert(source, one / "out", *FILES["convert-hf"], "--sidecar", one / "car")
    folder = tmp_path / "ranks"
    for options in ((), ("--overwrite",)):
        ended = end(start_ranks(2, "convert-hf", source, folder, "--sidecar", side / "car", *options))
        assert [code for code, _, _ in ended] == [0, 0], ended
        assert hashes(side / "car") == hashes(one / "car") and os.listdir(side) == ["car"]
        complete(folder, hashes(one / "out"))


def test_a_quantized_model_and_its_witnesses(tmp_path):
    """The scales of FP8 are witnesses, which each rank writes for its part."""
    source = hf_fixture("deepseek_v3_fp8")
    arguments = (source, tmp_path / "out", "--watermark-every", "100KB", "--file-size", "200KB")
    convert(source, tmp_path / "one", "--file-size", "200KB")
    processes = [start("convert-hf", *arguments, "--rank", f"{index}/3", env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) for index in range(3)]
    assert [code for code, _, _ in end(processes)] == [0, 0, 0]
    assert hashes(tmp_path / "out") == hashes(tmp_path / "one")
    assert sorted(os.listdir(tmp_path)) == ["one", "out"]
    export(tmp_path / "out", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(source)


# ---- a rank dies ----


@pytest.mark.parametrize("command", COMMANDS)
def test_one_rank_is_killed(command, models, tmp_path):
    """A rank, chosen at random, is killed a random while after the copying began; another number of processes goes on."""
    source, expected = models[command]
    clock = random.Random(command)
    resumed = 0
    for attempt, (count, after) in enumerate(((3, 1), (3, 2), (2, 4))):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        processes = start_ranks(count, command, source, folder)
        wait_until_all_write(folder, count, processes)
        time.sleep(clock.uniform(0, 0.1))
        victim = clock.randrange(count)
        processes[victim].kill()
        ended = end(processes)
        code, _, err = ended[0]
        if victim > 0 and code != 0:
            assert code == 4 and f"rank {victim} of {count} has died (process {processes[victim].pid} on " in err and "--resume goes on from " in err, err
        if not (folder / "out").exists():
            resumed += 1
            if after == 1:
                run(command, source, folder / "out", *EVERY, *FILES[command], "--resume", expect=0)
            else:
                again = end(start_ranks(after, command, source, folder, "--resume"))
                assert [code for code, _, _ in again] == [0] * after, again
        complete(folder, expected)
        shutil.rmtree(folder)
    assert resumed > 0


def test_a_rank_of_mpirun_is_killed(models, tmp_path):
    """mpirun ends the others; it says which rank it was. The lease names the process."""
    source, expected = models["convert-hf"]
    arguments = ("convert-hf", source, tmp_path / "out", *EVERY, *FILES["convert-hf"], "--threads", "1")
    process = subprocess.Popen([*mpirun(3), binary(), *map(os.fspath, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=environment())
    wait_until_all_write(tmp_path, 3, [process])
    os.kill(int((tmp_path / ".out.causeway.rank.1").read_text().split()[3]), signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0 and not (tmp_path / "out").exists()
    done = launched(*mpirun(2), arguments=(*arguments, "--resume"))
    assert done.returncode == 0, done.stderr
    complete(tmp_path, expected)


def test_all_are_terminated(models, tmp_path):
    """As by scancel."""
    source, expected = models["convert-hf"]
    processes = start_ranks(2, "convert-hf", source, tmp_path)
    wait_until_all_write(tmp_path, 2, processes)
    for process in processes:
        process.terminate()
    for code, _, err in end(processes):
        assert code in (128 + signal.SIGTERM, 4), err  # a rank may see first that another has ended
    run("convert-hf", source, tmp_path / "out", *EVERY, *FILES["convert-hf"], "--resume", expect=0)
    complete(tmp_path, expected)


def test_ranks_that_never_come_are_named(tmp_path):
    process = start("convert-hf", hf_fixture("qwen3_dense"), tmp_path / "out", "--rank", "0/4", "--rank-timeout", "1", env=environment(),
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ((code, _, err),) = end([process])
    assert code == 4 and "ranks 1, 2, 3 of 4 did not come within 1 s" in err and "--rank-timeout waits longer" in err, err


def test_rank_zero_never_comes(tmp_path):
    with nothing_written(tmp_path):
        process = start("convert-hf", hf_fixture("qwen3_dense"), tmp_path / "out", "--rank", "1/2", "--rank-timeout", "1", env=environment(),
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        ((code, _, err),) = end([process])
    assert code == 4 and "rank 1 of 2: rank 0 did not begin within 1 s" in err, err


def test_another_plan(tmp_path):
    source = hf_fixture("qwen3_dense")
    processes = [start("convert-hf", source, tmp_path / "out", "--rank", f"{index}/2", *options, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                 for index, options in enumerate(((), ("--spec", "local")))]
    for code, _, err in end(processes):
        assert code == 2 and "rank 1 of 2 makes another plan than rank 0: --spec: was te, is local" in err, err
    assert not (tmp_path / "out").exists()


def test_an_error_that_all_find(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("x")
    for code, _, err in end([start("convert-hf", hf_fixture("qwen3_dense"), tmp_path / "out", "--rank", f"{index}/2", env=environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE) for index in range(2)]):
        assert code == 2 and "already exists" in err, err
    assert os.listdir(tmp_path) == ["out"]


# ---- who says which rank ----

PROOFS = {
    "Slurm step": {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"},
    "OpenMPI": {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
    "PMI": {"PMI_SIZE": "2", "PMI_RANK": "1"},
    "torchrun": {"WORLD_SIZE": "2", "RANK": "1", "TORCHELASTIC_RUN_ID": "none"},
}
NO_PROOFS = {
    "a batch script": {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"},
    "an allocation": {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"},
    "a pod": {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "pod-0"},
    "one process of torchrun": {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "x"},
    "half of OpenMPI": {"OMPI_COMM_WORLD_RANK": "1"},
    "half of PMI": {"PMI_RANK": "1"},
}


def with_variables(variables, *arguments):
    ((code, out, err),) = end([start(*arguments, env=environment(**variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE)])
    return code, out, err


@pytest.mark.parametrize("name", PROOFS)
def test_proof_of_a_launch(name, tmp_path):
    code, out, err = with_variables(PROOFS[name], "convert-hf", hf_fixture("qwen3_dense"), tmp_path / "out", "--rank-timeout", "1")
    assert code == 4 and err.startswith(f"rank 1 of 2 ({name})\n") and "rank 0 did not begin" in err and out == "", err


@pytest.mark.parametrize("name", NO_PROOFS)
def test_no_proof_of_a_launch(name, tmp_path):
    code, _, err = with_variables(NO_PROOFS[name], "convert-hf", hf_fixture("qwen3_dense"), tmp_path / "out")
    assert code == 0 and "rank" not in err, err
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", PROOFS)
def test_one_process_by_option(name, tmp_path):
    code, _, err = with_variables(PROOFS[name], "convert-hf", hf_fixture("qwen3_dense"), tmp_path / "out", "--rank", "0/1")
    assert code == 0 and "rank" not in err, err


def test_the_innermost_launcher_counts(tmp_path):
    """mpirun in a Slurm allocation starts its daemons as a step; torchrun is started once a node."""
    step = {**PROOFS["Slurm step"], "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}
    for inner in ("OpenMPI", "PMI", "torchrun"):
        _, _, err = with_variables({**step, **PROOFS[inner]}, "convert-hf", hf_fixture("qwen3_dense"), tmp_path / "out", "--rank-timeout", "1")
        assert err.startswith(f"rank 1 of 2 ({inner})\n"), err
    same = {**PROOFS["Slurm step"], **PROOFS["PMI"]}  # srun --mpi=pmi2
    _, _, err = with_variables(same, "convert-hf", hf_fixture("qwen3_dense"), tmp_path / "out", "--rank-timeout", "1")
    assert err.startswith("rank 1 of 2 (Slurm step)\n"), err


def test_quiet_and_dry_run(tmp_path):
    with nothing_written(tmp_path):
        for options in (("--dry-run",), ("--dry-run", "--quiet")):
            code, out, err = with_variables(PROOFS["OpenMPI"], "convert-hf", hf_fixture("qwen3_dense"), tmp_path / "out", *options)
            assert (code, out) == (0, "") and err == ("" if "--quiet" in options else "rank 1 of 2 (OpenMPI)\n")


@pytest.mark.parametrize("rank", ("2/2", "-1/2", "1", "1/0", "a/b", "1/2/3", "1/99999999", ""))
def test_what_is_no_rank(rank, tmp_path):
    done = run("convert-hf", hf_fixture("qwen3_dense"), tmp_path / "out", "--rank", rank)
    assert done.code == 2 and "--rank" in done.err, done


def test_variables_that_contradict_each_other(tmp_path):
    variables = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "2"}
    code, _, err = with_variables(variables, "convert-hf", hf_fixture("qwen3_dense"), tmp_path / "out")
    assert code == 2 and "OMPI_COMM_WORLD_RANK=2 and OMPI_COMM_WORLD_SIZE=2" in err and "--rank 0/1" in err, err
    for command in (("inspect", hf_fixture("qwen3_dense")), ("mappings", "list")):  # these are always alone
        code, out, err = with_variables(variables, *command)
        assert code == 0 and out and err == "", err


def test_help():
    for command in (*COMMANDS, "verify"):
        done = run(command, "--help", expect=0)
        assert "--rank i/N" in done.out and "--rank-timeout SECONDS" in done.out and "srun" in done.out, done
    assert "--rank" not in run("inspect", "--help", expect=0).out


# ---- verify ----


def verify_ranks(count, source, root, folder):
    folder.mkdir()
    report = folder / "report.json"
    ended = end([start("verify", source, root, "--mode", "hash", "--report", report, "--rank", f"{index}/{count}", env=environment(),
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE) for index in range(count)])
    assert os.listdir(folder) == ["report.json"]
    return ended, json.loads(report.read_text())


def comparable(report):
    return {key: value for key, value in report.items() if key not in ("seconds", "peak_rss_bytes")}


def test_verify_splits_and_merges(tmp_path, converted):
    source, root = hf_fixture("deepseek_v3"), converted("deepseek_v3")
    one = run("verify", source, root, "--mode", "hash", "--report", tmp_path / "one.json", expect=0)
    ended, report = verify_ranks(3, source, root, tmp_path / "same")
    assert [code for code, _, _ in ended] == [0, 0, 0], ended
    assert ended[0][1] == one.out and ended[1][1] == ""
    assert comparable(report) == comparable(json.loads((tmp_path / "one.json").read_text()))


def test_verify_finds_what_any_rank_finds(tmp_path, converted):
    damaged = copy_tree(hf_fixture("deepseek_v3"), tmp_path / "damaged")
    for shard in sorted(damaged.glob("*.safetensors")):
        flip_bit(shard, -1)
    one = run("verify", damaged, converted("deepseek_v3"), "--mode", "hash", "--report", tmp_path / "one.json", expect=1)
    ended, report = verify_ranks(2, damaged, converted("deepseek_v3"), tmp_path / "differ")
    assert [code for code, _, _ in ended] == [1, 0] and ended[0][1] == one.out, ended
    assert comparable(report) == comparable(json.loads((tmp_path / "one.json").read_text()))


def test_verify_needs_a_report(tmp_path, converted):
    code, _, err = with_variables({}, "verify", hf_fixture("qwen3_dense"), converted("qwen3_dense"), "--mode", "hash", "--rank", "0/2")
    assert code == 2 and "needs --report FILE" in err, err


# ---- locks that count across machines ----


def test_the_lease_beside_the_lock(tmp_path):
    """It is there while the run is, names it, and keeps nobody out when the process is gone."""
    done = run("convert-hf", hf_fixture("qwen3_dense"), tmp_path / "out", expect=0)
    assert "lease" not in done.err and os.listdir(tmp_path) == ["out"]
    process = start("convert-hf", hf_fixture("qwen3_dense"), tmp_path / "other", "--rank", "0/2", "--rank-timeout", "30", env=environment(),
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    other = tmp_path / ".other.causeway.lock.lease"
    while not other.exists() or not re.match(r"causeway-lease \S+ \S+ \d+ \S+ \d+ ", other.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    check_message(run("convert-hf", hf_fixture("qwen3_dense"), tmp_path / "other"), 4, "another run is writing it", ".other.causeway.lock")
    process.kill()
    process.communicate()
    assert other.exists()
    convert(hf_fixture("qwen3_dense"), tmp_path / "other", "--restart")  # at once: there is no such process
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]
