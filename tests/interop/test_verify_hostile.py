"""`causeway verify` with what should not be there: other programs, other files, numbers that are none. Each is one line, what to do in
a second one, and the right status."""
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import socket
import subprocess
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from interop.test_verify_options import changed_copy

CAUSEWAY = pathlib.Path(os.environ.get("CAUSEWAY", "causeway"))


def ended(*command, **how):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, **how)


def one_line(done, status, *words):
    """The line of an error, and the one that says what to do."""
    lines = done.stderr.splitlines()
    assert done.returncode == status and 1 <= len(lines) <= 2 and lines[0].startswith("causeway"), (done.returncode, done.stderr)
    assert len(lines) == 1 or lines[1].startswith("  "), done.stderr
    for word in words:
        assert word in done.stderr, (word, done.stderr)


# ---- --run-config ----


@pytest.fixture
def bare(converted, tmp_path):
    """(checkpoint whose run_config.yaml lies elsewhere, that file)"""
    shutil.copytree(converted("qwen3", "te"), tmp_path / "root", symlinks=True)
    config = tmp_path / "config.yaml"
    (tmp_path / "root" / "iter_0000000" / "run_config.yaml").rename(config)
    return tmp_path / "root", config


def test_run_config_is_what_counts(causeway, sources, bare):
    root, path = bare
    pair = "--mode", "logits", sources("qwen3").folder, root, "--run-config", path
    assert "configuration  equal\n" in causeway("verify", *pair).stdout
    config = yaml.safe_load(path.read_text())
    config["model"]["rotary_base"] = 1e5  # the arguments in the common state say otherwise
    path.write_text(yaml.safe_dump(config))
    assert "  layers.0.attention.rotary.base: 1000000 and 100000\n" in causeway("verify", *pair, expect=1).stdout


# name: (what the file holds, status, words)
RUN_CONFIGS = {
    "of_another_model": (lambda config: yaml.safe_dump(config | {"model": config["model"] | {"num_layers": 2}}), 3, ["axis 0 should be 2 layers"]),
    "no_yaml": (lambda config: "model: [", 3, ["config.yaml: run_config.yaml: "]),
    "another_yaml": (lambda config: "- 1\n", 3, ["no model section"]),
    "nested": (lambda config: "model: " + "[" * 100000, 3, ["config.yaml: run_config.yaml: "]),
    "endless": (lambda config: "model: {x: [" + "0, " * 300000 + "0]}", 3, ["too many values"]),
    "too_large": (lambda config: "#" * (1 << 20) + yaml.safe_dump(config), 3, ["config.yaml"]),
}


@pytest.mark.parametrize("name", RUN_CONFIGS)
def test_run_configs_that_are_none(name, causeway_verify, sources, bare):
    text, status, words = RUN_CONFIGS[name]
    root, path = bare
    path.write_text(text(yaml.safe_load(path.read_text())))
    one_line(causeway_verify(sources("qwen3").folder, root, "--run-config", path, expect=status), status, *words)


def test_run_config_where_there_is_no_use_for_it(causeway_verify, sources, converted, bare):
    hf, root = sources("qwen3").folder, converted("qwen3", "te")
    one_line(causeway_verify(hf, root, "--run-config", bare[1], expect=2), 2, "has a run_config.yaml of its own")
    one_line(causeway_verify(hf, hf, "--run-config", bare[1], expect=2), 2, "--run-config: there is no Megatron checkpoint")
    one_line(causeway_verify(hf, hf, "--iteration", "5", expect=2), 2, "--iteration: there is no Megatron checkpoint")
    one_line(causeway_verify(hf, bare[0], "--run-config", "nowhere", expect=4), 4, "nowhere")


# ---- options ----


@pytest.mark.parametrize("option", ["--dump", "--recompute", "--context-parallel", "--fp8", "--device-memory"])
def test_options_of_other_versions(option, sources, converted):
    one_line(ended(CAUSEWAY, "verify", sources("qwen3").folder, converted("qwen3", "te"), option, "x"), 2, option, "see causeway verify --help")


