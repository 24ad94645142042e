"""Mixtures of experts, latent attention and multi-token prediction: Hugging Face -> `causeway convert-hf` -> the real readers."""
import dataclasses

import pytest

from interop import cases
from oracles import dcp, hf_files, mapping, sharding
from oracles.layout import Layout

# every case for a TransformerEngine model, some for the local spec
CASE_AND_SPEC = [(name, "te") for name in (*cases.MOE, *cases.KIN, *cases.FP8)]
CASE_AND_SPEC += [(name, "local") for name in ("qwen2_moe", "qwen3_moe", "qwen3_moe_some_dense", "mixtral", "deepseek_v3_mtp3")]
each_case = pytest.mark.parametrize("name, spec", CASE_AND_SPEC, ids=[f"{name}-{spec}" for name, spec in CASE_AND_SPEC])


def iteration(converted, name, spec="te"):
    return str(converted(name, spec) / "iter_0000000")


@each_case
def test_torch_reads_every_tensor(name, spec, sources, converted):
    """Codes come out as bf16(float(code) * scale), the router's bias in fp32."""
    source = sources(name)
    expected = sharding.dist_keys(source.arch, mapping.to_megatron(source.arch, source.state), spec)
    assert not dcp.different(expected, dcp.read_tensors(iteration(converted, name, spec)))


@each_case
def test_logits(name, spec, sources, converted, pools):
    """Of the main head and of every depth of multi-token prediction, after a default-strict load."""
    source = sources(name)
    ids = cases.tokens(source.arch)
    ((loaded, logits),) = pools[spec].run("load_and_run", arch=source.arch, directory=iteration(converted, name, spec), tokens=ids)
    full = mapping.to_megatron(source.arch, source.state)
    if source.arch.tied:
        loaded.pop("output_layer.weight", None)
    assert not dcp.different({key: value.float() for key, value in full.items()}, loaded)
    cases.close(logits, source.logits(ids))


# how the model is spread, vocabulary rows of the model, TEGroupedMLP. With several expert-parallel ranks there are also data-
# parallel ones; experts may be split less than the rest (etp).
LAYOUTS = {"tp2": (Layout(tp=2), 256, False), "ep2": (Layout(ep=2), 157, True), "tp2_ep2": (Layout(tp=2, ep=2), 256, False),
           "tp2_ep2_etp1": (Layout(tp=2, ep=2, etp=1), 256, True), "pp2": (Layout(pp=2), 256, False)}


def loads_everywhere(name, spec, layout, rows, grouped, sources, converted, pools):
    arch = sources(name).arch
    full = mapping.to_megatron(arch, sources(name).state)
    if arch.tied:
        full["output_layer.weight"] = full["embedding.word_embeddings.weight"]  # the last pipeline stage's copy
    ranks = pools[spec].run("load", layout=layout, arch=arch, directory=str(converted(name, spec) / "release"), vocab_rows=rows, grouped=grouped)
    for rank, loaded in enumerate(ranks):
        expected = {key: sharding.shard(key, full[key], layout, rank, rows, spec) for key in loaded}
        assert not dcp.different(expected, loaded), f"rank {rank}"
    assert set().union(*ranks) >= full.keys() - ({"output_layer.weight"} if arch.tied else set())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", cases.MOE)
def test_megatron_loads(name, layout, sources, converted, pools):
    """Default strictness, every parameter and the router's bias of every rank bit for bit."""
    loads_everywhere(name, "te", *LAYOUTS[layout], sources, converted, pools)


@pytest.mark.parametrize("name", ["qwen3_moe", "deepseek_v3_mtp3"])
def test_megatron_loads_with_the_local_spec(name, sources, converted, pools):
    loads_everywhere(name, "local", Layout(tp=2, ep=2), 256, False, sources, converted, pools)


@pytest.mark.parametrize("name", cases.FP8)
def test_megatron_loads_what_was_quantized(name, sources, converted, pools):
    layout = Layout(tp=2, ep=2, etp=1) if sources(name).arch.moe else Layout(tp=2)
    loads_everywhere(name, "te", layout, 256, True, sources, converted, pools)


@each_case
def test_objects_are_what_the_model_requires(name, spec, sources, converted, pools):
    ((_, required),) = pools[spec].run("requested_keys", arch=sources(name).arch)
    assert dcp.object_keys(iteration(converted, name, spec)) == set(required)


@each_case
def test_megatron_loads_with_every_strictness(name, spec, sources, converted, pools):
    for grouped in (False, True) if spec == "te" else (False,):
        pools[spec].run("load_strictly", arch=sources(name).arch, directory=str(iteration(converted, name, spec)), grouped=grouped)


CLASSES = [
    "layers.0.input_layernorm", "layers.0.mlp.linear_fc1", "self_attention.linear_q_down_proj", "self_attention.linear_q_up_proj",
    "self_attention.linear_kv_down_proj", "self_attention.linear_kv_up_proj", "self_attention.linear_proj", "layers.1.pre_mlp_layernorm",
    "mlp.shared_experts.linear_fc1", "mlp.shared_experts.linear_fc2", "mlp.experts.experts.linear_fc1", "mlp.experts.experts.linear_fc2",
    "decoder.final_layernorm", "mtp.layers.0.enorm", "mtp.layers.0.hnorm", "mtp.layers.0.eh_proj", "mtp.layers.0.final_layernorm",
    "mtp.layers.0.transformer_layer.self_attention.core_attention",
]


