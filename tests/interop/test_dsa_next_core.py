"""Sparse latent attention (DSA: DeepSeek-V3.2, GLM-5) on real megatron-core 0.19.2, which alone has it: 0.16.1 refuses the option.

It runs on a CPU as it is. TransformerEngine's linears and norms are those of oracles/fake_te.py, as everywhere here; the attention and its
index are megatron-core's own, because `dsa_kernel_backend` is "none" by default and names the plain torch of dsa.py (the other two, tilelang
and cudnn, need a GPU). Training's loss of the index is not run. What cannot run on a CPU: `dsa_indexer_rotate_activation`, whose Hadamard
transform is a CUDA extension and takes BF16 alone; it turns queries and keys of the index alike, so that scores stay what they are, the
converter writes false, and so do the tests.
Forward passes are of one rank: the stand-in of TransformerEngine does not communicate."""
import pytest
import yaml

from interop import cases
from interop.test_table_mistakes import convert_with, exchange, exchange_halves, read_table
from oracles import dcp, hf_files, mapping, sharding
from oracles.layout import Layout
from oracles.pool import JobError

NAMES = list(cases.INDEXED)


def _iteration(root):
    return str(root / "iter_0000000")


def same_files(folder, other):
    assert sorted(file.name for file in folder.iterdir()) == sorted(file.name for file in other.iterdir())
    for file in folder.iterdir():
        assert (other / file.name).read_bytes() == file.read_bytes(), file.name


def save_point(root, iteration):
    (root / "latest_checkpointed_iteration.txt").write_text(str(iteration))


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_what_the_model_requires(name, sources, converted, core):
    arch, directory = sources(name).arch, _iteration(converted(name, "te"))
    for grouped in (False, True):
        (required,) = core.run("requested_keys", arch=arch, grouped=grouped)
        assert (sorted(dcp.read_tensors(directory)), sorted(dcp.object_keys(directory))) == required
        core.run("load_strictly", arch=arch, directory=directory, grouped=grouped)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_and_the_logits(name, sources, converted, core):
    """After a default-strict load; of the main head and of every depth of multi-token prediction."""
    source, directory = sources(name), _iteration(converted(name, "te"))
    full = mapping.to_megatron(source.arch, source.state)
    (loaded,) = core.run("load", arch=source.arch, directory=directory, vocab_rows=source.arch.vocab)
    assert not dcp.different(full, loaded)
    ids = cases.tokens(source.arch)
    ((loaded, logits),) = core.run("load_and_run", arch=source.arch, directory=directory, tokens=ids)
    assert not dcp.different({key: value.float() for key, value in full.items()}, loaded)
    cases.close(logits, source.logits(ids))


# How a run is fast and how it trains: no part of the model. Latent attention does not use kv_channels, and plain RoPE no positions of YaRN's.
NO_PART_OF_THE_MODEL = {
    "bias_activation_fusion", "bias_dropout_fusion", "masked_softmax_fusion", "persist_layer_norm", "moe_grouped_gemm", "moe_token_dispatcher_type",
    "dsa_indexer_loss_coeff", "dsa_indexer_use_sparse_loss", "moe_aux_loss_coeff", "moe_router_load_balancing_type", "moe_router_bias_update_rate", "kv_channels"}


def configuration_differs(directory, theirs, defaults):
    """{field: (run_config.yaml, the model that ran)}; what run_config.yaml does not say is a default."""
    ours = defaults | yaml.safe_load((directory / "run_config.yaml").read_text())["model"]
    return {key: (ours.get(key, "absent"), value) for key, value in theirs.items() if ours.get(key, "absent") != value} | {
        key: ours[key] for key in ours.keys() - theirs.keys() if key.startswith(("dsa_", "moe_", "mamba_"))}


@pytest.mark.parametrize("name", ["deepseek_v32", "glm_moe_dsa_shared"])
def test_the_configuration_is_that_of_the_model_that_ran(name, sources, converted, core):
    arch = sources(name).arch
    (theirs,), (defaults,) = core.run("settings", arch=arch), core.run("settings", arch=sources("deepseek_v3").arch)
    only_yarn = set() if arch.mla.yarn_factor else {"original_max_position_embeddings"}
    differ = configuration_differs(converted(name, "te") / "iter_0000000", theirs, defaults)
    assert not differ.keys() - NO_PART_OF_THE_MODEL - only_yarn, differ


@pytest.mark.parametrize("name", NAMES)
def test_saved_by_megatron(name, sources, causeway, core, tmp_path):
    """Loaded and saved again with optimizer state: the files come back byte by byte, the codes of FP8 too."""
    source = sources(name)
    causeway("convert-hf", source.folder, tmp_path / "root")
    core.run("change", arch=source.arch, source=_iteration(tmp_path / "root"), directory=str(tmp_path / "root" / "iter_0000010"), iteration=10, changes={})
    save_point(tmp_path / "root", 10)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    same_files(source.folder, tmp_path / "back")


