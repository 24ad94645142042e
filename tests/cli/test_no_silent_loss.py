"""The product's rule: a tensor that is missing, unknown, doubled, or of another shape or type stops the run before anything is
written, and is named. Mutations of random tensors, the same in every run."""
import random

import pytest

from dcp_pickle import Metadata, numbers_of, size
from helpers import HF_FIXTURES, V3_FIXTURES, convert, copy_tree, export, hashes, hf_fixture, refused
from safetensors_raw import SIZES, Model, Tensor

CASES = [(fixture, number) for fixture in HF_FIXTURES for number in range(24)]
# One layer too many, those of multi-token prediction included.
PARENT = {"qwen3_dense": 2, "llama_tied": 3, "qwen3_moe": 2, "deepseek_v3": 4, "deepseek_v3_mtp2": 4, "deepseek_v3_fp8": 4}


def remove(model, name, dice):
    del model.shard_of(name)[name]
    return [name]


def rename(model, name, dice):
    shard = model.shard_of(name)
    other = dice.choice([name + ".old", name.replace("weight", "w"), name.upper(), "x." + name, name + "\n"])
    shard[other] = shard.pop(name)
    return [name, other.strip()]


def duplicate(model, name, dice):
    """In a second shard, or under the name that a bare model has."""
    shard = model.shard_of(name)
    if dice.random() < 0.5 and name.startswith("model."):
        shard[name.removeprefix("model.")] = shard[name]
        return [name.removeprefix("model.")]
    first, second = list(model.split(2).shards.values())
    first[name] = second[name] = first.get(name) or second[name]
    return [name]


