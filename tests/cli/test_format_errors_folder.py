"""Damaged folders: model.safetensors.index.json and config.json, through the binary."""
import json
import os

import pytest

from helpers import copy_tree, hf_fixture, refused
from safetensors_raw import INDEX, Model, Tensor

NAME = "model.layers.1.mlp.up_proj.weight"
SHARDS = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]


@pytest.fixture
def folder(tmp_path):
    """Three shards with an index."""
    folder = copy_tree(hf_fixture("qwen3_dense"), tmp_path / "hf")
    Model(folder).split(3).save()
    return folder


def index(change):
    def damage(folder):
        content = json.loads((folder / INDEX).read_text())
        change(content)
        (folder / INDEX).write_text(json.dumps(content))

    return damage


def index_text(text):
    return lambda folder: (folder / INDEX).write_bytes(text)


def maps_to(shard):
    return index(lambda content: content["weight_map"].update({NAME: shard}))


def other_shard(content):
    content["weight_map"][NAME] = next(shard for shard in SHARDS if shard != content["weight_map"][NAME])


def duplicate_in_index(folder):
    text = (folder / INDEX).read_text()
    (folder / INDEX).write_text(text.replace('"weight_map": {', '"weight_map": {"%s": "%s", ' % (NAME, SHARDS[0])))


def fifo(folder):
    (folder / SHARDS[0]).unlink()
    os.mkfifo(folder / SHARDS[0])


INDEX_CASES = {
    "not JSON": (index_text(b"{"), [INDEX]),
    "an array": (index_text(b"[]"), [INDEX]),
    "not UTF-8": (index_text(b'{"weight_map": {"\xff": "a"}}'), [INDEX]),
    "no weight_map": (index(lambda c: c.pop("weight_map")), [INDEX, "weight_map"]),
    "empty weight_map": (index(lambda c: c["weight_map"].clear()), [INDEX, "weight_map"]),
    "weight_map is an array": (index(lambda c: c.update(weight_map=[])), [INDEX, "weight_map"]),
    "shard is a number": (maps_to(1), [INDEX, NAME]),
    "parent folder": (maps_to("../model.safetensors"), [INDEX, NAME, "../model.safetensors"]),
    "absolute path": (maps_to("/etc/passwd"), [INDEX, NAME, "/etc/passwd"]),
    "sub-folder": (maps_to("a/b.safetensors"), [INDEX, NAME]),
    "dots": (maps_to(".."), [INDEX, NAME]),
    "control characters": (maps_to("\x1b[2J"), [INDEX, NAME, "\\x1b[2J"]),
    "shard that is not there": (maps_to("model-00009-of-00003.safetensors"), ["model-00009-of-00003.safetensors", "missing"]),
    "tensor in another shard": (index(other_shard), [INDEX, NAME]),
    "tensor that is in no shard": (index(lambda c: c["weight_map"].update({"ghost.weight": SHARDS[0]})), [INDEX, "ghost.weight"]),
    "tensor not listed": (index(lambda c: c["weight_map"].pop(NAME)), [INDEX, NAME]),
    "duplicate tensor": (duplicate_in_index, [INDEX, NAME]),
    "no index": (lambda f: (f / INDEX).unlink(), [INDEX]),
    "shard removed": (lambda f: (f / SHARDS[1]).unlink(), [SHARDS[1]]),
    "all shards removed": (lambda f: [(f / shard).unlink() for shard in SHARDS], [SHARDS[0], "3 of 3"]),
    "a model.safetensors beside": (lambda f: (f / "model.safetensors").write_bytes(b""), ["model.safetensors", "index"]),
    "shard is a symlink to nothing": (lambda f: ((f / SHARDS[0]).unlink(), (f / SHARDS[0]).symlink_to("../gone")), [SHARDS[0], "broken symlink"]),
    "shard is a git-lfs pointer": (lambda f: (f / SHARDS[0]).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4967215360\n"),
                                   [SHARDS[0], "git-lfs pointer", "git lfs pull"]),
    "shard is a pipe": (fifo, [SHARDS[0]]),
    "shard is a folder": (lambda f: ((f / SHARDS[0]).unlink(), (f / SHARDS[0]).mkdir()), [SHARDS[0]]),
}


@pytest.mark.parametrize("case", INDEX_CASES)
def test_index(case, folder, tmp_path):
    damage, words = INDEX_CASES[case]
    damage(folder)
    refused("convert-hf", folder, tmp_path, 3, *words)


def test_the_same_tensor_in_two_shards(folder, tmp_path):
    model = Model(folder)
    for shard in model.shards.values():
        shard[NAME] = Tensor("BF16", [1], b"ab")
    model.save()
    refused("convert-hf", folder, tmp_path, 3, NAME, ".safetensors")