@pytest.mark.parametrize("given", [["--tokens", "1,2", "--seed", "3"], ["--tokens", "1", "--prompt-length", "3"], ["--reference-logits", "x", "--seed", "3"]])
def test_two_prompts(given, sources, converted):
    one_line(ended(CAUSEWAY, "verify", "--mode", "logits", sources("qwen3").folder, converted("qwen3", "te"), *given), 2, given[0], given[2])


@pytest.mark.parametrize("option", ["--tokens", "--layers", "--reference-logits", "--run-config", "--device"])
def test_nothing_given(option, sources, converted):
    one_line(ended(CAUSEWAY, "verify", sources("qwen3").folder, converted("qwen3", "te"), option, ""), 2, option)


# ---- the second program ----


@pytest.fixture
def beside(tmp_path, sources, converted):
    """beside(script, ...): `causeway verify` with that script in causeway-verify's place."""
    shutil.copy(CAUSEWAY, tmp_path / "causeway")

    def run(script, *arguments, mode=0o755, **how):
        (tmp_path / "causeway-verify").write_text("#!/bin/sh\n" + script)
        (tmp_path / "causeway-verify").chmod(mode)
        return ended(tmp_path / "causeway", "verify", sources("qwen3").folder, converted("qwen3", "te"), *arguments, **how)

    return run


def test_a_second_program_that_ends_badly(beside, tmp_path):
    report = tmp_path / "report.json"
    for script, status, word in ("kill -SEGV $$", 70, "signal 11"), ("kill -KILL $$", 4, "signal 9"), ("exit 70", 70, ""), ("exit 5", 5, ""):
        done = beside(script, "--mode", "both", "--report", report)
        assert done.returncode == status and word in done.stderr and "result   identical" in done.stdout, (script, done)
        assert not list(tmp_path.glob("report.json.*")), script
    one_line(beside("", mode=0o644), 4, "causeway-verify", "Permission denied")
    assert beside("kill -PIPE $$").returncode == -signal.SIGPIPE
    assert beside("kill -INT $$").returncode == 130


def test_a_second_program_of_another_version(causeway_verify, sources):
    folder = sources("qwen3").folder
    one_line(causeway_verify(folder, folder, "--called-by-version", "0.0.9", expect=2), 2, "causeway is 0.0.9", "build both")
    one_line(causeway_verify(folder, folder, "--no-such-option", expect=2), 2, "see causeway-verify --help")


# ---- where results go ----


def test_reports_that_cannot_be_written(sources, converted, tmp_path):
    """Said before the work, and nothing but a file is ever replaced."""
    name = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(name))
    for program in CAUSEWAY, CAUSEWAY.with_name("causeway-verify"):
        pair = [program, *(["verify"] if program == CAUSEWAY else []), sources("qwen3").folder, converted("qwen3", "te"), "--report"]
        for path, status in (tmp_path, 2), (name, 2), (tmp_path / "nowhere" / "report", 4), ("/proc/report", 4):
            done = ended(*pair, path)
            one_line(done, status, str(path))
            assert done.stdout == ""
    assert name.is_socket() and [path.name for path in tmp_path.iterdir()] == ["socket"]


def test_a_report_beyond_the_limit_of_files(sources, converted, tmp_path):
    command = f"ulimit -f 1; exec '{CAUSEWAY.with_name('causeway-verify')}' '{sources('qwen3').folder}' '{converted('qwen3', 'te')}' --report '{tmp_path}/report'"
    one_line(ended("bash", "-c", command), 4, "report.partial", "File too large")