def reshape(model, name, dice):
    tensor = model.shard_of(name)[name]
    shapes = [[1, *tensor.shape], [*tensor.shape, 1], [2, tensor.shape[0] // 2, *tensor.shape[1:]]]
    if len(set(tensor.shape)) > 1:
        shapes.append(tensor.shape[::-1])
    tensor.shape = dice.choice(shapes)
    return [name]


def retype(model, name, dice):
    """To another type of the same size, or of twice the size with half the elements."""
    tensor = model.shard_of(name)[name]
    size = SIZES[tensor.dtype]
    tensor.dtype = dice.choice({1: ["I8", "U8", "F8_E5M2"], 2: ["I16", "U16", "F32"], 4: ["I32"]}[size])
    if SIZES[tensor.dtype] != size:
        tensor.shape = [tensor.shape[0] // 2, *tensor.shape[1:]]
    return [name]


def stranger(model, name, dice):
    other = dice.choice([name.replace("weight", "bias") + "2", "visual." + name, "model.layers.99.mlp.up_proj.weight"])
    model.shard_of(name)[other] = Tensor("BF16", [2, 3], bytes(12))
    return [other]


HF_MUTATIONS = (remove, rename, duplicate, reshape, retype, stranger)


@pytest.mark.parametrize("fixture,number", CASES)
def test_hugging_face(fixture, number, tmp_path):
    dice = random.Random(f"{fixture} {number}")
    mutate = HF_MUTATIONS[number % len(HF_MUTATIONS)]
    model = Model(copy_tree(hf_fixture(fixture), tmp_path / "hf"))
    words = mutate(model, dice.choice(model.names()), dice)
    model.save()
    refused("convert-hf", tmp_path / "hf", tmp_path, 3, *words)


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_a_layer_too_many(fixture, tmp_path):
    """Where layers of multi-token prediction may follow, what is said is that one more does."""
    model = Model(copy_tree(hf_fixture(fixture), tmp_path / "hf"))
    twin = "model.layers.0.self_attn.o_proj.weight"
    name = twin.replace(".0.", f".{PARENT[fixture]}.")
    model.shard_of(twin)[name] = model.shard_of(twin)[twin]
    model.save()
    refused("convert-hf", tmp_path / "hf", tmp_path, 3, name if fixture not in V3_FIXTURES else f"model.layers.{PARENT[fixture]}.*")


def test_a_head_that_is_not_tied(tmp_path):
    """tie_word_embeddings lets a copy of the embedding go; other weights under its name are not a copy."""
    model = Model(copy_tree(hf_fixture("llama_tied"), tmp_path / "hf"))
    shard = model.shards["model.safetensors"]
    embedding = shard["model.embed_tokens.weight"]
    shard["lm_head.weight"] = Tensor("BF16", embedding.shape, bytes([embedding.data[0] ^ 1]) + embedding.data[1:])
    model.save()
    refused("convert-hf", tmp_path / "hf", tmp_path, 3, "lm_head.weight", "embed_tokens")


@pytest.mark.parametrize("pattern", (b"\x00\x7f", b"\x80\xff"), ids=("1.7e38", "-nan"))
def test_values_that_do_not_fit(pattern, tmp_path):
    """A cast that would make an infinity of a number stops; infinities and NaNs themselves are values like others."""
    model = Model(copy_tree(hf_fixture("llama_tied"), tmp_path / "hf"))
    name = "model.layers.2.self_attn.o_proj.weight"
    tensor = model.shard_of(name)[name]
    tensor.data = tensor.data[:1000] + pattern + tensor.data[1002:]
    model.save()
    if pattern == b"\x00\x7f":
        refused("convert-hf", tmp_path / "hf", tmp_path, 3, "linear_proj", options=("--dtype", "fp16"))
    convert(tmp_path / "hf", tmp_path / "megatron", "--dtype", "fp16" if pattern != b"\x00\x7f" else "fp32")
    export(tmp_path / "megatron", tmp_path / "back")
    assert hashes(tmp_path / "back") == hashes(tmp_path / "hf")


def either(key):
    """A stacked key, or its first layer: what a table misses has an explicit layer, what lies there has not."""
    return key, key.replace("decoder.layers.", "decoder.layers.0.")


def m_remove(metadata, key, dice):
    metadata.remove(key)
    return [either(key)]


def m_rename(metadata, key, dice):
    other = dice.choice([key.replace("weight", "w"), "x." + key, key.replace("mlp", "mlq") + "_"])
    metadata.copy(key, other)
    metadata.remove(key)
    return [either(key), other]


def m_duplicate(metadata, key, dice):
    """The same tensor once more, under the name it has when layers are not stacked."""
    twin = key.replace("decoder.layers.", "decoder.layers.0.")
    metadata.copy(key, twin if twin != key else key + "_w")
    return [either(key)]


def m_reshape(metadata, key, dice):
    shape = numbers_of(metadata.entries[key]["size"])
    metadata.entries[key]["size"] = size(*dice.choice([(shape[0] + 1, *shape[1:]), (*shape, 1), (1, *shape), (shape[0] - 1, *shape[1:])]))
    return [either(key)]


def m_retype(metadata, key, dice):
    metadata.retype(key, dice.choice(["float16", "float32", "int16"]))
    return [either(key)]


def m_stranger(metadata, key, dice):
    other = dice.choice([key.replace("weight", "bias") + "2", "vision_model." + key, "decoder.layers.mlp.router.weight"])
    metadata.copy(key, other)
    return [other]


def m_lose_chunk(metadata, key, dice):
    chunks = metadata.entries[key]["chunks"]
    chunks.remove(dice.choice(chunks))
    return [either(key)]


def m_lose_place(metadata, key, dice):
    del metadata.storage[dice.choice(metadata.places(key))[0]]
    return [either(key)]


MEGATRON_MUTATIONS = (m_remove, m_rename, m_duplicate, m_reshape, m_retype, m_stranger, m_lose_chunk, m_lose_place)


@pytest.mark.parametrize("fixture,number", CASES)
def test_megatron(fixture, number, tmp_path, converted):
    dice = random.Random(f"{fixture} {number}")
    mutate = MEGATRON_MUTATIONS[number % len(MEGATRON_MUTATIONS)]
    root = copy_tree(converted(fixture), tmp_path / "root")
    metadata = Metadata(root / "iter_0000000" / ".metadata")
    words = mutate(metadata, dice.choice(metadata.tensors()), dice)
    metadata.save()
    refused("export-to-hf", root, tmp_path, 3, *words)


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_rewritten_metadata_alone_is_no_damage(fixture, tmp_path, converted):
    """The instrument: unchanged content, written by dcp_pickle, is accepted."""
    root = copy_tree(converted(fixture), tmp_path / "root")
    Metadata(root / "iter_0000000" / ".metadata").save()
    export(root, tmp_path / "out")
    assert hashes(tmp_path / "out") == hashes(hf_fixture(fixture))
