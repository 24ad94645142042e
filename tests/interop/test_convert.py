"""Hugging Face -> `causeway convert-hf` -> the real readers."""
import json

import pytest
import torch

from interop import cases
from oracles import dcp, mapping, sharding
from oracles.layout import Layout

by_case_and_spec = [pytest.mark.parametrize("spec", cases.SPECS), pytest.mark.parametrize("name", cases.DENSE)]


def everywhere(test):
    for mark in by_case_and_spec:
        test = mark(test)
    return test


# layout: (how the model is spread, vocabulary rows of the model). Megatron pads the vocabulary to a multiple of
# 128 x tensor-parallel size; the rows the checkpoint lacks must come out zero.
LAYOUTS = {"tp1": (Layout(), 157), "tp2": (Layout(tp=2), 256), "pp2": (Layout(pp=2), 256)}


@everywhere
def test_torch_reads_every_tensor(name, spec, sources, converted):
    source = sources(name)
    expected = sharding.dist_keys(source.arch, mapping.to_megatron(source.arch, source.state))
    assert not dcp.different(expected, dcp.read_tensors(converted(name, spec) / "iter_0000000"))


@everywhere
@pytest.mark.parametrize("layout", LAYOUTS)
def test_megatron_loads(name, spec, layout, sources, converted, pools):
    """Default strictness, every parameter of every rank bit for bit."""
    arch = sources(name).arch
    spread, rows = LAYOUTS[layout]
    full = mapping.to_megatron(arch, sources(name).state)
    ranks = pools[spec].run("load", layout=spread, arch=arch, directory=str(converted(name, spec) / "release"), vocab_rows=rows)
    for rank, loaded in enumerate(ranks):
        wanted = full
        if arch.tied and "output_layer.weight" in loaded:  # the last pipeline stage's copy
            wanted = {**full, "output_layer.weight": full["embedding.word_embeddings.weight"]}
        expected = {key: sharding.shard(key, wanted[key], spread, rank, rows) for key in loaded}
        assert not dcp.different(expected, loaded), f"rank {rank}"
    assert set().union(*ranks) >= full.keys()


@everywhere
def test_logits(name, spec, sources, converted, pools):
    source = sources(name)
    ids = cases.tokens(source.arch)
    ((_, logits),) = pools[spec].run("load_and_run", arch=source.arch, directory=str(converted(name, spec) / "iter_0000000"), tokens=ids)
    cases.close(logits, source.logits(ids))


@pytest.mark.parametrize("name", ["nemotron", "starcoder2"])
def test_layer_norms_and_mlps_without_a_gate(name, sources, converted, pools):
    """Every key, every object and every tensor of a default-strict load, and the logits."""
    source = sources(name)
    directory = converted(name, "te") / "iter_0000000"
    full = mapping.to_megatron(source.arch, source.state)
    assert not dcp.different(sharding.dist_keys(source.arch, full), dcp.read_tensors(directory))
    ((_, required),) = pools["te"].run("requested_keys", arch=source.arch)
    assert dcp.object_keys(directory) == set(required)
    ids = cases.tokens(source.arch)
    ((loaded, logits),) = pools["te"].run("load_and_run", arch=source.arch, directory=str(directory), tokens=ids)
    assert loaded.keys() == full.keys() and not dcp.different({key: value.float() for key, value in full.items()}, loaded)
    cases.close(logits, source.logits(ids))


def test_local_checkpoint_loads_where_transformer_engine_is_installed(sources, converted, pools):
    """`--spec local` names the layer spec of the training script; the process may have TransformerEngine all the same, and
    then megatron-core's final norm comes from it and requires an object of its own."""
    arch = sources("qwen3").arch
    assert pools["te"].run("load_local_spec", arch=arch, directory=str(converted("qwen3", "local") / "iter_0000000")) == [None]


@everywhere
def test_objects_are_what_the_model_requires(name, spec, sources, converted, pools):
    """And, with local layers, the final norm of a process that has TransformerEngine (the test above)."""
    ((_, required),) = pools[spec].run("requested_keys", arch=sources(name).arch)
    assert dcp.object_keys(converted(name, spec) / "iter_0000000") == {*required, "decoder.final_layernorm._extra_state/shard_0_1"}


@pytest.mark.parametrize("name", cases.DENSE)
def test_megatron_loads_with_every_strictness(name, sources, converted, pools):
    pools["te"].run("load_strictly", arch=sources(name).arch, directory=str(converted(name, "te") / "iter_0000000"))


