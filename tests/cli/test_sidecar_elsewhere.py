"""--sidecar DIR: the sidecar outside the checkpoint's root, written by convert-hf and read by export-to-hf and verify."""
import pytest
from helpers import HF_FIXTURES, check_message, convert, export, hashes, hf_fixture, run


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_there_and_back(fixture, tmp_path):
    source = hf_fixture(fixture)
    convert(source, tmp_path / "root", "--sidecar", tmp_path / "side" / "car")
    assert not (tmp_path / "root" / "causeway").exists()
    check_message(run("export-to-hf", tmp_path / "root", tmp_path / "back"), 2, "--sidecar")
    export(tmp_path / "root", tmp_path / "back", "--sidecar", tmp_path / "side" / "car")
    assert hashes(tmp_path / "back") == hashes(source)
    report = run("verify", source, tmp_path / "root", "--sidecar", tmp_path / "side" / "car", "--mode", "hash", expect=0)
    assert "inverse" in report.out and "not checked" not in report.out


def test_where_it_may_not_lie(tmp_path):
    source = hf_fixture("qwen3_dense")
    inside = run("convert-hf", source, tmp_path / "root", "--sidecar", tmp_path / "root" / "side")
    check_message(inside, 2, "--sidecar")
    convert(source, tmp_path / "root", "--sidecar", tmp_path / "side")
    check_message(run("convert-hf", source, tmp_path / "other", "--sidecar", tmp_path / "side"), 2, "side", "--overwrite")
    assert not (tmp_path / "other").exists()
