"""--overwrite replaces what causeway wrote for that output and nothing else; what it must not is refused by name, before anything is written."""
import os
import shutil

import pytest

from helpers import check_message, convert, copy_tree, export, hashes, hf_fixture, nothing_written, run

QWEN = hf_fixture("qwen3_dense")
LLAMA = hf_fixture("llama_tied")


def refused(folder, command, source, target, *words, options=("--overwrite",)):
    with nothing_written(folder):
        before = hashes(folder)
        check_message(run(command, source, target, *options), 2, *words)
        assert hashes(folder) == before


@pytest.fixture
def root(tmp_path, converted):
    return copy_tree(converted("qwen3_dense"), tmp_path / "root")


def train(root):
    """An iteration as training adds it: the same files under another number, no id of ours, the tracker moved on."""
    shutil.copytree(root / "iter_0000000", root / "iter_0001000")
    (root / "iter_0001000" / "common.pt").unlink()
    (root / "latest_checkpointed_iteration.txt").write_text("1000")


# ---- Megatron roots ----


def test_our_own_is_replaced(root, tmp_path, converted):
    convert(LLAMA, root, "--overwrite")
    assert hashes(root) == hashes(converted("llama_tied"))
    assert os.listdir(tmp_path) == ["root"]


def test_iterations_of_training_stay(root, tmp_path):
    train(root)
    refused(tmp_path, "convert-hf", LLAMA, root, "iter_0001000", "--overwrite-iteration replaces iter_0000000")


@pytest.mark.parametrize("name", ("notes.txt", "tensorboard/events", "iter_0000000/extra.bin", "causeway/mine", "release.old"))
def test_what_somebody_added_is_named(name, root, tmp_path):
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("mine")
    refused(tmp_path, "convert-hf", LLAMA, root, name.split("/")[-1] if name.startswith(("iter", "causeway")) else name.split("/")[0])


def test_an_iteration_of_training_in_the_place_of_ours(root, tmp_path):
    """The names are the same; the id is not."""
    (root / "iter_0000000" / "common.pt").unlink()
    refused(tmp_path, "convert-hf", LLAMA, root, "iter_0000000")
    shutil.rmtree(root / "causeway")
    refused(tmp_path, "convert-hf", LLAMA, root, "nothing in it says")


def test_folders_that_only_look_like_a_checkpoint(tmp_path):
    project = tmp_path / "project"
    (project / "iter_0000005").mkdir(parents=True)
    (project / "main.c").write_text("code")
    refused(tmp_path, "convert-hf", QWEN, project, "iter_0000005")
    (tmp_path / "thesis.tex").write_text("thesis")
    refused(tmp_path, "convert-hf", QWEN, tmp_path / "thesis.tex", "no folder")
    (tmp_path / "link").symlink_to("nowhere")
    refused(tmp_path, "convert-hf", QWEN, tmp_path / "link", "no folder")
    refused(tmp_path, "convert-hf", LLAMA, copy_tree(QWEN, tmp_path / "hf"), "config.json")


# ---- one iteration beside training's ----


def test_the_iteration_alone(root, tmp_path, converted):
    train(root)
    trained = hashes(root / "iter_0001000")
    convert(LLAMA, root, "--overwrite-iteration")
    assert hashes(root / "iter_0000000") == hashes(converted("llama_tied") / "iter_0000000")
    assert hashes(root / "causeway") == hashes(converted("llama_tied") / "causeway")
    assert hashes(root / "iter_0001000") == trained and (root / "latest_checkpointed_iteration.txt").read_text() == "1000"
    assert sorted(os.listdir(root)) == ["causeway", "iter_0000000", "iter_0001000", "latest_checkpointed_iteration.txt", "release"]
    export(root, tmp_path / "back", "--iteration", "0")
    assert hashes(tmp_path / "back") == hashes(LLAMA)


def test_the_iteration_alone_is_ours_too(root, tmp_path):
    (root / "iter_0000000" / "mine").write_text("x")
    refused(tmp_path, "convert-hf", LLAMA, root, "mine", options=("--overwrite-iteration",))
    (root / "iter_0000000" / "mine").unlink()
    (root / "iter_0000000" / "common.pt").unlink()
    refused(tmp_path, "convert-hf", LLAMA, root, "iter_0000000", options=("--overwrite-iteration",))
    check_message(run("convert-hf", LLAMA, root, "--overwrite-iteration", "--overwrite"), 2, "--overwrite")


# ---- Hugging Face folders ----


def test_a_model_is_replaced(tmp_path, converted):
    copy_tree(QWEN, tmp_path / "hf")
    (tmp_path / "hf" / "model-00001-of-00002.safetensors").write_text("of an earlier export in two files")
    export(converted("qwen3_dense"), tmp_path / "hf", "--overwrite")
    assert hashes(tmp_path / "hf") == hashes(QWEN)


@pytest.mark.parametrize("name", (".git/HEAD", "optimizer.pt", "training_args.bin", "my notes.md", "sub/config.json"))
def test_a_clone_is_not(name, tmp_path, converted):
    clone = copy_tree(QWEN, tmp_path / "hf")
    (clone / name).parent.mkdir(exist_ok=True)
    (clone / name).write_text("mine")
    refused(tmp_path, "export-to-hf", converted("qwen3_dense"), clone, name.split("/")[0])


# ---- sidecars elsewhere ----


def test_a_sidecar_elsewhere(tmp_path):
    convert(QWEN, tmp_path / "root", "--sidecar", tmp_path / "side")
    (tmp_path / "side" / "mine").write_text("x")
    refused(tmp_path, "convert-hf", LLAMA, tmp_path / "root", "mine", options=("--sidecar", tmp_path / "side", "--overwrite"))
    (tmp_path / "side" / "mine").unlink()
    convert(LLAMA, tmp_path / "root", "--sidecar", tmp_path / "side", "--overwrite")
    export(tmp_path / "root", tmp_path / "back", "--sidecar", tmp_path / "side")
    assert hashes(tmp_path / "back") == hashes(LLAMA)


# ---- names that a run uses on the way ----


@pytest.mark.parametrize("name", (".out.partial", ".out.old"))
@pytest.mark.parametrize("there", (False, True))
def test_neighbours_of_these_names(name, there, tmp_path, converted):
    """Only a run of ours that was killed leaves them, and it leaves its lock file too."""
    if there:
        copy_tree(converted("qwen3_dense"), tmp_path / "out")
    copy_tree(converted("qwen3_dense"), tmp_path / name)
    refused(tmp_path, "convert-hf", LLAMA, tmp_path / "out", name)
    (tmp_path / ".out.causeway.lock").touch()
    convert(LLAMA, tmp_path / "out", "--overwrite")
    assert os.listdir(tmp_path) == ["out"]
