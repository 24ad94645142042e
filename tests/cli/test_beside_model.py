"""Files beside a model: weights outside the weight map, adapters, symlinks, and configurations as Python writes them."""
import json

import pytest

from helpers import convert, copy_tree, export, hashes, hf_fixture, run, snapshot

INDEX = "model.safetensors.index.json"


@pytest.fixture
def model(tmp_path):
    return copy_tree(hf_fixture("qwen3_dense"), tmp_path / "hf")


def test_weights_outside_the_map_are_listed_and_not_carried(model, tmp_path):
    before = hashes(model)
    (model / "consolidated.safetensors").write_bytes(b"\0" * 100)
    (model / "params.json").write_text("{}")
    (model / "original").mkdir()
    (model / "original" / "consolidated.00.pth").write_bytes(b"\0" * 10)
    with open(model / "model-00009-of-00009.safetensors", "wb") as file:
        file.truncate(66 << 20)
    done = convert(model, tmp_path / "out", "--report", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert [entry["name"] for entry in report["not_converted"]] == [
        "consolidated.safetensors", "model-00009-of-00009.safetensors", "original/consolidated.00.pth", "params.json"]
    assert [entry["size"] for entry in report["not_converted"]] == [100, 66 << 20, 10, 2]
    for entry in report["not_converted"]:
        assert f"not converted {entry['name']}: not in the weight map" in done.out
    kept = snapshot(tmp_path / "out" / "causeway" / "files")
    assert not any("consolidated" in name or "00009" in name or "params" in name for name in kept), kept
    size = sum(path.stat().st_size for path in (tmp_path / "out" / "causeway").rglob("*") if path.is_file())
    assert report["sidecar_bytes"] == size and "\nsidecar  " in done.out
    assert export(tmp_path / "out", tmp_path / "back").err == ""
    assert hashes(tmp_path / "back") == before
    run("verify", "--mode", "hash", model, tmp_path / "out", expect=0)
    # As the reference of a checkpoint without a sidecar it gives its side files and no weights either.
    done = export(tmp_path / "out" / "iter_0000000", tmp_path / "again", "--sidecar", tmp_path / "out", "--reference", model)
    assert hashes(tmp_path / "again") == before and "consolidated.safetensors" in done.out


def test_an_adapter_beside_weights_is_a_warning(model, tmp_path):
    before = hashes(model)
    (model / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (model / "adapter_model.safetensors").write_bytes(b"\0" * 100)
    done = convert(model, tmp_path / "out")
    assert "warning: adapter_config.json" in done.err and "merge" in done.err and len(done.err.splitlines()) == 1
    assert "not converted adapter_model.safetensors" in done.out
    export(tmp_path / "out", tmp_path / "back")
    assert hashes(tmp_path / "back") == before


def test_an_old_sidecar_with_weights_exports_none(model, tmp_path):
    before = hashes(model)
    convert(model, tmp_path / "out")
    files = tmp_path / "out" / "causeway" / "files"
    (files / "old.bin").write_bytes(b"")
    manifest = tmp_path / "out" / "causeway" / "manifest.json"
    content = json.loads(manifest.read_text())
    content.pop("manifest_crc32")  # of before there was one
    content["files"].append({"name": "old.bin", "size": 0, "crc32": "00000000"})
    content["large_files"] += [{"name": "old.gguf", "size": 1 << 30}, {"name": "big.json", "size": 1 << 30}]
    manifest.write_text(json.dumps(content))
    done = export(tmp_path / "out", tmp_path / "back")
    assert hashes(tmp_path / "back") == before
    assert "big.json was too large" in done.err and "old.gguf" not in done.err
    run("verify", "--mode", "hash", model, tmp_path / "out", expect=0)


def test_a_single_file_with_others_beside(tmp_path):
    model = copy_tree(hf_fixture("llama_tied"), tmp_path / "hf")
    before = hashes(model)
    header = json.dumps({"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    for name in ("adapter_model.safetensors", "consolidated.safetensors"):
        (model / name).write_bytes(len(header).to_bytes(8, "little") + header + b"\x01")
    convert(model, tmp_path / "out")
    export(tmp_path / "out", tmp_path / "back")
    assert hashes(tmp_path / "back") == before


def test_a_shard_without_tensors_is_a_side_file(tmp_path):
    """Dropped MTP layers leave such shards; there is no weight in them to go stale."""
    model = copy_tree(hf_fixture("deepseek_v3"), tmp_path / "hf")
    (model / "model-00009-of-00009.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    before = hashes(model)
    convert(model, tmp_path / "out")
    export(tmp_path / "out", tmp_path / "back")
    assert hashes(tmp_path / "back") == before


def test_a_folder_of_symlinks(model, tmp_path):
    before = hashes(model)
    links = tmp_path / "links"
    links.mkdir()
    for path in model.iterdir():
        (links / path.name).symlink_to(path)
    done = convert(links, tmp_path / "out", "--report", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert {entry["name"]: entry["target"] for entry in report["links_out"]} == {
        path.name: str(path.resolve()) for path in model.iterdir()}
    assert f"a symlink out of the folder, into {model}" in done.out
    export(tmp_path / "out", tmp_path / "back")
    assert hashes(tmp_path / "back") == before


@pytest.mark.parametrize("text", ['"logit_cap": Infinity', '"router_z_loss": NaN', '"time_step_limit": [0.0, -Infinity]'])
def test_numbers_that_only_python_writes(model, tmp_path, text):
    config = model / "config.json"
    config.write_text(config.read_text().replace("{", "{" + text + ", ", 1))
    before = hashes(model)
    convert(model, tmp_path / "out")
    export(tmp_path / "out", tmp_path / "back")
    assert hashes(tmp_path / "back") == before
    run("verify", model, tmp_path / "out", expect=0)
    # A configuration that changes keeps them.
    export(tmp_path / "out", tmp_path / "wide", "--dtype", "fp32")
    assert json.loads((tmp_path / "wide" / "config.json").read_text()).keys() == json.loads(config.read_text()).keys()
    assert text.split(": ")[1].lstrip("[0., ").rstrip("]") in (tmp_path / "wide" / "config.json").read_text()


def test_numbers_that_are_used_must_be_finite(model, tmp_path):
    config = model / "config.json"
    for key in ("rope_theta", "hidden_size"):
        content = json.loads(hf_fixture("qwen3_dense").joinpath("config.json").read_text())
        content.pop("rope_parameters", None)
        content[key] = float("nan")
        config.write_text(json.dumps(content))
        done = run("convert-hf", model, tmp_path / "out", expect=3)
        assert "nan" in done.err and not (tmp_path / "out").exists()
