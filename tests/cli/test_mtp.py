"""Multi-token prediction on the command line: kept unless the user drops it, and never lost, in either direction."""
import json

import pytest

from helpers import DATA, V3_FIXTURES, convert, copy_tree, edit_config, export, hashes, hf_fixture, refused, run
from safetensors_raw import INDEX, Model
from torch_dist_raw import Checkpoint

LAYERS = {"deepseek_v3": 3, "deepseek_v3_mtp2": 2, "deepseek_v3_fp8": 3}
DEPTHS = {"deepseek_v3": 1, "deepseek_v3_mtp2": 2, "deepseek_v3_fp8": 1}


def is_mtp(fixture, name):
    parts = name.split(".")
    return parts[1] == "layers" and int(parts[2]) >= LAYERS[fixture]


def without_mtp(fixture, folder):
    """The folder as its owner would have released it without MTP."""
    model = Model(folder)
    for shard in model.shards.values():
        for name in [name for name in shard if is_mtp(fixture, name)]:
            del shard[name]
    model.save()
    return model


@pytest.mark.parametrize("how", ("convert", "export", "both"))
@pytest.mark.parametrize("fixture", V3_FIXTURES)
def test_drop(fixture, how, tmp_path, converted):
    """Dropped on either way: the decoder's tensors, shards without MTP byte for byte, config.json but for the count."""
    source = hf_fixture(fixture)
    root = converted(fixture)
    if how != "export":
        root = tmp_path / "root"
        convert(source, root, "--mtp", "drop", "--report", tmp_path / "report.json")
        dropped = sum(is_mtp(fixture, name) for name in Model(source).names())
        assert json.loads((tmp_path / "report.json").read_text())["dropped_mtp_tensors"] == dropped > 40 * DEPTHS[fixture]
        assert not [key for key in Checkpoint(root).keys() if key.startswith("mtp.")]
        assert json.loads((root / "causeway" / "manifest.json").read_text())["choices"]["mtp"] == "drop"
        done = run("verify", source, root, "--mode", "hash", "--report", tmp_path / "verify.json", expect=0)
        assert "MTP" in done.out and "not compared" in done.out
        assert json.loads((tmp_path / "verify.json").read_text())["mtp"] == "dropped"
    if how == "convert":
        # The sidecar remembers it.
        export(root, tmp_path / "unasked")
        export(root, tmp_path / "back", "--mtp", "drop")
        assert hashes(tmp_path / "unasked") == hashes(tmp_path / "back")
    else:
        export(root, tmp_path / "back", "--mtp", "drop")
    expected = without_mtp(fixture, copy_tree(source, tmp_path / "expected"))
    found = Model(tmp_path / "back")
    assert found.names() == expected.names()
    for name in expected.names():
        assert found.shard_of(name)[name] == expected.shard_of(name)[name], name
    for shard, tensors in Model(source).shards.items():
        if not any(is_mtp(fixture, name) for name in tensors):
            assert (tmp_path / "back" / shard).read_bytes() == (source / shard).read_bytes(), shard
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (source, tmp_path / "back"))
    assert after == {**before, "num_nextn_predict_layers": 0} and list(after) == list(before)
    if (tmp_path / "back" / INDEX).exists():
        index = json.loads((tmp_path / "back" / INDEX).read_text())["weight_map"]
        assert index == {name: shard for shard, tensors in found.shards.items() for name in tensors}
    # What came out is a model of its own.
    convert(tmp_path / "back", tmp_path / "again")
    export(tmp_path / "again", tmp_path / "once more")
    assert hashes(tmp_path / "once more") == hashes(tmp_path / "back")


PROMISES = {
    "none": (0, ["MTP layer 0", "config.json promises 0"]),
    "not said": (None, ["MTP layer 0", "config.json promises 0"]),
    "one": (1, ["MTP layer 1", "config.json promises 1"]),
    "three": (3, ["promises 3 MTP layers", "model.layers.4.*"]),
}


