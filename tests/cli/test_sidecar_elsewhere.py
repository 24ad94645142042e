"""--sidecar DIR: the sidecar outside the checkpoint's root, written by convert-hf and read by export-to-hf and verify."""
import json

import pytest
from helpers import HF_FIXTURES, check_message, convert, copy_tree, export, flip_bit, hashes, hf_fixture, run


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_there_and_back(fixture, tmp_path):
    source = hf_fixture(fixture)
    convert(source, tmp_path / "root", "--sidecar", tmp_path / "side" / "car")
    assert not (tmp_path / "root" / "causeway").exists()
    # Without it, the checkpoint speaks for itself, and the loss is said.
    alone = run("export-to-hf", tmp_path / "root", tmp_path / "alone", *(["--arch", "llama"] if fixture == "llama_tied" else []), expect=0)
    assert "--sidecar" in alone.err and "derived as" in alone.out
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


# ---- the id that a sidecar and its iteration share ----


def test_halves_of_two_conversions(tmp_path):
    """What a run that is killed between its two commits leaves: the new sidecar, the old checkpoint."""
    source = hf_fixture("qwen3_dense")
    convert(source, tmp_path / "old", "--sidecar", tmp_path / "old_side")
    convert(source, tmp_path / "new", "--sidecar", tmp_path / "new_side", "--vocab-rows", "1024")
    for root, side in (("old", "new_side"), ("new", "old_side")):
        for command in (["export-to-hf", tmp_path / root, tmp_path / "back"], ["verify", source, tmp_path / root, "--mode", "hash"]):
            check_message(run(*command, "--sidecar", tmp_path / side), 3, side, f"{root}/", "another conversion")
    assert not (tmp_path / "back").exists()
    export(tmp_path / "old", tmp_path / "back", "--sidecar", tmp_path / "old_side")
    assert hashes(tmp_path / "back") == hashes(source)


def manifest(root):
    return json.loads((root / "causeway" / "manifest.json").read_text())


def test_the_id_is_of_content_alone(tmp_path, converted):
    source = copy_tree(hf_fixture("qwen3_dense"), tmp_path / "copy")
    convert(source, tmp_path / "a", "--threads", "1", "--memory", "32MiB")
    assert manifest(tmp_path / "a")["id"] == manifest(converted("qwen3_dense"))["id"]
    convert(source, tmp_path / "b", "--spec", "local")
    flip_bit(next(source.glob("*.safetensors")), -1)
    convert(source, tmp_path / "c")
    assert len({manifest(tmp_path / name)["id"] for name in "abc"}) == 3


def test_versions_without_ids_are_read(tmp_path, converted):
    root = copy_tree(converted("qwen3_dense"), tmp_path / "root")
    (root / "iter_0000000" / "common.pt").unlink()  # as training or an older version wrote it: no id
    path = root / "causeway" / "manifest.json"
    export(root, tmp_path / "trained")
    path.write_text(json.dumps({key: value for key, value in manifest(root).items() if key not in ("id", "checkpoint_files", "manifest_crc32")}))
    export(root, tmp_path / "older")
    assert hashes(tmp_path / "trained") == hashes(tmp_path / "older") == hashes(hf_fixture("qwen3_dense"))


@pytest.mark.parametrize("name", ("run_config.yaml", "metadata.json"))
def test_small_files_that_changed_are_named(name, tmp_path, converted):
    root = copy_tree(converted("qwen3_dense"), tmp_path / "root")
    with open(root / "iter_0000000" / name, "a") as file:
        file.write("\n")
    for done in (export(root, tmp_path / "back"), run("verify", hf_fixture("qwen3_dense"), root, "--mode", "hash", expect=0)):
        assert name in done.err and "changed or damaged" in done.err


# ---- symlinks ----


@pytest.mark.parametrize("name", ("manifest.json", "source_crc32.tsv", "files/tokenizer.json", "files", "headers", "headers/model-00001-of-00001.safetensors"))
def test_symlinks_in_a_sidecar_are_refused(name, tmp_path, converted):
    root = copy_tree(converted("qwen3_dense"), tmp_path / "root")
    path = root / "causeway" / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    check_message(run("export-to-hf", root, tmp_path / "back"), 3, name.split("/")[0], "symlink")