def config(**fields):
    def damage(folder):
        content = json.loads((folder / "config.json").read_text())
        content.update(fields)
        (folder / "config.json").write_text(json.dumps({key: value for key, value in content.items() if value != "REMOVE"}))

    return damage


def config_text(text):
    return lambda folder: (folder / "config.json").write_bytes(text)


CONFIG_CASES = {
    "missing": (lambda f: (f / "config.json").unlink(), 3, []),
    "empty": (config_text(b""), 3, []),
    "not JSON": (config_text(b'{"architectures": '), 3, []),
    "an array": (config_text(b"[]"), 3, []),
    "a string": (config_text(b'"Qwen3ForCausalLM"'), 3, []),
    "not UTF-8": (config_text(b'{"architectures": ["\xff"]}'), 3, []),
    "duplicate key": (lambda f: (f / "config.json").write_text((f / "config.json").read_text().replace("{", '{"hidden_size": 1,', 1)), 3,
                      ["hidden_size", "leave the entry that counts"]),
    "half of a character": (lambda f: (f / "config.json").write_text((f / "config.json").read_text().replace("{", '{"_name_or_path": "\\ud83c",', 1)), 3,
                            ["surrogate", "remove or mend that string"]),
    "deep": (config_text(b"[" * 1_000_000), 3, []),
    "20 MB": (config_text(b'{"a": "' + b"x" * 20_000_000 + b'"}'), 3, []),
    "NaN": (config_text(b'{"architectures": ["Qwen3ForCausalLM"], "hidden_size": NaN}'), 3, []),
    "no num_hidden_layers": (config(num_hidden_layers="REMOVE"), 3, ["num_hidden_layers"]),
    "no hidden_size": (config(hidden_size="REMOVE"), 3, ["hidden_size"]),
    "no num_attention_heads": (config(num_attention_heads="REMOVE"), 3, ["num_attention_heads"]),
    "negative layers": (config(num_hidden_layers=-1), 3, ["-1"]),
    "no layers": (config(num_hidden_layers=0), 3, []),
    "too many layers": (config(num_hidden_layers=3), 3, ["model.layers.2."]),
    "too few layers": (config(num_hidden_layers=1), 3, ["model.layers.1."]),
    "a billion layers": (config(num_hidden_layers=1_000_000_000), 3, []),
    "2^63 layers": (config(num_hidden_layers=1 << 63), 3, []),
    "2^40 layers": (config(num_hidden_layers=1 << 40), 3, []),
    "1e300 layers": (config(num_hidden_layers=1e300), 3, []),
    "half a layer": (config(num_hidden_layers=1.5), 3, []),
    "layers as a string": (config(num_hidden_layers="2"), 3, []),
    "layers as a list": (config(num_hidden_layers=[2]), 3, []),
    "layers null": (config(num_hidden_layers=None), 3, []),
    "layers true": (config(num_hidden_layers=True), 3, []),
    "no heads": (config(num_attention_heads=0), 3, []),
    "no groups": (config(num_key_value_heads=0), 3, []),
    "groups that do not divide": (config(num_key_value_heads=3), 3, []),
    "wide": (config(hidden_size=1 << 62), 3, []),
    "wide heads": (config(head_dim=1 << 62), 3, []),
    "other width": (config(hidden_size=65), 3, ["65"]),
    "other vocabulary": (config(vocab_size=513), 3, ["embed_tokens", "513"]),
    "negative vocabulary": (config(vocab_size=-512), 3, []),
    "tied, with a head of its own": (config(tie_word_embeddings=True), 3, ["lm_head.weight"]),
    "tied as a string": (config(tie_word_embeddings="yes"), 3, []),
    "architectures a string": (config(architectures="Qwen3ForCausalLM", model_type="REMOVE"), (3, 5), []),
    "architectures of numbers": (config(architectures=[1], model_type="REMOVE"), (3, 5), []),
    "no architectures": (config(architectures="REMOVE", model_type="REMOVE"), 3, ["--arch"]),
    "unknown architecture": (config(architectures=["GPT9ForCausalLM"], model_type="gpt9"), 5, ["GPT9ForCausalLM"]),
    "architecture with control characters": (config(architectures=["\x1b[2J"], model_type="gpt9"), 5, ["\\x1b[2J"]),
}


# Not the configuration is wrong then, but what it says against what is there: tensors are named instead.
ABOUT_TENSORS = {"no layers", "too many layers", "too few layers", "other width", "other vocabulary", "tied, with a head of its own"}


@pytest.mark.parametrize("case", CONFIG_CASES)
def test_config(case, folder, tmp_path):
    damage, code, words = CONFIG_CASES[case]
    damage(folder)
    refused("convert-hf", folder, tmp_path, code, "weight" if case in ABOUT_TENSORS else "config.json", *words)