def test_each_class_of_extra_state_is_needed(sources, converted, pools, tmp_path):
    """Negative control: without the objects of any one class a default-strict load fails, naming it; untouched it succeeds."""
    whole = iteration(converted, "deepseek_v3", "te")
    copies = [dcp.copy_without(whole, tmp_path / kind, lambda key, kind=kind: f"{kind}._extra_state/" in key) for kind in CLASSES]
    (errors,) = pools["te"].run("load_errors", arch=sources("deepseek_v3").arch, directories=[whole, *map(str, copies)])
    assert errors[0] is None
    for kind, error in zip(CLASSES, errors[1:]):
        assert error and f"{kind}._extra_state" in error, (kind, error)


def test_per_layer_keys(sources, causeway, pools, tmp_path):
    """`--layer-keys per-layer`: the checkpoint itself tells the loader, through its content metadata."""
    source = sources("qwen3_moe")
    causeway("convert-hf", source.folder, tmp_path / "root", "--layer-keys", "per-layer")
    directory = tmp_path / "root" / "iter_0000000"
    full = mapping.to_megatron(source.arch, source.state)
    assert not dcp.different(sharding.dist_keys(source.arch, full, per_layer=True), dcp.read_tensors(directory))
    (loaded,) = pools["te"].run("load", arch=source.arch, directory=str(directory), vocab_rows=source.arch.vocab)
    assert not dcp.different(full, loaded)


def test_multi_token_prediction_can_be_left_out(sources, causeway, pools, tmp_path):
    source = sources("deepseek_v3_mtp3")
    arch = dataclasses.replace(source.arch, mtp=0)
    causeway("convert-hf", source.folder, tmp_path / "root", "--mtp", "drop")
    directory = tmp_path / "root" / "iter_0000000"
    full = mapping.to_megatron(arch, source.state)
    assert not dcp.different(sharding.dist_keys(arch, full), dcp.read_tensors(directory))
    ids = cases.tokens(arch)
    ((_, logits),) = pools["te"].run("load_and_run", arch=arch, directory=str(directory), tokens=ids)
    cases.close(logits, source.logits(ids)[:1])


@pytest.mark.parametrize("repeated", ["embed_tokens", "shared_head.head"])
def test_a_repeated_tensor_that_differs_is_refused(repeated, sources, causeway, tmp_path):
    """Megatron has one embedding and one head: another one for a depth would be lost in silence."""
    source = sources("deepseek_v3_mtp2_fp32")
    state = dict(source.state)
    name = f"model.layers.4.{repeated}.weight"
    state[name] = state[name].clone()
    state[name][3, 5] += 1
    folder = hf_files.copy_with_tensors(source.folder, tmp_path / "hf", state)
    done = causeway("convert-hf", folder, tmp_path / "root", expect=3)
    assert name in done.stderr
    assert not (tmp_path / "root").exists()


MISSING = {"mixtral": "model.layers.1.block_sparse_moe.experts.3.w3.weight", "qwen3_moe_tied_fp32": "model.layers.2.mlp.gate.weight",
           "deepseek_v3_mtp2_fp32": "model.layers.4.mlp.gate.e_score_correction_bias"}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_tensor_is_named(name, sources, causeway, tmp_path):
    source = sources(name)
    state = {key: value for key, value in source.state.items() if key != MISSING[name]}
    done = causeway("convert-hf", hf_files.copy_with_tensors(source.folder, tmp_path / "hf", state), tmp_path / "root", expect=3)
    assert MISSING[name] in done.stderr


@pytest.mark.parametrize("name", cases.MOE)
def test_common_state(name, sources, converted, pools):
    """What `--use-checkpoint-args` takes, and nothing that asks for an optimizer."""
    arch = sources(name).arch
    (common,) = pools["te"].run("common_state", directory=iteration(converted, name))
    args, moe = vars(common["args"]), arch.moe
    expected = dict(
        num_layers=arch.layers, hidden_size=arch.hidden, ffn_hidden_size=arch.ffn, num_attention_heads=arch.heads, norm_epsilon=arch.eps,
        max_position_embeddings=arch.positions, untie_embeddings_and_output_weights=not arch.tied, padded_vocab_size=arch.vocab, swiglu=True,
        num_experts=moe.experts, moe_router_topk=moe.topk, moe_ffn_hidden_size=moe.ffn, mtp_num_layers=arch.mtp or None,
        moe_layer_freq=1 if arch.stacked else [int(arch.is_moe(layer)) for layer in range(arch.layers)],
        moe_shared_expert_intermediate_size=moe.shared * moe.ffn or moe.gated_ffn or None, no_save_optim=True, no_save_rng=True)
    if arch.mla is None:
        expected.update(num_query_groups=arch.groups, group_query_attention=True, kv_channels=arch.head_dim, qk_layernorm=arch.qk_norm)
    assert {key: args.get(key) for key in expected} == expected


def test_expert_bias_stays_fp32(sources, converted, causeway, tmp_path):
    """A bf16 bias would change which experts are chosen, so `--dtype bf16` leaves it; it rounds every other tensor once."""
    source = sources("deepseek_v3_mtp2_fp32")
    causeway("convert-hf", source.folder, tmp_path / "root", "--dtype", "bf16")
    full = mapping.to_megatron(source.arch, source.state)
    rounded = {key: value if key.endswith("expert_bias") else value.bfloat16() for key, value in full.items()}
    assert not dcp.different(sharding.dist_keys(source.arch, rounded), dcp.read_tensors(tmp_path / "root" / "iter_0000000"))
