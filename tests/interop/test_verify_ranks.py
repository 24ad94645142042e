"""Several processes share `verify` with the forward pass: they report what one reports, and whoever dies or never comes is named."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from interop.test_verify_options import changed_copy

LAUNCHERS = ("SLURM_", "OMPI_", "PMI", "TORCHELASTIC_", "RANK", "WORLD_SIZE")  # what the names of their variables begin with
OF_ONE_RUN = ("seconds", "peak_rss_bytes", "peak_device_bytes", "processes")


def environment(**variables):
    """This environment without any launcher's variables, and these."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}, **variables}


def verify_binary():
    return os.fspath(pathlib.Path(os.environ["CAUSEWAY"]).with_name("causeway-verify"))


def start(argv, **variables):
    return subprocess.Popen([*map(os.fspath, argv)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**variables))


def end(processes, timeout=120):
    """[(exit status, stdout, stderr)]"""
    ended = []
    for process in processes:
        out, err = process.communicate(timeout=timeout)
        ended.append((process.returncode, out, err))
    return ended


def start_ranks(count, report, *arguments, program=None):
    program = [verify_binary()] if program is None else program
    return [start([*program, *arguments, "--report", report, "--threads", "1", "--rank", f"{index}/{count}"]) for index in range(count)]


def comparable(value):
    """A report without what differs from run to run."""
    if isinstance(value, dict):
        return {key: comparable(each) for key, each in value.items() if key not in OF_ONE_RUN}
    return [comparable(each) for each in value] if isinstance(value, list) else value


def one_process(folder, *arguments, program=None):
    """(what it prints, its report)"""
    folder.mkdir()
    program = [verify_binary()] if program is None else program
    ((code, out, err),) = end([start([*program, *arguments, "--report", folder / "report.json", "--threads", "1"])])
    assert code in (0, 1), err
    return code, out, comparable(json.loads((folder / "report.json").read_text()))


def shared(folder, count, *arguments, program=None):
    """The same of `count` processes, with the whole report."""
    folder.mkdir()
    ended = end(start_ranks(count, folder / "report.json", *arguments, program=program))
    assert os.listdir(folder) == ["report.json"], ended
    for index, (code, out, err) in enumerate(ended[1:], 1):
        assert code == 0 and out == "" and f"rank {index} of {count}: its part is done\n" in err, err
    code, out, err = ended[0]
    assert f"rank 0 of {count} (--rank)\n" in err
    return code, out, json.loads((folder / "report.json").read_text())


def check_shared(folder, count, expected, *arguments, program=None):
    code, out, report = shared(folder, count, *arguments, program=program)
    assert (code, out, comparable(report)) == expected
    return report


# ---- the report of one process ----


@pytest.mark.parametrize("name", ("qwen3", "qwen3_tied_fp32", "deepseek_v3_mtp2_fp32", "gpt_oss", "deepseek_v32", "glm_moe_dsa_shared"))
def test_the_report_of_one(name, sources, converted, tmp_path):
    """Attention of every kind that hands something to the next layer; tied embeddings; multi-token prediction on the last rank."""
    pair = (sources(name).folder, converted(name, "te"))
    expected = one_process(tmp_path / "one", *pair)
    for count in (2, 3):
        report = check_shared(tmp_path / str(count), count, expected, *pair)
        layers = [process["layers"] for process in report["processes"]]
        assert layers[0][0] == 0 and all(a[1] == b[0] for a, b in zip(layers, layers[1:])), layers
        assert sum(process["tensors"] for process in report["processes"]) == report["tensors"]["compared"]


def test_hyper_connections(v4_sources, v4_converted, tmp_path):
    pair = (v4_sources("bf16").folder, v4_converted("bf16"))
    check_shared(tmp_path / "ranks", 3, one_process(tmp_path / "one", *pair), *pair)


def test_what_differs_is_found_by_whoever_has_it(sources, converted, tmp_path):
    hf = changed_copy(sources("qwen3"), tmp_path / "hf", "model.layers.1.self_attn.o_proj.weight", lambda t: t.mul_(2))
    pair = (hf, converted("qwen3", "te"))
    expected = one_process(tmp_path / "one", *pair)
    assert expected[0] == 1 and expected[2]["forward"]["first_diverging"]["state"] == "hidden.1"
    for count in (2, 3, 5):
        check_shared(tmp_path / str(count), count, expected, *pair)


