"""The command line itself: help, options and their refusals, what goes to which stream."""
import hashlib
import json
import re

import pytest

from helpers import DATA, HF_FIXTURES, check_message, convert, copy_tree, export, hashes, hf_fixture, nothing_written, run
from safetensors_raw import Model

QWEN = hf_fixture("qwen3_dense")
LLAMA = hf_fixture("llama_tied")
COMMANDS = (["convert-hf"], ["export-to-hf"], ["verify"], ["inspect"], ["mappings"], ["mappings", "list"], ["mappings", "show"], ["mappings", "check"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(command):
    done = run(*command, "--help", expect=0)
    assert "Examples:\n  causeway " in done.out and not done.err
    assert "->" not in done.out.split("\n", 1)[1], "internals of the parser"


def test_help_of_all():
    done = run("--help", expect=0)
    assert "Exit status" in done.out and all(command[0] in done.out for command in COMMANDS)
    assert run("-h", expect=0).out == done.out


def test_version():
    version = run("--version", expect=0).out
    assert re.fullmatch(r"causeway \d+\.\d+\.\d+ \(commit ([0-9a-f]{7,}(-dirty)?|unknown), (g|clang)\+\+ \d+[^\n]*\)\n"
                        r"formats: safetensors, torch_dist \(DCP metadata 1\.0\.0\), sidecar 1\n", version), version


USAGE = {
    "nothing": ([], ["--help"]),
    "unknown command": (["frobnicate"], ["frobnicate", "causeway --help"]),
    "command with control characters": (["\x1b[2J"], ["\\x1b[2J"]),
    "unknown option": (["convert-hf", "--frob", "a", "b"], ["--frob", "causeway convert-hf --help"]),
    "unknown option with control characters": (["convert-hf", "--\x1b[2J", "a", "b"], ["\\x1b[2J"]),
    "too few": (["convert-hf", "a"], ["MEGATRON_DIR"]),
    "too many": (["convert-hf", "a", "b", "c"], ["c"]),
    "option of another command": (["convert-hf", "a", "b", "--reference", "c"], ["--reference"]),
    "option without value": (["convert-hf", "a", "b", "--memory"], ["--memory"]),
    "memory of nothing": (["convert-hf", "a", "b", "--memory", "0"], ["256MiB"]),
    "memory without meaning": (["convert-hf", "a", "b", "--memory", "much"], ["much", "256MiB"]),
    "memory beyond numbers": (["convert-hf", "a", "b", "--memory", "99999999TiB"], ["99999999TiB"]),
    "negative memory": (["convert-hf", "a", "b", "--memory", "-1"], ["-1"]),
    "no threads": (["convert-hf", "a", "b", "--threads", "0"], ["--threads", "1024"]),
    "threads in words": (["convert-hf", "a", "b", "--threads", "four"], ["--threads"]),
    "dtype": (["convert-hf", "a", "b", "--dtype", "int8"], ["int8", "bf16"]),
    "spec": (["convert-hf", "a", "b", "--spec", "x"], ["local"]),
    "mode": (["verify", "a", "b", "--mode", "x"], ["logits"]),
    "one checkpoint to compare": (["verify", "a"], ["CONVERTED", "train-step"]),
    "gradients without a step": (["verify", "a", "b", "--dump", "c"], ["--dump", "train-step"]),
    "ranks without a step": (["verify", "a", "b", "--context-parallel", "2", "--mode", "logits"], ["--context-parallel", "train-step"]),
    "routers' losses without a step": (["verify", "a", "b", "--aux-loss"], ["--aux-loss", "train-step"]),
    "recomputation without a step": (["verify", "a", "b", "--recompute", "full"], ["--recompute", "train-step"]),
    "emulation without a step": (["verify", "a", "b", "--fp8", "delayed"], ["--fp8", "train-step"]),
    "no such recipe": (["verify", "a", "--mode", "train-step", "--fp8", "mxfp8"], ["--fp8", "delayed"]),
    "blocks of layers without a step": (["verify", "a", "b", "--mhc-recompute-layers", "2"], ["--mhc-recompute-layers", "train-step"]),
    "blocks of no layers": (["verify", "a", "--mode", "train-step", "--mhc-recompute-layers", "0"], ["--mhc-recompute-layers", "4096"]),
    "no depths without a step": (["verify", "a", "b", "--mtp", "drop"], ["--mtp", "train-step"]),
    "no ranks": (["verify", "a", "--mode", "train-step", "--context-parallel", "0"], ["--context-parallel", "1024"]),
    "progress": (["convert-hf", "a", "b", "--progress", "1"], ["always"]),
    "no rows": (["convert-hf", "a", "b", "--vocab-rows", "0"], ["--vocab-rows"]),
    "negative layer": (["mappings", "show", "x", "--layer", "-1"], ["--layer"]),
    "mappings alone": (["mappings"], ["mappings --help"]),
    "mappings of nothing": (["mappings", "frob"], ["mappings --help"]),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage(case, tmp_path):
    arguments, words = USAGE[case]
    with nothing_written(tmp_path):
        done = run(*arguments, cwd=tmp_path)
    check_message(done, 2, *words)
    assert not done.out and len(done.err) < 400, done


def test_paths_that_are_not_there(tmp_path):
    for command in (["convert-hf", "nowhere", "out"], ["export-to-hf", "nowhere", "out"], ["inspect", "nowhere"], ["verify", "nowhere", QWEN, "--mode", "hash"]):
        with nothing_written(tmp_path):
            check_message(run(*command, cwd=tmp_path), (3, 4), "nowhere")


def test_dry_run(tmp_path, converted):
    with nothing_written(tmp_path):
        done = convert(QWEN, tmp_path / "out", "--dry-run")
        assert "11 tensors" in done.out
        done = export(converted("qwen3_dense"), tmp_path / "out", "--dry-run")
        assert "25 tensors" in done.out


def test_verify_dry_run(converted):
    """Names, shapes and dtypes are matched, bytes are not."""
    done = run("verify", QWEN, converted("qwen3_dense"), "--mode", "hash", "--dry-run", expect=0)
    assert "25 tensors" in done.out and "dry run" in done.out and "identical" not in done.out
    other = run("verify", hf_fixture("llama_tied"), converted("qwen3_dense"), "--mode", "hash", "--dry-run", expect=1)
    assert "DIFFERENT" in other.out


def test_quiet(tmp_path, converted):
    for done in (convert(QWEN, tmp_path / "a", "--quiet"), export(tmp_path / "a", tmp_path / "b", "-q"), run("verify", QWEN, tmp_path / "a", "--mode", "hash", "-q", expect=0)):
        assert not done.out and not done.err, done


def test_report(tmp_path):
    path = tmp_path / "report.json"

    def report(*command, expect=0):
        run(*command, "--report", path, expect=expect)
        found = json.loads(path.read_text())
        assert found["command"] == command[0] and found["warnings"] == [] and 0 <= found["seconds"] < 60
        assert 1 << 20 < found["peak_rss_bytes"] < 100 << 20
        return found

    found = report("convert-hf", QWEN, tmp_path / "megatron")
    assert (found["source_tensors"], found["source_bytes"], found["target_tensors"], found["dry_run"]) == (25, 279296, 11, False)
    assert found["table"] == "qwen3.jsonc" and found["choices"]["layer_keys"] == "stacked"
    found = report("convert-hf", QWEN, tmp_path / "other", "--dry-run")
    assert found["dry_run"] is True and not (tmp_path / "other").exists()
    found = report("export-to-hf", tmp_path / "megatron", tmp_path / "back")
    assert (found["target_tensors"], found["target_shards"], found["verbatim_headers"], found["target_bytes"]) == (25, 1, 1, 279296)
    found = report("verify", QWEN, tmp_path / "megatron", "--mode", "hash")
    assert found["identical"] is True and found["forward"]["different"] == found["inverse"]["different"] == 0
    assert not list(tmp_path.glob("*.partial"))


def test_report_that_cannot_be_written(tmp_path):
    """Said before anything is written; inside the output it is written at the end."""
    megatron = tmp_path / "megatron"
    convert(QWEN, megatron)
    for command, source in (("convert-hf", QWEN), ("export-to-hf", megatron)):
        for options in ((), ("--dry-run",)):
            done = run(command, source, tmp_path / "out", "--report", tmp_path / "no folder" / "report.json", *options)
            check_message(done, 4, "no folder")
            assert not (tmp_path / "out").exists()
    convert(QWEN, tmp_path / "out", "--report", tmp_path / "out" / "report.json")
    assert json.loads((tmp_path / "out" / "report.json").read_text())["command"] == "convert-hf"


def test_progress(tmp_path):
    line = r"\w+: [\d.]+ / [\d.]+ GB +\d+% +[\d.]+ GB/s .*\d+ MiB resident"
    done = convert(QWEN, tmp_path / "a", "--progress", "always")
    assert re.search(line, done.err) and "100%" in done.err and "\r" not in done.err and "resident" not in done.out, done
    assert not convert(QWEN, tmp_path / "b", "--progress", "never").err
    assert not convert(QWEN, tmp_path / "c").err  # automatic, no terminal, a short run


def test_existing_output(tmp_path, converted):
    (tmp_path / "out").mkdir()
    convert(QWEN, tmp_path / "out")  # an empty folder is free
    before = hashes(tmp_path)
    check_message(run("convert-hf", LLAMA, tmp_path / "out", cwd=tmp_path), 2, "already exists", "--overwrite")
    assert hashes(tmp_path) == before
    convert(LLAMA, tmp_path / "out", "--overwrite")
    assert hashes(tmp_path / "out") == hashes(converted("llama_tied"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    export(tmp_path / "out", tmp_path / "hf")
    check_message(run("export-to-hf", tmp_path / "out", tmp_path / "hf"), 2, "already exists")
    export(tmp_path / "out", tmp_path / "hf", "--overwrite")
    assert hashes(tmp_path / "hf") == hashes(LLAMA)


def test_overwrite_replaces_checkpoints_only(tmp_path, converted):
    """A mistyped path must not cost its content."""
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.tex").write_text("mine")
    with nothing_written(tmp_path):
        check_message(run("convert-hf", QWEN, tmp_path / "papers", "--overwrite"), 2, "papers", "thesis.tex")
        check_message(run("export-to-hf", converted("qwen3_dense"), tmp_path / "papers", "--overwrite"), 2, "papers", "thesis.tex")
        check_message(run("convert-hf", QWEN, tmp_path / "out", "--sidecar", tmp_path / "papers", "--overwrite"), 2, "papers", "thesis.tex")


def test_failed_overwrite_keeps_the_old(tmp_path, converted):
    convert(QWEN, tmp_path / "out")
    broken = copy_tree(LLAMA, tmp_path / "hf")
    model = Model(broken)
    del model.shards["model.safetensors"]["model.norm.weight"]
    model.save()
    with nothing_written(tmp_path):
        check_message(run("convert-hf", broken, tmp_path / "out", "--overwrite"), 3, "model.norm.weight")
    assert hashes(tmp_path / "out") == hashes(converted("qwen3_dense"))


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "out").write_text("mine")
    check_message(run("convert-hf", QWEN, tmp_path / "out"), 2, "already exists")
    check_message(run("convert-hf", QWEN, tmp_path / "out" / "deeper"), 2, "not a folder")
    assert (tmp_path / "out").read_text() == "mine"


def test_output_and_input_inside_each_other(tmp_path):
    source = copy_tree(QWEN, tmp_path / "a" / "hf")
    (tmp_path / "link").symlink_to("a/hf")
    for target in (source, source / "out", tmp_path / "link" / "out", tmp_path / "a", source / "x" / "y"):
        with nothing_written(tmp_path):
            check_message(run("convert-hf", source, target, "--overwrite"), 2, "input")


def test_locked_by_another_run(tmp_path):
    import fcntl

    with open(tmp_path / ".out.causeway.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        check_message(run("convert-hf", QWEN, tmp_path / "out"), 4, "another run")
    convert(QWEN, tmp_path / "out")


@pytest.mark.parametrize("option", (["--memory", "1B"], ["--memory", "50KiB"]), ids=" ".join)
@pytest.mark.parametrize("command", ("convert-hf", "export-to-hf"))
def test_too_little_memory(command, option, tmp_path, converted):
    """Refused with a size, and that size is enough: at most a few rounds, since each stage knows its own need only."""
    source = QWEN if command == "convert-hf" else converted("qwen3_dense")
    for rounds in range(6):
        done = run(command, source, tmp_path / "out", *option)
        if done.code == 0:
            break
        check_message(done, 2, f"--memory {option[1]}")
        assert not list(tmp_path.iterdir())
        option = ["--memory", re.search(r"use --memory (\w+) or more", done.err)[1]]
    assert rounds > 0 and done.code == 0, done
    assert hashes(tmp_path / "out") == (hashes(converted("qwen3_dense")) if command == "convert-hf" else hashes(QWEN))


def sums(folder, **changed):
    return "".join(f"{changed.get(path.name, hashlib.sha256(path.read_bytes()).hexdigest())}  {path.name}\n" for path in sorted(folder.glob("*.safetensors")))


def test_expected_hashes(tmp_path):
    source = Model(copy_tree(QWEN, tmp_path / "hf")).split(3).save().folder
    listed = tmp_path / "SHA256SUMS"
    listed.write_text(sums(source))
    convert(source, tmp_path / "out", "--expect", listed)
    listed.write_text(sums(source).upper().replace("MODEL", "model").replace("OF", "of").replace("SAFETENSORS", "safetensors").replace("  ", " *").replace("\n", "\r\n"))
    convert(source, tmp_path / "out2", "--expect", listed)
    shard = "model-00002-of-00003.safetensors"
    wrong = {
        sums(source, **{shard: "0" * 64}): [shard, "SHA-256", "0" * 64],
        "hello\n": ["SHA256SUMS", "line 1"],
        sums(source) + "x" * 64 + "  " + shard: ["SHA256SUMS", "line 4"],
        sums(source).replace("00003-of", "00009-of"): ["SHA256SUMS", "line 3", "model-00009-of-00003.safetensors"],
    }
    for text, words in wrong.items():
        listed.write_text(text)
        with nothing_written(tmp_path):
            check_message(run("convert-hf", source, tmp_path / "out3", "--expect", listed), 3, *words)
    check_message(run("convert-hf", source, tmp_path / "out3", "--expect", tmp_path / "none"), (3, 4), "none")


def test_an_export_larger_than_its_vocabulary(tmp_path):
    check_message(run("convert-hf", QWEN, tmp_path / "out", "--vocab-rows", "100"), 2, "512")
    check_message(run("convert-hf", QWEN, tmp_path / "out", "--glu-interleave", "8"), (2, 5), "glu-interleave")


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_reference_instead_of_the_sidecar(fixture, tmp_path):
    """What Megatron-Bridge wrote, with the source's folder as the pattern: the source's weights, bit by bit."""
    export(DATA / "bridge_written" / fixture / "megatron", tmp_path / "out", "--reference", hf_fixture(fixture))
    assert hashes(tmp_path / "out") == hashes(hf_fixture(fixture))