def test_trained(sources, causeway, core, tmp_path):
    """Tensors of an index, of a depth and of an expert changed: they arrive, and the others stay."""
    source = sources("glm_moe_dsa")
    full = mapping.to_megatron(source.arch, source.state)
    changes = {key: full[key] + 0.25 for key in (
        "decoder.layers.1.self_attention.core_attention.indexer.k_norm.bias", "decoder.layers.2.self_attention.core_attention.indexer.linear_wq_b.weight",
        "mtp.layers.0.transformer_layer.self_attention.core_attention.indexer.linear_weights_proj.weight", "mtp.layers.0.eh_proj.weight",
        "decoder.layers.0.self_attention.kv_layernorm.weight", "decoder.layers.2.mlp.experts.local_experts.3.linear_fc1.weight")}
    causeway("convert-hf", source.folder, tmp_path / "root")
    core.run("change", arch=source.arch, source=_iteration(tmp_path / "root"), directory=str(tmp_path / "root" / "iter_0000010"), iteration=10, changes=changes,
             grouped=False)
    save_point(tmp_path / "root", 10)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf")
    assert not dcp.different(mapping.to_hf(source.arch, full | changes), hf_files.read_safetensors(tmp_path / "hf"))


# ---- several ranks ----

# how the model is spread, and vocabulary rows of the model
LAYOUTS = {"tp2": (Layout(tp=2), 256), "ep2": (Layout(ep=2), 157), "pp2": (Layout(pp=2), 157), "tp2_ep2": (Layout(tp=2, ep=2), 256)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["deepseek_v32", "glm_moe_dsa"])
def test_loads_everywhere(name, layout, sources, converted, core):
    arch, (layout, rows) = sources(name).arch, LAYOUTS[layout]
    full = mapping.to_megatron(arch, sources(name).state)
    ranks = core.run("load", layout=layout, arch=arch, directory=_iteration(converted(name, "te")), vocab_rows=rows)
    for rank, loaded in enumerate(ranks):
        assert not dcp.different({key: sharding.shard(key, full[key], layout, rank, rows) for key in loaded}, loaded), f"rank {rank}"
    assert set().union(*ranks) == full.keys()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_written_by_several_ranks(layout, sources, causeway, core, tmp_path):
    """Nothing here passed through convert-hf."""
    source, (layout, rows) = sources("glm_moe_dsa"), LAYOUTS[layout]
    full = mapping.to_megatron(source.arch, source.state)
    parts = [{key: sharding.shard(key, value, layout, rank, rows) for key, value in full.items()} for rank in range(layout.world)]
    core.run("save", layout=layout, arch=source.arch, directory=str(tmp_path / "root" / "iter_0000005"), vocab_rows=rows, parameters=parts, iteration=5)
    save_point(tmp_path / "root", 5)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--reference", source.folder)
    same_files(source.folder, tmp_path / "hf")


# ---- mistakes in copies of the tables ----


# (source, mistake, part of the names of parameters that are wrong then, first of [main, depth 1, ...] that differs)
MISTAKES = {
    "weight and bias of the index's norm": ("deepseek_v32", exchange("indexer.k_norm.weight", "indexer.k_norm.bias"), "indexer.k_norm", 0),
    "weight and bias of the index's norm, GLM": ("glm_moe_dsa_shared", exchange("indexer.k_norm.weight", "indexer.k_norm.bias"), "indexer.k_norm", 0),
    "enorm and hnorm": ("deepseek_v32", exchange("enorm.weight", "hnorm.weight"), "enorm.weight", 1),
    "gate and up of experts": ("glm_moe_dsa", exchange_halves("{e}.linear_fc1.weight"), "local_experts.0.linear_fc1.weight", 0),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_shows(mistake, sources, causeway, core, tmp_path):
    """The load goes through; parameters and logits tell, those before the mistake stay equal."""
    name, edit, where, first = MISTAKES[mistake]
    source, table = sources(name), read_table(name.removesuffix("_shared"))
    edit(table)
    convert_with(table, source, causeway, tmp_path)
    ids = cases.tokens(source.arch)
    ((loaded, logits),) = core.run("load_and_run", arch=source.arch, directory=_iteration(tmp_path / "root"), tokens=ids)
    full = {key: value.float() for key, value in mapping.to_megatron(source.arch, source.state).items()}
    assert any(where in line for line in dcp.different(full, loaded))
    apart = cases.distance(logits, source.logits(ids))
    assert max(apart[:first], default=0) <= 1 and min(apart[first:]) > 100, apart


# (value of the table, what it is wrongly, what the load says)
OTHER_KEYS = {
    "norms of latents in the linear after them": ("fused_norms", "true", "self_attention.q_layernorm.weight"),
    "an object of the attention of depths": ("te_attention", "true", "mtp.layers.0.transformer_layer.self_attention.core_attention._extra_state"),
}


@pytest.mark.parametrize("which", OTHER_KEYS)
def test_other_keys_do_not_load(which, sources, causeway, core, tmp_path):
    value, wrong, words = OTHER_KEYS[which]
    source, table = sources("glm_moe_dsa"), read_table("glm_moe_dsa")
    assert table["values"][value] == "false"
    table["values"][value] = wrong
    convert_with(table, source, causeway, tmp_path)
    with pytest.raises(JobError) as refused:
        core.run("load_strictly", arch=source.arch, directory=_iteration(tmp_path / "root"))
    assert words in str(refused.value)
