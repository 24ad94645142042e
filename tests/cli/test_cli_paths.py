"""Where inputs and outputs may lie: relative paths, blanks, UTF-8, symlinks, the Hugging Face cache, read-only folders, iterations."""
import os
import shutil

import pytest

from helpers import DATA, check_message, convert, copy_tree, export, hashes, hf_fixture, nothing_written, run

QWEN = hf_fixture("qwen3_dense")


@pytest.fixture
def source(tmp_path):
    return copy_tree(QWEN, tmp_path / "hf")


@pytest.mark.parametrize("names", (
    ("hf", "out", "back"),
    ("./hf/", "out/", "back/"),
    ("hf/.", "./new/deep/out/", "also/new/back"),
    ("../{}/hf", "../{}/out", "./back/."),
), ids=str)
def test_relative(names, source, tmp_path, converted):
    hf, out, back = (name.format(tmp_path.name) for name in names)
    convert(hf, out, cwd=tmp_path)
    assert hashes(tmp_path / out) == hashes(converted("qwen3_dense"))
    export(out, back, cwd=tmp_path)
    assert hashes(tmp_path / back) == hashes(QWEN)
    run("verify", hf, out, "--mode", "hash", expect=0, cwd=tmp_path)


@pytest.mark.parametrize("name", ("with blanks  in it", "größe-日本語", "-dash", "new\nline", "quote\"'$(x)", "x" * 200), ids=ascii)
def test_names(name, source, tmp_path):
    source = source.rename(tmp_path / name)
    convert(f"./{name}", f"./out {name}"[:220], cwd=tmp_path)
    export(f"./out {name}"[:220], f"./back {name}"[:220], cwd=tmp_path)
    assert hashes(tmp_path / f"back {name}"[:220]) == hashes(QWEN)
    check_message(run("convert-hf", f"./{name}", f"./out {name}"[:220], cwd=tmp_path), 2, "already exists")