@pytest.mark.parametrize("name", ("qwen3_tied_fp32", "deepseek_v3_mtp2_fp32"))
def test_rounded_weights(name, causeway, sources, tmp_path):
    """The last rank reads the embedding, which the first compares, and must know its rounding too."""
    causeway("convert-hf", sources(name).folder, tmp_path / "root", "--dtype", "bf16")
    pair = (sources(name).folder, tmp_path / "root")
    expected = one_process(tmp_path / "one", *pair)
    assert expected[0] == 0 and expected[2]["forward"]["identical"] and expected[2]["tensors"]["rounded"]
    check_shared(tmp_path / "ranks", 3, expected, *pair)


def test_some_layers_in_bf16(sources, converted, tmp_path):
    arguments = (sources("qwen3").folder, converted("qwen3", "te"), "--layers", "1:3", "--compute", "bf16")
    report = check_shared(tmp_path / "ranks", 2, one_process(tmp_path / "one", *arguments), *arguments)
    assert [process["layers"] for process in report["processes"]] == [[1, 2], [2, 3]]
    assert [state["name"] for state in report["forward"]["states"]] == ["hidden_embed", "hidden.1", "hidden.2"]


def test_layer_by_layer(sources, converted, tmp_path):
    """No rank waits for another, and a difference stays in its layer."""
    hf = changed_copy(sources("qwen3"), tmp_path / "hf", "model.layers.1.self_attn.q_proj.weight", lambda t: t.mul_(2))
    for folder, expect in ((sources("qwen3").folder, 0), (hf, 1)):
        arguments = (folder, converted("qwen3", "te"), "--layers-input", "seeded")
        expected = one_process(tmp_path / f"one-{expect}", *arguments)
        assert expected[0] == expect and ", layer by layer\n" in expected[1] and expected[2]["forward"]["layer_by_layer"]
        assert [state["name"] for state in expected[2]["forward"]["states"] if not state["identical"]] == (["hidden.1"] if expect else [])
        check_shared(tmp_path / f"ranks-{expect}", 3, expected, *arguments)


@pytest.mark.parametrize("mode", ("logits", "both"))
def test_through_causeway(mode, sources, converted, tmp_path):
    program = [os.environ["CAUSEWAY"], "verify", "--mode", mode]
    pair = (sources("qwen3").folder, converted("qwen3", "te"))
    expected = one_process(tmp_path / "one", *pair, program=program)
    report = check_shared(tmp_path / "ranks", 2, expected, *pair, program=program)
    assert len(report["logits"]["processes"]) == 2


def test_by_mpirun(sources, converted, tmp_path):
    program = shutil.which("mpirun")
    assert program, "scripts/install.sh --tests installs openmpi-bin"
    pair = (sources("qwen3").folder, converted("qwen3", "te"))
    expected = one_process(tmp_path / "one", *pair)
    (tmp_path / "ranks").mkdir()
    argv = [program, "--allow-run-as-root", "-n", "3", "--oversubscribe", verify_binary(), *pair, "--threads", "1", "--report", tmp_path / "ranks" / "report.json"]
    ((code, out, err),) = end([start(argv)])
    assert code == 0 and out == expected[1], err
    for index in range(3):
        assert f"rank {index} of 3 (OpenMPI)" in err
    assert os.listdir(tmp_path / "ranks") == ["report.json"]
    assert comparable(json.loads((tmp_path / "ranks" / "report.json").read_text())) == expected[2]


def test_by_torchrun_through_causeway(sources, converted, tmp_path):
    """The environment reaches the child."""
    argv = [sys.executable, "-m", "torch.distributed.run", "--no-python", "--standalone", "--nproc-per-node", "2", os.environ["CAUSEWAY"], "verify", "--mode", "logits",
            sources("qwen3").folder, converted("qwen3", "te"), "--threads", "1", "--report", tmp_path / "report.json"]
    ((code, _, err),) = end([start(argv)])
    assert code == 0 and err.count(" of 2 (torchrun)") == 2, err
    assert len(json.loads((tmp_path / "report.json").read_text())["logits"]["processes"]) == 2


@pytest.mark.parametrize("through", ("causeway", "causeway-verify"))
def test_one_process_by_option(through, sources, converted):
    program = [verify_binary()] if through == "causeway-verify" else [os.environ["CAUSEWAY"], "verify", "--mode", "logits"]
    ((code, out, err),) = end([start([*program, sources("qwen3").folder, converted("qwen3", "te"), "--rank", "0/1"],
                                     OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_RANK="1")])
    assert code == 0 and "equal, bit for bit" in out and "rank" not in err, err


# ---- whoever dies or never comes ----