def test_nobody_reads(sources, converted):
    for program in [CAUSEWAY, "verify"], [CAUSEWAY.with_name("causeway-verify")]:
        command = [*program, sources("qwen3").folder, converted("qwen3", "te")]
        with open("/dev/full", "w") as full:
            done = subprocess.run([*map(str, command)], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
        one_line(done, 4, "No space left on device")
        with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            assert process.wait(timeout=120) == -signal.SIGPIPE and process.stderr.read() == b""


def test_an_interrupt_leaves_the_terminals_line_empty(sources, converted):
    ours, theirs = pty.openpty()
    command = [CAUSEWAY.with_name("causeway-verify"), sources("qwen3").folder, converted("qwen3", "te"), "--prompt-length", "6000", "--progress", "always"]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=theirs, env=os.environ | {"TERM": "xterm"}) as process:
        os.close(theirs)
        shown, deadline = b"", time.monotonic() + 60
        while b"forward: " not in shown:
            assert time.monotonic() < deadline and process.poll() is None, shown
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == -signal.SIGINT
    while select.select([ours], [], [], 0.1)[0]:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # that is how a terminal ends
            break
    assert shown.endswith(b"\r\x1b[K"), shown[-200:]


# ---- numbers that are none ----


def strict(path):
    def no_number(text):
        raise ValueError(text)

    return json.loads(path.read_text(), parse_constant=no_number)


def test_a_nan_on_both_sides_is_itself(causeway, sources, tmp_path):
    """Infinities too: equal is equal bit for bit."""
    hf = changed_copy(sources("qwen3"), tmp_path / "hf", "model.layers.1.mlp.down_proj.weight", lambda t: t[3, :2].copy_(torch.tensor([float("nan"), float("inf")])))
    causeway("convert-hf", hf, tmp_path / "root")
    causeway("verify", hf, tmp_path / "root", "--report", tmp_path / "report")
    found = strict(tmp_path / "report")["logits"]
    assert found["equal"] and found["forward"]["identical"] and found["forward"]["heads"][0]["kl"] == 0


def test_a_nan_on_one_side_is_a_difference(causeway, sources, converted, tmp_path):
    hf = changed_copy(sources("qwen3"), tmp_path / "hf", "model.layers.1.mlp.down_proj.weight", lambda t: t[3, 2].fill_(float("nan")))
    done = causeway("verify", "--mode", "logits", hf, converted("qwen3", "te"), "--report", tmp_path / "report", expect=1)
    assert "layers.1.down: 1 of " in done.stdout and "NaN or infinity among them" in done.stdout and "first in hidden.1: by nan, 0.0001" in done.stdout
    found = strict(tmp_path / "report")["logits"]
    assert found["forward"]["states"][2]["max"] is None and found["forward"]["heads"][0]["kl"] is None and not found["equal"]
    assert max(map(len, done.stdout.splitlines())) <= 110


# ---- what a side holds twice ----


@pytest.mark.parametrize("copied, of", [("embed_tokens.weight", "embedding"), ("shared_head.head.weight", "output")])
def test_what_mtp_layers_repeat(copied, of, causeway_verify, sources, tmp_path):
    """DeepSeek-V3's release has the embedding and the output layer again in its MTP layer; the runtimes read the first ones."""
    source = sources("deepseek_v3")
    config = json.loads((source.folder / "config.json").read_text())
    name = f"model.layers.{config['num_hidden_layers']}.{copied}"
    tensors = {key: tensor for path in source.folder.glob("*.safetensors") for key, tensor in load_file(path).items()}
    original = tensors["model.embed_tokens.weight" if of == "embedding" else "lm_head.weight"]
    for row, expect in (None, 0), (7, 1):
        copy = original.clone()
        if row is not None:
            copy[row, 2] += 1
        folder = tmp_path / f"hf-{expect}"
        folder.mkdir()
        shutil.copy(source.folder / "config.json", folder)
        save_file(tensors | {name: copy}, folder / "model.safetensors", metadata={"format": "pt"})
        done = causeway_verify(source.folder, folder, expect=expect)
        assert (f"{name}: no copy of {of}: 1 of " in done.stdout) == (expect == 1)
        assert "forward        equal" in done.stdout