def test_names_that_are_not_utf8(source, tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.rename(source, name)
    convert(os.fsdecode(name), tmp_path / "out")
    check_message(run("inspect", os.fsdecode(name + b"x")), 3, "\\xff\\xfex")


def test_symlinked_folders(source, tmp_path):
    (tmp_path / "link").symlink_to("hf")
    convert(tmp_path / "link", tmp_path / "out")
    (tmp_path / "link2").symlink_to("out")
    export(tmp_path / "link2", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(QWEN)


def test_symlinked_output(source, tmp_path):
    """A link to a folder stays one, and what it leads to is replaced."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    convert(source, tmp_path / "link")
    convert(source, tmp_path / "link", "--overwrite")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "release").exists()


def cache(folder, source=QWEN, revision="0123abc"):
    """models--org--name as huggingface_hub lays it out."""
    model = folder / "models--org--name"
    snapshot = model / "snapshots" / revision
    for path in (model / "blobs", model / "refs", snapshot):
        path.mkdir(parents=True)
    (model / "refs" / "main").write_text(revision)
    for number, path in enumerate(sorted(source.iterdir())):
        shutil.copyfile(path, model / "blobs" / f"{number:040x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:040x}")
    return model, snapshot


def test_cache(tmp_path):
    model, snapshot = cache(tmp_path)
    for number, path in enumerate((snapshot, model)):
        convert(path, tmp_path / f"out{number}")
        export(tmp_path / f"out{number}", tmp_path / f"back{number}")
        assert hashes(tmp_path / f"back{number}") == hashes(QWEN)
    run("verify", snapshot, tmp_path / "out0", "--mode", "hash", expect=0)
    assert "Qwen3ForCausalLM" in run("inspect", model, expect=0).out


def test_cache_that_leads_out(tmp_path):
    model, snapshot = cache(tmp_path)
    (tmp_path / "secret").write_text("{}")
    for target in ("../../../secret", str(tmp_path / "secret"), "../../refs/main", "../../blobs/../../secret"):
        (snapshot / "tokenizer.json").unlink()
        (snapshot / "tokenizer.json").symlink_to(target)
        with nothing_written(tmp_path):
            check_message(run("convert-hf", snapshot, tmp_path / "out"), 3, "tokenizer.json", "symlink")


def test_cache_not_complete(tmp_path):
    model, snapshot = cache(tmp_path)
    os.unlink(model / "blobs" / os.path.basename(os.readlink(snapshot / "config.json")))
    check_message(run("convert-hf", snapshot, tmp_path / "out"), 3, "config.json", "download")
    (model / "refs" / "main").unlink()
    check_message(run("convert-hf", model, tmp_path / "out"), 3, "refs/main", "snapshots/")


def test_output_in_the_cache(tmp_path):
    model, snapshot = cache(tmp_path)
    for target in (snapshot / "out", model / "blobs" / "out"):
        with nothing_written(tmp_path):
            check_message(run("convert-hf", snapshot, target), 2, "input")


def test_read_only_source(source, tmp_path):
    (source / "sub").mkdir()
    (source / "sub" / "file").write_text("x")
    before = hashes(source)
    for path in (*source.rglob("*"), source):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        convert(source, tmp_path / "out")
        export(tmp_path / "out", tmp_path / "back")
    finally:
        for path in (source, *source.rglob("*")):
            path.chmod(0o755)
    assert hashes(source) == before == hashes(tmp_path / "back")
    assert all(os.access(path, os.W_OK) for path in (tmp_path / "back").rglob("*")), "copies are not read-only"


@pytest.fixture
def iterations(tmp_path, converted):
    """iter_0000000 as converted, iter_0000007 and release likewise, each in place."""
    root = copy_tree(converted("qwen3_dense"), tmp_path / "root")
    copy_tree(root / "iter_0000000", root / "iter_0000007")
    return root


def test_iteration(iterations, tmp_path):
    for number, (choice, folder) in enumerate({"0": "iter_0000000", "7": "iter_0000007", "release": "release", "latest": "iter_0000007"}.items()):
        done = export(iterations, tmp_path / f"out{number}", "--iteration", choice)
        assert f"/{folder}:" in done.out, done
        assert hashes(tmp_path / f"out{number}") == hashes(QWEN)
    assert "/release:" in export(iterations, tmp_path / "tracker").out
    (iterations / "latest_checkpointed_iteration.txt").write_text("7\n")
    assert "/iter_0000007:" in export(iterations, tmp_path / "tracker7").out
    check_message(run("export-to-hf", iterations, tmp_path / "x", "--iteration", "3"), 3, "iteration 3", "0, 7, release")
    check_message(run("export-to-hf", iterations, tmp_path / "x", "--iteration", "-3"), 2, "-3")
    check_message(run("export-to-hf", iterations, tmp_path / "x", "--iteration", "../.."), 2, "../..")
    run("verify", QWEN, iterations, "--mode", "hash", "--iteration", "7", expect=0)
    assert "iteration   7" in run("inspect", iterations, "--iteration", "7", expect=0).out


def test_folders_of_a_checkpoint(iterations, tmp_path):
    """The root, an iteration, the folder itself under any name: the sidecar is found beside it."""
    export(iterations / "iter_0000007", tmp_path / "a")
    export(iterations / "release/", tmp_path / "b")
    export(".", tmp_path / "c", cwd=iterations / "iter_0000007")
    (iterations / "iter_0000007").rename(iterations / "any")
    export(iterations / "any", tmp_path / "d")
    for name in "abcd":
        assert hashes(tmp_path / name) == hashes(QWEN)
    check_message(run("export-to-hf", iterations / "iter_0000000", tmp_path / "x", "--iteration", "7"), 2, "iteration folder")


@pytest.mark.parametrize("name", sorted(path.name for path in (DATA / "megatron_written").iterdir() if not path.name.startswith("legacy")))
def test_inspect_megatron(name):
    import json

    path = DATA / "megatron_written" / name
    plain = run("inspect", path, expect=0)
    assert "torch_dist" in plain.out and "decoder.layers" in plain.out
    found = json.loads(run("inspect", path, "--json", expect=0).out)
    assert found["kind"] == "megatron" and found["bytes"] == sum(tensor["bytes"] for tensor in found["tensors"])
    every = run("inspect", path, "--all", expect=0).out
    assert all(tensor["name"] in every for tensor in found["tensors"])


@pytest.mark.parametrize("fixture", ("qwen3_dense", "llama_tied"))
def test_inspect_hugging_face(fixture):
    import json

    from safetensors_raw import Model

    model = Model(hf_fixture(fixture))
    plain = run("inspect", hf_fixture(fixture), expect=0)
    assert "Hugging Face" in plain.out and "model.layers.*.mlp.up_proj.weight" in plain.out
    found = json.loads(run("inspect", hf_fixture(fixture), "--json", expect=0).out)
    assert found["kind"] == "hugging-face"
    assert {t["name"]: (t["dtype"], t["shape"], t["bytes"]) for t in found["tensors"]} == {
        name: (t.dtype, t.shape, len(t.data)) for shard in model.shards.values() for name, t in shard.items()
    }
    every = run("inspect", hf_fixture(fixture), "--all", expect=0).out
    assert all(name in every for name in model.names()) and len(every) > len(plain.out)


def test_inspect_what_we_wrote(converted):
    done = run("inspect", converted("llama_tied"), expect=0)
    for word in ("iteration   release", "sidecar present", "run_config.yaml present", "checkpoint_version 3", "8 BF16"):
        assert word in done.out, done
    check_message(run("inspect", DATA), 3, "data")