@pytest.mark.parametrize("case", PROMISES)
def test_promises(case, tmp_path):
    """Two depths there, another number in config.json: refused on both ways, each time with the option that goes on."""
    depths, words = PROMISES[case]
    folder = copy_tree(hf_fixture("deepseek_v3_mtp2"), tmp_path / "hf")
    edit_config(folder, num_nextn_predict_layers=depths)
    refused("convert-hf", folder, tmp_path, 3, *words, "num_nextn_predict_layers", "--mtp drop")
    convert(folder, tmp_path / "root", "--mtp", "drop")
    bridge = DATA / "bridge_written" / "deepseek_v3_mtp2" / "megatron"
    words = [word.replace("model.layers.4.*", "mtp.layers.2.*") for word in words]
    refused("export-to-hf", bridge, tmp_path, 3, *words, "--mtp drop", options=("--reference", folder))
    if case != "three":
        export(bridge, tmp_path / "kept", "--reference", folder, "--mtp", "keep")
        assert json.loads((tmp_path / "kept" / "config.json").read_text())["num_nextn_predict_layers"] == 2
        assert Model(tmp_path / "kept").names() == Model(hf_fixture("deepseek_v3_mtp2")).names()
    config_only = tmp_path / "config"
    config_only.mkdir()
    (config_only / "config.json").write_bytes((folder / "config.json").read_bytes())
    export(bridge, tmp_path / "back", "--reference", config_only, "--mtp", "drop")
    assert not [name for name in Model(tmp_path / "back").names() if is_mtp("deepseek_v3_mtp2", name)]


@pytest.mark.parametrize("fixture", V3_FIXTURES)
def test_a_whole_depth_is_missing(fixture, tmp_path, converted):
    model = Model(copy_tree(hf_fixture(fixture), tmp_path / "hf"))
    last = f"model.layers.{LAYERS[fixture] + DEPTHS[fixture] - 1}."
    for shard in model.shards.values():
        for name in [name for name in shard if name.startswith(last)]:
            del shard[name]
    model.save()
    refused("convert-hf", tmp_path / "hf", tmp_path, 3, f"promises {DEPTHS[fixture]} MTP layers", f"{last}*", "--mtp drop")
    root = copy_tree(converted(fixture), tmp_path / "root")
    checkpoint = Checkpoint(root)
    last = f"mtp.layers.{DEPTHS[fixture] - 1}."
    for key in [key for key in checkpoint.keys() if key.startswith(last)]:
        checkpoint.metadata.remove(key)
    checkpoint.metadata.save()
    refused("export-to-hf", root, tmp_path, 3, f"promises {DEPTHS[fixture]} MTP layers", f"{last}*", "--mtp drop")


@pytest.mark.parametrize("layers", (0, 1, 2))
def test_dropping_never_takes_a_decoder_layer(layers, tmp_path):
    """With too few layers in config.json those that follow look like depths by their number alone."""
    folder = copy_tree(hf_fixture("deepseek_v3"), tmp_path / "hf")
    edit_config(folder, num_hidden_layers=layers)
    refused("convert-hf", folder, tmp_path, 3, "--mtp drop", f"model.layers.{layers}.*", "ordinary layer", options=("--mtp", "drop"))


def test_models_without_it(tmp_path):
    """There is nothing to drop, and nothing is."""
    convert(hf_fixture("qwen3_moe"), tmp_path / "root", "--mtp", "drop")
    export(tmp_path / "root", tmp_path / "back", "--mtp", "drop")
    assert hashes(tmp_path / "back") == hashes(hf_fixture("qwen3_moe"))


