"""Models without an output layer: bare classes and embedding models there and back; a truncated upload is none of them."""
import json

import pytest

from helpers import convert, copy_tree, edit_config, export, hashes, hf_fixture, refused, run
from safetensors_raw import Model
from torch_dist_raw import Checkpoint

BARE = {"qwen3_dense": "Qwen3Model", "qwen3_moe": "Qwen3MoeModel", "deepseek_v3": "DeepseekV3Model", "qwen3_5_moe_text": "Qwen3_5MoeTextModel"}


def headless(fixture, folder, prefix="", **config):
    """The fixture without lm_head, its names with another prefix than model., and without MTP."""
    edit_config(copy_tree(hf_fixture(fixture), folder), **config)
    model = Model(folder)
    layers = json.loads((folder / "config.json").read_text()).get("num_hidden_layers")
    for shard, tensors in model.shards.items():
        model.shards[shard] = {
            name.replace("model.", prefix, 1): tensor for name, tensor in tensors.items()
            if name != "lm_head.weight" and not name.startswith(("mtp.", f"model.layers.{layers}."))}
    model.split(2).save()
    return folder


def there_and_back(folder, tmp_path, *options):
    before = hashes(folder)
    done = convert(folder, tmp_path / "root", *options)
    assert "no output layer" in done.err
    assert "output_layer.weight" not in Checkpoint(tmp_path / "root").keys()
    assert json.loads((tmp_path / "root" / "causeway" / "manifest.json").read_text())["choices"]["head"] == "none"
    # Megatron takes the embedding, so that nothing is random.
    assert "share_embeddings_and_output_weights: true" in (tmp_path / "root" / "iter_0000000" / "run_config.yaml").read_text()
    assert "head     none" in export(tmp_path / "root", tmp_path / "back").out
    assert hashes(tmp_path / "back") == before
    export(tmp_path / "root" / "iter_0000000", tmp_path / "again", "--sidecar", tmp_path / "root", "--reference", folder)
    assert hashes(tmp_path / "again") == before
    assert "head     none" in run("verify", folder, tmp_path / "root", expect=0).out


@pytest.mark.parametrize("fixture", ("qwen3_dense", "qwen3_moe", "deepseek_v3"))
@pytest.mark.parametrize("prefix", ("", "model."))
def test_bare_class(fixture, prefix, tmp_path):
    there_and_back(headless(fixture, tmp_path / "hf", prefix, architectures=[BARE[fixture]], num_nextn_predict_layers=0), tmp_path)


def test_embedding_model(tmp_path):
    """Qwen3-Embedding-8B: Qwen3ForCausalLM, not tied, names of a bare model, no head."""
    folder = headless("qwen3_dense", tmp_path / "hf", tie_word_embeddings=False)
    there_and_back(folder, tmp_path)
    # As a reference alone it says the same.
    export(tmp_path / "root" / "iter_0000000", tmp_path / "alone", "--reference", folder, "--sidecar", tmp_path / "root")
    assert hashes(tmp_path / "alone") == hashes(folder)


def test_truncated_upload(tmp_path):
    folder = headless("qwen3_dense", tmp_path / "hf", "model.", tie_word_embeddings=False)
    refused("convert-hf", folder, tmp_path, 3, "1 missing (lm_head.weight)", "output layer", "--head none")
    there_and_back(folder, tmp_path, "--head", "none")


def test_bare_names_with_a_head_are_no_embedding_model(tmp_path):
    """A head under any name is one that must not be lost."""
    folder = headless("qwen3_dense", tmp_path / "hf", tie_word_embeddings=False)
    model = Model(folder)
    shard = next(iter(model.shards.values()))
    shard["score.lm_head.weight"] = shard.get("norm.weight") or next(iter(shard.values()))
    model.save()
    refused("convert-hf", folder, tmp_path, 3, "score.lm_head.weight")


def test_head_none_is_for_models_without_one(tmp_path):
    refused("convert-hf", hf_fixture("qwen3_dense"), tmp_path, 2, "--head none", "lm_head.weight", options=("--head", "none"))


def test_a_head_that_training_added_is_not_dropped(tmp_path):
    folder = headless("qwen3_dense", tmp_path / "hf", tie_word_embeddings=False)
    convert(folder, tmp_path / "root")
    checkpoint = Checkpoint(tmp_path / "root")
    checkpoint.metadata.copy("embedding.word_embeddings.weight", "output_layer.weight")
    checkpoint.metadata.save()
    refused("export-to-hf", tmp_path / "root", tmp_path, 3, "1 unknown (output_layer.weight)")