def test_per_layer_keys(sources, causeway, pools, tmp_path):
    """`--layer-keys per-layer`: the checkpoint itself tells the loader, through its content metadata."""
    source = sources("qwen3")
    causeway("convert-hf", source.folder, tmp_path / "root", "--layer-keys", "per-layer")
    directory = tmp_path / "root" / "iter_0000000"
    full = mapping.to_megatron(source.arch, source.state)
    assert not dcp.different(full, dcp.read_tensors(directory))
    ranks = pools["te"].run("load", layout=Layout(pp=2), arch=source.arch, directory=str(directory), vocab_rows=source.arch.vocab)
    assert not dcp.different(full, {**ranks[0], **ranks[1]})


def test_padded_vocabulary(sources, causeway, pools, tmp_path):
    """`--vocab-rows`: the added rows are zero, as megatron-core itself fills them."""
    source = sources("qwen2")
    causeway("convert-hf", source.folder, tmp_path / "root", "--vocab-rows", 256)
    directory = tmp_path / "root" / "iter_0000000"
    (loaded,) = pools["te"].run("load", arch=source.arch, directory=str(directory), vocab_rows=256)
    full = mapping.to_megatron(source.arch, source.state)
    assert not dcp.different({key: sharding.shard(key, value, Layout(), 0, 256) for key, value in full.items()}, loaded)
    assert dcp.read_tensors(directory)["output_layer.weight"].shape == (256, source.arch.hidden)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf")
    assert not dcp.different(source.state, cases.read_safetensors(tmp_path / "hf"))


CLASSES = ["self_attention.linear_qkv", "self_attention.linear_proj", "mlp.linear_fc1", "mlp.linear_fc2", "self_attention.q_layernorm",
           "self_attention.k_layernorm", "decoder.final_layernorm"]


def test_each_class_of_extra_state_is_needed(sources, converted, pools, tmp_path):
    """Negative control: without the objects of any one class a default-strict load fails, naming it; untouched it succeeds."""
    whole = converted("qwen3", "te") / "iter_0000000"
    copies = [dcp.copy_without(whole, tmp_path / kind, lambda key, kind=kind: f"{kind}._extra_state/" in key) for kind in CLASSES]
    (errors,) = pools["te"].run("load_errors", arch=sources("qwen3").arch, directories=[str(whole), *map(str, copies)])
    assert errors[0] is None
    for kind, error in zip(CLASSES, errors[1:]):
        assert error and f"{kind}._extra_state" in error, (kind, error)


@pytest.mark.parametrize("name", cases.DENSE)
def test_common_state(name, sources, converted, pools):
    arch = sources(name).arch
    (common,) = pools["te"].run("common_state", directory=str(converted(name, "te") / "iter_0000000"))
    assert common["checkpoint_version"] == 3.0 and isinstance(common["checkpoint_version"], float)
    assert common["iteration"] == 0
    assert common["content_metadata"].get("singleton_local_shards", False) is False
    args = vars(common["args"])
    # a plain `--load` must not ask for an optimizer or random states
    assert args["no_save_optim"] is True and args["no_save_rng"] is True
    # what `--use-checkpoint-args` takes
    expected = dict(
        num_layers=arch.layers, hidden_size=arch.hidden, ffn_hidden_size=arch.ffn, seq_length=arch.positions, num_attention_heads=arch.heads,
        num_query_groups=arch.groups, group_query_attention=True, kv_channels=arch.head_dim, max_position_embeddings=arch.positions,
        position_embedding_type="rope", rotary_base=arch.rope_base, rotary_percent=arch.rotary_percent, add_bias_linear=False, add_qkv_bias=arch.qkv_bias,
        swiglu=True, untie_embeddings_and_output_weights=not arch.tied, normalization="RMSNorm", norm_epsilon=arch.eps, qk_layernorm=arch.qk_norm,
        padded_vocab_size=arch.vocab, ckpt_format="torch_dist", tensor_model_parallel_size=1, pipeline_model_parallel_size=1,
    )
    assert {key: args.get(key, "absent") for key in expected} == expected
    for key in ("num_experts", "moe_ffn_hidden_size", "moe_shared_expert_intermediate_size", "mtp_num_layers"):
        assert args.get(key) is None, key


def test_folder(converted):
    root = converted("llama", "te")
    assert (root / "latest_checkpointed_iteration.txt").read_bytes() == b"release"
    assert (root / "release").is_symlink() and (root / "release").readlink().as_posix() == "iter_0000000"
    assert not (root / "latest_train_state.pt").exists()  # Megatron-Bridge would prefer it to what Megatron-LM trains later
    with open(root / "iter_0000000" / "metadata.json") as file:
        written = json.load(file)
    # megatron-core 0.16.1 refuses any other key
    assert written == {"sharded_backend": "torch_dist", "sharded_backend_version": 1, "common_backend": "torch", "common_backend_version": 1}
    assert (root / "causeway").is_dir()