@pytest.mark.parametrize("number", range(4))
def test_duplicates_must_repeat(number, tmp_path):
    """embed_tokens and shared_head.head of each depth are not converted, so they must be what they repeat."""
    name = [f"model.layers.{layer}.{part}.weight" for layer in (2, 3) for part in ("embed_tokens", "shared_head.head")][number]
    model = Model(copy_tree(hf_fixture("deepseek_v3_mtp2"), tmp_path / "hf"))
    tensor = model.shard_of(name)[name]
    tensor.data = tensor.data[:-1] + bytes([tensor.data[-1] ^ 1])
    model.save()
    original = "lm_head.weight" if "head" in name else "model.embed_tokens.weight"
    refused("convert-hf", tmp_path / "hf", tmp_path, 3, f"{name}: differs from {original}", "MTP shares")
    assert name in run("verify", tmp_path / "hf", DATA / "bridge_written" / "deepseek_v3_mtp2" / "megatron", "--mode", "hash", expect=1).out
    convert(tmp_path / "hf", tmp_path / "root", "--mtp", "drop")
    del model.shard_of(name)[name]  # and absent they are no loss
    model.save()
    convert(tmp_path / "hf", tmp_path / "out")
    export(tmp_path / "out", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(tmp_path / "hf")


@pytest.mark.parametrize("fixture", V3_FIXTURES)
def test_the_other_name_of_its_layer(fixture, tmp_path, converted):
    """Newer modules call the layer mtp_model_layer; under both names at once it is there twice."""
    root = copy_tree(converted(fixture), tmp_path / "root")
    checkpoint = Checkpoint(root)
    keys = [key for key in checkpoint.keys() if ".transformer_layer." in key]
    assert len(keys) == 15 * DEPTHS[fixture]
    for key in keys:
        checkpoint.metadata.copy(key, key.replace("transformer_layer", "mtp_model_layer"))
        checkpoint.metadata.remove(key)
    checkpoint.metadata.save()
    export(root, tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(hf_fixture(fixture))
    run("verify", hf_fixture(fixture), root, "--mode", "hash", expect=0)
    export(root, tmp_path / "dropped", "--mtp", "drop")
    assert not [name for name in Model(tmp_path / "dropped").names() if is_mtp(fixture, name)]
    twice = "mtp.layers.0.transformer_layer.mlp.router.weight"
    checkpoint.metadata.copy(twice.replace("transformer_layer", "mtp_model_layer"), twice)
    checkpoint.metadata.save()
    refused("export-to-hf", root, tmp_path, 3, "router.weight", "twice")


@pytest.mark.parametrize("fixture", V3_FIXTURES)
def test_duplicates_come_back_from_a_configuration_alone(fixture, tmp_path):
    """Every release has them, a Megatron checkpoint has not, and the configuration says how many there are."""
    source = hf_fixture(fixture)
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "config.json").write_bytes((source / "config.json").read_bytes())
    options = ("--dtype", "bf16") if fixture == "deepseek_v3_fp8" else ()
    export(DATA / "bridge_written" / fixture / "megatron", tmp_path / "out", "--reference", tmp_path / "reference", *options)
    found, model = Model(tmp_path / "out"), Model(source)
    assert found.names() == [name for name in model.names() if not name.endswith("_scale_inv")]
    for layer in range(LAYERS[fixture], LAYERS[fixture] + DEPTHS[fixture]):
        for part, original in (("embed_tokens", "model.embed_tokens.weight"), ("shared_head.head", "lm_head.weight")):
            name = f"model.layers.{layer}.{part}.weight"
            assert found.shard_of(name)[name] == model.shard_of(original)[original], name


@pytest.mark.parametrize("options", ([], ["--mtp", "drop"]), ids=("plain", "drop"))
def test_a_promise_that_was_never_kept_stays(options, tmp_path):
    """A source without the MTP layers its config.json promises, as transformers saves: --mtp drop converts it, and nothing was left
    out, so that every file comes back, config.json too, and the export need not be told again."""
    source = copy_tree(hf_fixture("deepseek_v3_mtp2"), tmp_path / "source")
    without_mtp("deepseek_v3_mtp2", source)
    refused("convert-hf", source, tmp_path, 3, "promises 2 MTP layers", "--mtp drop")
    convert(source, tmp_path / "root", "--mtp", "drop")
    export(tmp_path / "root", tmp_path / "back", *options)
    assert hashes(tmp_path / "back") == hashes(source)
