"""Multi-token prediction of Qwen3.5: one layer in a frame whose names have no number, counted by config.json or, where that says nothing, by its tensors."""
import json

import pytest

from helpers import DATA, convert, copy_tree, edit_config, export, hashes, refused, run
from safetensors_raw import Model
from torch_dist_raw import Checkpoint

SOURCE = DATA / "qwen3_6_moe" / "hf"
KEY = "mtp_num_hidden_layers"


def count_mtp(folder, depths):
    """What config.json says; None: nothing."""
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit_config(folder, text_config={key: value for key, value in {**text, KEY: depths}.items() if value is not None})


def mtp_names(folder):
    return [name for name in Model(folder).names() if name.startswith("mtp.")]


@pytest.fixture
def source(tmp_path):
    return copy_tree(SOURCE, tmp_path / "hf")


def test_drop(source, tmp_path):
    """Frame and layer are left out, each tensor once, and there again from the sidecar."""
    done = convert(source, tmp_path / "root", "--mtp", "drop", "--report", tmp_path / "report.json")
    dropped = mtp_names(source)
    assert json.loads((tmp_path / "report.json").read_text())["dropped_mtp_tensors"] == len(dropped) == 19
    assert "19 tensors mtp.*" in done.out
    assert not [key for key in Checkpoint(tmp_path / "root").keys() if "mtp." in key]
    run("verify", source, tmp_path / "root", "--mode", "hash", expect=0)
    export(tmp_path / "root", tmp_path / "back", "--mtp", "drop")
    assert Model(tmp_path / "back").names() == sorted(set(Model(source).names()) - set(dropped))


def test_uncounted(source, tmp_path):
    """Where config.json says nothing, the layer is there because its tensors are: the same Megatron bytes, and the same folder again."""
    convert(source, tmp_path / "counted")
    count_mtp(source, None)
    convert(source, tmp_path / "root")
    counted, found = (hashes(tmp_path / root / "iter_0000000") for root in ("counted", "root"))
    assert {file: each for file, each in found.items() if file.endswith(".distcp")} == {file: each for file, each in counted.items() if file.endswith(".distcp")}
    assert "mtp_num_layers: 1" in (tmp_path / "root" / "iter_0000000" / "run_config.yaml").read_text()
    run("verify", source, tmp_path / "root", "--mode", "hash", expect=0)
    export(tmp_path / "root", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(source)
    convert(source, tmp_path / "dropped", "--mtp", "drop")
    assert not [key for key in Checkpoint(tmp_path / "dropped").keys() if "mtp." in key]
    for folder, options in (("unasked", []), ("without", ["--mtp", "drop"])):  # the sidecar remembers it
        export(tmp_path / "dropped", tmp_path / folder, *options)
        assert not mtp_names(tmp_path / folder)


def test_uncounted_and_absent(source, tmp_path):
    count_mtp(source, None)
    model = Model(source)
    for shard in model.shards.values():
        for name in [name for name in shard if name.startswith("mtp.")]:
            del shard[name]
    model.save()
    convert(source, tmp_path / "root")
    assert "mtp_num_layers: null" in (tmp_path / "root" / "iter_0000000" / "run_config.yaml").read_text()


@pytest.mark.parametrize("counted", (0, 1, 2, None))
def test_second_layer(counted, source, tmp_path):
    """There is one frame for one layer."""
    model = Model(source)
    for shard in model.shards.values():
        shard.update({name.replace("mtp.layers.0.", "mtp.layers.1."): tensor for name, tensor in shard.items() if name.startswith("mtp.layers.0.")})
    model.save()
    count_mtp(source, counted)
    code = 3 if counted in (0, 1) else 5
    words = {0: ["34 tensors mtp.* of MTP layer 0", "promises 0"], 1: ["15 tensors mtp.layers.1.* of MTP layer 1", "promises 1"]}.get(counted, [f"{KEY} 2"])
    refused("convert-hf", source, tmp_path, code, *words, "--mtp drop")
    convert(source, tmp_path / "root", "--mtp", "drop")
    assert not [key for key in Checkpoint(tmp_path / "root").keys() if "mtp." in key]
