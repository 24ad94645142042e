"""--name-prefix and --parts on the command line, for models of one part: keys begin as asked, and come back whatever they begin with."""
import json

import pytest

from dcp_pickle import Metadata
from helpers import HF_FIXTURES, convert, copy_tree, export, hashes, hf_fixture, refused, run
from torch_dist_raw import Checkpoint

PREFIX = "language_model."


def manifest(root):
    return json.loads((root / "causeway" / "manifest.json").read_text())["choices"]


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_prefix(fixture, tmp_path, converted):
    plain = Checkpoint(converted(fixture)).keys()
    assert not [key for key in plain if key.startswith(PREFIX)] and manifest(converted(fixture))["name_prefix"] == ""
    root = tmp_path / "root"
    convert(hf_fixture(fixture), root, "--name-prefix", PREFIX)
    assert sorted(Checkpoint(root).keys()) == sorted(PREFIX + key for key in plain)
    assert manifest(root)["name_prefix"] == PREFIX
    objects = [key for key in Metadata(root / "iter_0000000" / ".metadata").entries if "_extra_state" in key]
    assert objects and all(key.startswith(PREFIX) for key in objects)
    run("verify", hf_fixture(fixture), root, "--mode", "hash", expect=0)
    for options in ((), ("--name-prefix", PREFIX)):
        export(root, tmp_path / "back", "--overwrite", *options)
        assert hashes(tmp_path / "back") == hashes(hf_fixture(fixture))
    refused("export-to-hf", root, tmp_path, 3, f"all of the text model's keys begin with {PREFIX}", "--name-prefix", options=("--name-prefix", "none"))
    refused("export-to-hf", converted(fixture), tmp_path, 3, f"none of the text model's keys begin with {PREFIX}", options=("--name-prefix", PREFIX))


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_nothing_but_text(fixture, tmp_path, converted):
    """--parts text has nothing to leave out."""
    root = tmp_path / "root"
    convert(hf_fixture(fixture), root, "--parts", "text", "--report", tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["parts_left_out"] == {}
    assert manifest(root)["parts"] == "text"
    assert hashes(root / "iter_0000000") == hashes(converted(fixture) / "iter_0000000")
    for options in ((), ("--parts", "text")):
        export(root, tmp_path / "back", "--overwrite", *options)
        assert hashes(tmp_path / "back") == hashes(hf_fixture(fixture))


@pytest.mark.parametrize("counts", ("none", PREFIX))
def test_two_models_in_one_checkpoint(counts, tmp_path, converted):
    """Keys with and without the prefix: the option says which count, and the others go where they are the same tensors."""
    root = copy_tree(converted("qwen3_dense"), tmp_path / "root")
    metadata = Metadata(root / "iter_0000000" / ".metadata")
    keys = metadata.tensors()
    for key in keys:
        metadata.copy(key, PREFIX + key)
    metadata.save()
    refused("export-to-hf", root, tmp_path, 3, "keys with and without language_model.", "--name-prefix")
    done = export(root, tmp_path / "back", "--name-prefix", counts)
    assert f"{len(keys)} tensors" in done.err and "--name-prefix" in done.err
    assert hashes(tmp_path / "back") == hashes(hf_fixture("qwen3_dense"))
    # One that is there in the other spelling only would be lost.
    metadata.copy("embedding.word_embeddings.weight", ("" if counts == PREFIX else PREFIX) + "decoder.more.weight")
    metadata.save()
    done = run("export-to-hf", root, tmp_path / "again", "--name-prefix", counts, expect=3)
    assert "1 unknown" in done.err and "decoder.more.weight" in done.err and not (tmp_path / "again").exists()


def test_help_says_it():
    for command in ("convert-hf", "export-to-hf"):
        text = " ".join(run(command, "--help", expect=0).out.split())
        assert "--parts" in text and "--name-prefix" in text and "vision tower" in text
