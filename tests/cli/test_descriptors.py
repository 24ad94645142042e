"""Standard descriptors that are closed or full, and reports that go to pipes and devices."""
import json
import os
import subprocess
import threading

import pytest

from helpers import binary, check_message, convert, copy_tree, hashes, hf_fixture, nothing_written, run

QWEN = hf_fixture("qwen3_dense")


def shell(command, **variables):
    """Runs a line of bash with the binary as $C; (exit status, stdout)."""
    done = subprocess.run(["bash", "-c", command], env={**os.environ, "C": binary(), **{k: str(v) for k, v in variables.items()}},
                          stdout=subprocess.PIPE, timeout=60)
    return done.returncode, done.stdout.decode()


@pytest.mark.parametrize("closed", ("0<&-", "2>&-", "0<&- 2>&-", "0<&- 1>&- 2>&-"))
def test_closed_descriptors_do_not_become_output_files(closed, converted, tmp_path):
    """Progress was written into a shard: its file had got number 2."""
    shell(f"$C export-to-hf $ROOT $OUT --progress always {closed}", ROOT=converted("qwen3_dense"), OUT=tmp_path / "out")
    assert hashes(tmp_path / "out") == hashes(QWEN)
    shell(f"$C convert-hf $HF $OUT --progress always {closed}", HF=QWEN, OUT=tmp_path / "root")
    assert hashes(tmp_path / "root") == hashes(converted("qwen3_dense"))


@pytest.mark.parametrize("stderr", ("2>&-", "2>/dev/full"))
def test_a_message_that_cannot_be_written_changes_no_exit_status(stderr, tmp_path):
    assert shell(f"$C inspect /nonexistent {stderr}") == (3, "")
    assert shell(f"$C frobnicate {stderr}") == (2, "")
    assert shell(f"$C convert-hf $HF $OUT -q --report /nonexistent/x.json {stderr}", HF=QWEN, OUT=tmp_path / "out") == (4, "")
    assert shell(f"$C convert-hf $HF $OUT -q --progress always {stderr}", HF=QWEN, OUT=tmp_path / "out") == (0, "")


def test_results_that_cannot_be_written_are_an_error():
    assert shell("$C mappings list >&-")[0] == 4
    assert shell("$C mappings list >/dev/full")[0] == 4


# ---- where a report may go ----


BAD_PLACES = {
    "a folder": (".", 2, ["is no file"]),
    "a folder that is not there": ("nowhere/x.json", 4, ["nowhere"]),
    "a file of the input": ("hf/config.json", 2, ["--report", "input"]),
    "a new file in the input": ("hf/report.json", 2, ["--report", "input"]),
    "deeper, through a link": ("link/report.json", 2, ["--report", "input"]),
    "the output itself": ("out", 2, ["--report", "output"]),
    "the file of --expect": ("sums", 2, ["--report", "sums"]),
    "a block device": ("block", 2, ["is no file"]),
    "beside what somebody else is writing": ("taken.json", 2, ["taken.json.partial"]),
}


@pytest.mark.parametrize("case", BAD_PLACES)
def test_a_bad_place_is_refused_before_anything_is_copied(case, tmp_path):
    report, code, words = BAD_PLACES[case]
    copy_tree(QWEN, tmp_path / "hf")
    (tmp_path / "link").symlink_to("hf")
    (tmp_path / "taken.json.partial").write_text("theirs")
    (tmp_path / "sums").write_text("")
    if report == "block":
        os.mknod(tmp_path / "block", 0o60600, os.makedev(7, 250))
    with nothing_written(tmp_path):
        done = run("convert-hf", "hf", "out", "--expect", "sums", "--report", report, cwd=tmp_path)
        check_message(done, code, *words)
    assert (tmp_path / "hf" / "config.json").read_bytes() == (QWEN / "config.json").read_bytes()


def test_a_report_in_the_output_that_is_replaced(tmp_path, converted):
    copy_tree(converted("qwen3_dense"), tmp_path / "out")
    with nothing_written(tmp_path):
        check_message(run("convert-hf", QWEN, tmp_path / "out", "--overwrite", "--report", tmp_path / "out" / "x.json"), 2, "output")


def test_verify_and_export_protect_their_inputs(tmp_path, converted):
    root = copy_tree(converted("qwen3_dense"), tmp_path / "root")
    table = tmp_path / "table.jsonc"
    table.write_text("{}")
    with nothing_written(tmp_path):
        check_message(run("export-to-hf", root, tmp_path / "out", "--report", root / "causeway" / "manifest.json"), 2, "input")
        check_message(run("verify", QWEN, root, "--mode", "hash", "--report", root / "release" / "x"), 2, "input")
        check_message(run("verify", QWEN, root, "--mode", "hash", "--mapping", table, "--report", table), 2, "input")


# ---- streams ----


def test_report_to_standard_output(tmp_path):
    for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        code, text = shell("$C convert-hf $HF $OUT --report $NAME 2>$ERR", HF=QWEN, OUT=tmp_path / f"out{name.replace('/', '_')}", NAME=name, ERR=tmp_path / "err")
        assert code == 0 and json.loads(text)["command"] == "convert-hf"
        assert "25 tensors" in (tmp_path / "err").read_text(), "the summary goes to standard error then"


def test_report_to_standard_output_that_is_a_file(tmp_path):
    """Written through the descriptor, after what is there: no rename takes the name away, not even /dev/stdout itself."""
    before = os.readlink("/dev/stdout")
    code, _ = shell("{ echo first; $C convert-hf $HF $OUT --report /dev/stdout 2>/dev/null; echo last; } >$TEXT", HF=QWEN, OUT=tmp_path / "out", TEXT=tmp_path / "text")
    lines = (tmp_path / "text").read_text().splitlines()
    assert code == 0 and lines[0] == "first" and lines[-1] == "last" and json.loads("".join(lines[1:-1]))["command"] == "convert-hf"
    assert os.readlink("/dev/stdout") == before


def test_report_to_a_device_a_pipe_and_a_process(tmp_path):
    null = os.stat("/dev/null")
    convert(QWEN, tmp_path / "a", "--report", "/dev/null")
    assert os.stat("/dev/null").st_ino == null.st_ino
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    convert(QWEN, tmp_path / "b", "--report", tmp_path / "pipe")
    reader.join(30)
    assert json.loads(got[0])["command"] == "convert-hf" and (tmp_path / "pipe").is_fifo()
    code, text = shell("$C convert-hf $HF $OUT -q --report >(cat); wait $!", HF=QWEN, OUT=tmp_path / "c")
    assert code == 0 and json.loads(text)["command"] == "convert-hf"


def test_report_to_a_closed_or_read_only_descriptor(tmp_path):
    with nothing_written(tmp_path):
        assert shell("$C convert-hf $HF $OUT --report /dev/fd/9 9>&- 2>/dev/null", HF=QWEN, OUT=tmp_path / "out")[0] == 4
        assert shell("$C convert-hf $HF $OUT --report /dev/fd/9 9</dev/null 2>/dev/null", HF=QWEN, OUT=tmp_path / "out")[0] == 4