def wait_until(condition, processes, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes), "it did not happen"
        time.sleep(0.01)


def test_a_rank_is_killed(sources, converted, tmp_path):
    """Rank 0 names it, the others hear of it, and the next launch is not disturbed by what it left."""
    pair = (sources("qwen3").folder, converted("qwen3", "te"))
    report = tmp_path / "report" / "report.json"
    report.parent.mkdir()
    processes = start_ranks(3, report, *pair, "--prompt-length", "8000")
    wait_until(lambda: len(list(report.parent.glob(".report.json.causeway.logits.rank.*"))) == 3, processes)
    wait_until((report.parent / ".report.json.causeway.logits.launch").exists, processes)
    processes[1].kill()
    ended = end(processes)
    assert ended[0][0] == 4 and f"rank 1 of 3 has died (process {processes[1].pid} on " in ended[0][2], ended
    assert ended[2][0] == 4 and "rank 0 of 3: rank 1 of 3 has died" in ended[2][2], ended
    assert os.listdir(report.parent) == []
    for index, suffix in ((1, ""), (0, ".state"), (7, ".state.new")):
        (report.parent / f"report.json.rank-{index}{suffix}").write_text('{"launch": "of an earlier one"}')
    (report.parent / "report.json.rank-notes").write_text("of the user")
    assert [code for code, _, _ in end(start_ranks(2, report, *pair))] == [0, 0]
    assert sorted(os.listdir(report.parent)) == ["report.json", "report.json.rank-notes"]


def test_rank_zero_is_killed(sources, converted, tmp_path):
    pair = (sources("qwen3").folder, converted("qwen3", "te"))
    processes = start_ranks(2, tmp_path / "report.json", *pair, "--prompt-length", "20000")
    wait_until((tmp_path / ".report.json.causeway.logits.launch").exists, processes)
    time.sleep(0.5)  # the other one joins
    processes[0].kill()
    ended = end(processes)
    assert ended[0][0] == -signal.SIGKILL and ended[1][0] == 4 and "rank 1 of 2: rank 0 has died" in ended[1][2], ended
    assert [code for code, _, _ in end(start_ranks(2, tmp_path / "report.json", *pair))] == [0, 0]
    assert os.listdir(tmp_path) == ["report.json"]


def test_ranks_that_never_come_are_named(sources, converted, tmp_path):
    argv = [verify_binary(), sources("qwen3").folder, converted("qwen3", "te"), "--report", tmp_path / "report.json", "--rank-timeout", "1"]
    ((code, _, err),) = end([start([*argv, "--rank", "0/4"])])
    assert code == 4 and "ranks 1, 2, 3 of 4 did not come within 1 s" in err and "--rank-timeout waits longer" in err, err
    ((code, _, err),) = end([start([*argv, "--rank", "1/2"])])
    assert code == 4 and "rank 1 of 2: rank 0 did not begin within 1 s" in err, err
    assert os.listdir(tmp_path) == []


def test_another_plan(sources, converted, tmp_path):
    pair = (sources("qwen3").folder, converted("qwen3", "te"))
    processes = [start([verify_binary(), *pair, "--report", tmp_path / "report.json", "--rank", f"{index}/2", "--prompt-length", str(8 + index)]) for index in range(2)]
    for code, _, err in end(processes):
        assert code == 2 and "rank 1 of 2 makes another plan than rank 0: the prompt: was " in err, err
    assert os.listdir(tmp_path) == []


REFUSED = {
    "no_report": ((), "verify with several processes needs --report FILE"),
    "stream": (("--report", "/dev/stdout"), "verify with several processes needs --report FILE"),
    "train_step": (("--mode", "train-step", "--report", "x"), "--mode train-step with 2 processes"),
    "reference": (("--reference-logits", "x", "--report", "x"), "--reference-logits with 2 processes"),
    "no_rank": (("--rank", "2/2"), "--rank: '2/2' is not a rank"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_several_processes_do_not_do(name, sources, converted, tmp_path):
    options, message = REFUSED[name]
    rank = () if "--rank" in options else ("--rank", "0/2")
    ((code, out, err),) = end([start([verify_binary(), sources("qwen3").folder, converted("qwen3", "te"), *rank, *options])])
    assert code == 2 and message in err and out == "", err


def test_made_inputs_go_with_no_recorded_logits(causeway_verify, sources, converted):
    done = causeway_verify(sources("qwen3").folder, converted("qwen3", "te"), "--layers-input", "seeded", "--reference-logits", "x", expect=2)
    assert "--layers-input seeded with --reference-logits" in done.stderr
