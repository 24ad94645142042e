"""Rows of the embedding that config.json does not count: tokens of the checkpoint, padding of Megatron, or neither."""
import json

import pytest
from common_state import speak_as_megatron
from helpers import check_message, convert, export, hashes, hf_fixture, run

SOURCE = hf_fixture("qwen3_dense")
ROWS = json.loads((SOURCE / "config.json").read_text())["vocab_size"]


@pytest.fixture
def root(tmp_path):
    """root(stored, **arguments): a checkpoint with so many rows, as Megatron-LM saves one, and no sidecar."""

    def make(stored, **arguments):
        convert(SOURCE, tmp_path / "root", "--vocab-rows", str(stored))
        speak_as_megatron(tmp_path / "root", **arguments)
        (tmp_path / "root" / "causeway").rename(tmp_path / "sidecar")
        return tmp_path / "root"

    return make


def test_padding_is_cut_and_counted(root, tmp_path):
    padded = ROWS + 40
    folder = root(padded, make_vocab_size_divisible_by=padded // 4, tensor_model_parallel_size=4)
    assert padded % 4 == 0
    done = export(folder, tmp_path / "back", "--reference", SOURCE, "--report", tmp_path / "report.json")
    assert f"padding  40 rows of the vocabulary left out, {ROWS} kept" in done.out
    assert json.loads((tmp_path / "report.json").read_text())["padding_rows"] == 40
    assert hashes(tmp_path / "back") == hashes(SOURCE)


def test_rows_that_nothing_explains_are_refused(root, tmp_path):
    folder = root(ROWS + 41, make_vocab_size_divisible_by=(ROWS + 40) // 4, tensor_model_parallel_size=4)
    done = run("export-to-hf", folder, tmp_path / "out", "--reference", SOURCE, expect=3)
    check_message(done, 3, str(ROWS + 41), str(ROWS), f"--vocab-rows {ROWS + 41}", f"--vocab-rows {ROWS} cuts")
    export(folder, tmp_path / "back", "--reference", SOURCE, "--vocab-rows", str(ROWS))
    assert hashes(tmp_path / "back") == hashes(SOURCE)
    # The conversion's own --vocab-rows is in the sidecar.
    export(folder, tmp_path / "again", "--sidecar", tmp_path / "sidecar")
    assert hashes(tmp_path / "again") == hashes(SOURCE)


def test_a_vocabulary_that_grew_is_refused(root, tmp_path):
    folder = root(ROWS + 8, vocab_size=ROWS + 8)
    done = run("export-to-hf", folder, tmp_path / "out", "--reference", SOURCE, expect=3)
    check_message(done, 3, f"vocab_size: checkpoint {ROWS + 8}, config.json {ROWS}", f"--vocab-rows {ROWS + 8}")
    assert f"vocab_size: checkpoint {ROWS + 8}, config.json {ROWS}" in run("verify", SOURCE, folder, "--mode", "hash", expect=1).out
    export(folder, tmp_path / "back", "--reference", SOURCE, "--vocab-rows", str(ROWS + 8))
    assert json.loads((tmp_path / "back" / "config.json").read_text())["vocab_size"] == ROWS + 8


def test_a_smaller_one_is_no_difference(root, tmp_path):
    """A tokenizer may have fewer tokens than the embedding has rows."""
    export(root(ROWS, vocab_size=ROWS - 5, make_vocab_size_divisible_by=1), tmp_path / "back", "--reference", SOURCE)
    assert hashes(tmp_path / "back") == hashes(SOURCE)
