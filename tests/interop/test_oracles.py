"""The instruments, without Causeway: the independent mapping is right because real megatron-core and real transformers agree
on the logits of the weights it carries over, and the fixtures hold what their rule says."""
import shutil

import pytest
import torch
from safetensors.torch import load_file

from interop import cases
from interop.conftest import DATA
from interop.test_fp8 import digests
from oracles import dcp, fixture_weights, fp8, hf_files, make_data, mapping, sharding
from oracles.layout import Layout


def run(pool, arch, state, **options):
    parameters = mapping.to_megatron(arch, state)
    (logits,) = pool.run("run", arch=arch, parameters=parameters, tokens=cases.tokens(arch), **options)
    return logits


# megatron-core has no norm over all heads, and the stand-in of TransformerEngine no window.
NOT_RUN = [(name, spec) for name, case in cases.CASES.items() for spec in cases.SPECS
           if case.arch.whole_qk_norm or (name == "ministral" and spec == "te")]


@pytest.mark.parametrize("name, spec", [(name, spec) for name in cases.CASES for spec in cases.SPECS if (name, spec) not in NOT_RUN])
def test_mapped_weights_give_the_logits_of_transformers(name, spec, sources, pools):
    """The main logits and, where there are any, those of every depth of multi-token prediction."""
    source = sources(name)
    cases.close(run(pools[spec], source.arch, source.state), source.logits(cases.tokens(source.arch)))


@pytest.mark.parametrize("name", ["qwen3_moe", "mixtral", "deepseek_v3_mtp3"])
def test_grouped_experts_are_the_same_function(name, sources, pools):
    """TEGroupedMLP holds an expert as weight{e} where SequentialMLP has a module."""
    source = sources(name)
    cases.close(run(pools["te"], source.arch, source.state, grouped=True), source.logits(cases.tokens(source.arch)))


@pytest.mark.parametrize("name", cases.CASES)
def test_mapping_and_sharding_invert(name, sources):
    source = sources(name)
    parameters = mapping.to_megatron(source.arch, source.state)
    assert not dcp.different(source.state, mapping.to_hf(source.arch, parameters))
    layout = Layout(tp=2)
    for key, full in parameters.items():
        shards = [sharding.shard(key, full, layout, rank, 158) for rank in (0, 1)]
        assert sharding.merge(key, shards)[: len(full)].equal(full), key


# ---- negative controls: mistakes a converter could make, each of which the logits must show ----


def swapped_halves(state, name):
    left, right = state[name].chunk(2, dim=1)
    state[name] = torch.cat([right, left], dim=1)


def exchanged(state, name, other):
    state[name], state[other] = state[other], state[name]


def rotated_experts(state, layer, arch):
    for part in ("gate_proj", "up_proj", "down_proj"):
        names = [f"model.layers.{layer}.mlp.experts.{e}.{part}.weight" for e in range(arch.moe.experts)]
        state.update(zip(names, [state[name] for name in names[1:] + names[:1]]))


def shifted_mtp(state, arch):
    """Each depth has the tensors of the next, the last those of the first."""
    prefixes = [f"model.layers.{arch.layers + depth}." for depth in range(arch.mtp)]
    old = dict(state)
    for here, there in zip(prefixes, prefixes[1:] + prefixes[:1]):
        state.update({name: old[there + name.removeprefix(here)] for name in old if name.startswith(here)})


def permuted_heads(state, name, heads):
    parts = state[name].chunk(heads)
    state[name] = torch.cat([*parts[1:], parts[0]])


def split_heads_flat(state, name, heads, first):
    """A head's rows [first; rest] read as all heads' first rows, then all heads' rest."""
    parts = [part.split([first, len(part) - first]) for part in state[name].chunk(heads)]
    state[name] = torch.cat([a for a, _ in parts] + [b for _, b in parts])


def rounded_bias(state, arch):
    for name, tensor in state.items():
        if name.endswith("e_score_correction_bias"):
            state[name] = tensor.bfloat16().float()


# case, what is done to the state dict, and the first of [main, depth 1, ...] that must differ
MISTAKES = {
    "eh_proj halves, depth 1": ("deepseek_v3_mtp3", lambda s, a: swapped_halves(s, "model.layers.3.eh_proj.weight"), 1),
    "eh_proj halves, depth 2": ("deepseek_v3_mtp3", lambda s, a: swapped_halves(s, "model.layers.4.eh_proj.weight"), 2),
    "eh_proj halves, depth 3": ("deepseek_v3_mtp3", lambda s, a: swapped_halves(s, "model.layers.5.eh_proj.weight"), 3),
    "enorm and hnorm": ("deepseek_v3_mtp3", lambda s, a: exchanged(s, "model.layers.3.enorm.weight", "model.layers.3.hnorm.weight"), 1),
    "multi-token prediction off by one layer": ("deepseek_v3_mtp3", shifted_mtp, 1),
    "experts rotated": ("deepseek_v3_mtp3", lambda s, a: rotated_experts(s, 2, a), 0),
    "experts of a depth rotated": ("deepseek_v3_mtp3", lambda s, a: rotated_experts(s, 5, a), 3),
    "experts of Qwen3-MoE rotated": ("qwen3_moe", lambda s, a: rotated_experts(s, 1, a), 0),
    "gate and up of an expert": ("qwen3_moe", lambda s, a: exchanged(s, *(f"model.layers.0.mlp.experts.2.{x}_proj.weight" for x in ("gate", "up"))), 0),
    "w1 and w3": ("mixtral", lambda s, a: exchanged(s, *(f"model.layers.0.block_sparse_moe.experts.1.{x}.weight" for x in ("w1", "w3"))), 0),
    "gate and up of the shared experts": (
        "deepseek_v3_mtp3", lambda s, a: exchanged(s, *(f"model.layers.1.mlp.shared_experts.{x}_proj.weight" for x in ("gate", "up"))), 0),
    "query heads": ("deepseek_v3_mtp3", lambda s, a: permuted_heads(s, "model.layers.1.self_attn.q_b_proj.weight", a.heads), 0),
    "key/value heads": ("deepseek_v3_mtp3", lambda s, a: permuted_heads(s, "model.layers.1.self_attn.kv_b_proj.weight", a.heads), 0),
    "rows of a key/value head": ("deepseek_v3_mtp3", lambda s, a: split_heads_flat(s, "model.layers.1.self_attn.kv_b_proj.weight", a.heads, a.mla.nope), 0),
    "rows of a query head": ("deepseek_v3_mtp3", lambda s, a: split_heads_flat(s, "model.layers.1.self_attn.q_b_proj.weight", a.heads, a.mla.nope), 0),
    "query groups": ("qwen3_moe", lambda s, a: permuted_heads(s, "model.layers.1.self_attn.k_proj.weight", a.groups), 0),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_shows(mistake, sources, pools):
    """More than a hundred times the tolerance, from the affected logits on; those computed before it stay equal."""
    name, mutate, first = MISTAKES[mistake]
    source = sources(name)
    state = dict(source.state)
    mutate(state, source.arch)
    apart = cases.distance(run(pools["te"], source.arch, state), source.logits(cases.tokens(source.arch)))
    assert max(apart[:first], default=0) <= 1 and min(apart[first:]) > 100, apart


def test_a_rounded_router_bias_shows(sources, pools):
    """BF16 moves the bias by up to 2^-9 of itself. That changes which experts are chosen only near ties, so here biases are large
    (the choice depends on little else) and all but equal: three experts differ by less than rounding does."""
    source = sources("deepseek_v3_mtp3")
    arch, state = source.arch, dict(source.state)
    bias = torch.tensor([16.0 + 0.01 * ((5 * e) % arch.moe.experts) for e in range(arch.moe.experts)])
    state.update({name: bias for name in state if name.endswith("e_score_correction_bias")})
    exact = run(pools["te"], arch, state)
    rounded_bias(state, arch)
    assert min(cases.distance(run(pools["te"], arch, state), exact)) > 100


# ---- the keys and objects of checkpoints ----

LINEARS = {"self_attention.linear_qkv", "self_attention.linear_proj", "mlp.linear_fc1", "mlp.linear_fc2"}


@pytest.mark.parametrize("spec", cases.SPECS)
def test_objects_a_dense_model_requires(spec, pools):
    """With TransformerEngine every norm that is a module of its own has extra state too."""
    arch = cases.CASES["qwen3"].arch
    ((_, keys),) = pools[spec].run("requested_keys", arch=arch)
    layered = LINEARS | ({"self_attention.q_layernorm", "self_attention.k_layernorm"} if spec == "te" else set())
    expected = {f"decoder.layers.{module}._extra_state/shard_{layer}_{arch.layers}" for module in layered for layer in range(arch.layers)}
    if spec == "te":
        expected.add("decoder.final_layernorm._extra_state/shard_0_1")
    assert set(keys) == expected


@pytest.mark.parametrize("name", make_data.KEYS)
def test_requested_keys_are_those_on_record(name, pools):
    """What megatron-core asks for, and that TEGroupedMLP and SequentialMLP ask for the same."""
    spec, arch = make_data.KEYS[name]
    recorded = (DATA / "requested_keys" / f"{name}.txt").read_text()
    for grouped in (False, True) if spec == "te" else (False,):
        assert make_data.requested_keys(pools[spec], arch, grouped=grouped) == recorded


@pytest.mark.parametrize("spec", cases.SPECS)
@pytest.mark.parametrize("name", cases.MOE)
def test_keys_are_what_the_model_asks_for(name, spec, sources, pools):
    source = sources(name)
    ((keys, _),) = pools[spec].run("requested_keys", arch=source.arch)
    assert set(keys) == sharding.dist_keys(source.arch, mapping.to_megatron(source.arch, source.state), spec).keys()


# (case, spec, layout, TEGroupedMLP)
WRITTEN = {
    "qwen3_moe-tp2_ep2": ("qwen3_moe", "te", Layout(tp=2, ep=2), False), "qwen3_moe-local-ep2": ("qwen3_moe", "local", Layout(ep=2), False),
    "qwen3_moe-grouped-ep2": ("qwen3_moe", "te", Layout(ep=2), True), "mixtral-pp2_ep2": ("mixtral", "te", Layout(pp=2, ep=2), True),
    "deepseek_v3_mtp3-tp2_ep2": ("deepseek_v3_mtp3", "te", Layout(tp=2, ep=2, etp=1), True),
    "deepseek_v3_mtp3-pp2": ("deepseek_v3_mtp3", "te", Layout(pp=2), False), "deepseek_v3-local-tp2": ("deepseek_v3", "local", Layout(tp=2), False),
}


@pytest.mark.parametrize("which", WRITTEN)
def test_megatron_writes_the_mapping(which, sources, pools, tmp_path):
    """However the ranks share a model, what they save is the full parameters under the keys of sharding.py."""
    name, spec, layout, grouped = WRITTEN[which]
    source = sources(name)
    arch, full = source.arch, mapping.to_megatron(source.arch, source.state)
    parts = [{key: sharding.shard(key, value, layout, rank, 158, spec) for key, value in full.items()} for rank in range(layout.world)]
    pools[spec].run("save", layout=layout, arch=arch, directory=str(tmp_path / "written"), vocab_rows=158, parameters=parts, iteration=0, grouped=grouped)
    padded = {key: sharding.shard(key, value, Layout(), 0, 158) for key, value in full.items()}
    assert not dcp.different(sharding.dist_keys(arch, padded, spec), dcp.read_tensors(tmp_path / "written"))


# ---- the bundled fixtures ----


@pytest.mark.parametrize("folder", make_data.FOLDERS)
def test_fixture_is_what_the_script_makes(folder, pools, tmp_path):
    make_data.make_folder(pools["local"], tmp_path / folder, folder)
    stored = DATA / "megatron_written" / folder / "iter_0000000"
    again = tmp_path / folder / "iter_0000000"
    assert not dcp.different(dcp.read_tensors(stored), dcp.read_tensors(again))
    assert dcp.object_keys(stored) == dcp.object_keys(again)


@pytest.mark.parametrize("name", make_data.ARCHITECTURES)
def test_small_model_is_what_the_script_makes(name, tmp_path):
    make_data.make_architecture(name, tmp_path)
    stored = DATA / "architectures" / name
    assert digests(tmp_path / "hf") == digests(stored / "hf")
    made, recorded = (load_file(folder / "logits.safetensors") for folder in (tmp_path, stored))
    assert made.keys() == recorded.keys() and torch.equal(made.pop("input_ids"), recorded.pop("input_ids"))
    cases.close([made[head] for head in sorted(made)], [recorded[head] for head in sorted(made)])


def test_fixture_holds_its_rule():
    for folder, arch in (("dense", fixture_weights.DENSE), ("dense_tied_qknorm", fixture_weights.TIED_QKNORM)):
        stored = dcp.read_tensors(DATA / "megatron_written" / folder / "iter_0000000")
        assert not dcp.different(sharding.dist_keys(arch, fixture_weights.parameters(arch)), stored)


BRIDGE = ["qwen3_dense", "llama_tied", "qwen3_moe", "deepseek_v3", "deepseek_v3_mtp2", "deepseek_v3_fp8"]


@pytest.mark.parametrize("name", BRIDGE)
def test_bridge_agrees_with_the_mapping(name):
    """The mapping also equals what real Megatron-Bridge wrote from the same source; so does the arithmetic of dequantization."""
    arch, state = cases.bridge_source(DATA / "bridge_written" / name / "hf")
    stored = dcp.read_tensors(DATA / "bridge_written" / name / "megatron" / "iter_0000000")
    assert not dcp.different(sharding.dist_keys(arch, mapping.to_megatron(arch, state)), stored)


@pytest.mark.parametrize("name", BRIDGE)
def test_megatron_loads_what_bridge_wrote(name, pools, tmp_path):
    """Default strictness: the stand-in for TransformerEngine asks for nothing Bridge's model did not write, but for one object:
    the attention of Bridge's stand-in had no extra state. megatron-core 0.16.1 looks for common.pt, which newer writers keep
    inside the data, so the copy gets one."""
    fixture = DATA / "bridge_written" / name
    arch, state = cases.bridge_source(fixture / "hf")
    copy = shutil.copytree(fixture / "megatron" / "iter_0000000", tmp_path / "iter_0000000")
    torch.save({"checkpoint_version": 3.0}, copy / "common.pt")
    for depth in range(arch.mtp):
        module = f"mtp.layers.{depth}.transformer_layer.self_attention"
        dcp.add_object(copy, f"{module}.core_attention._extra_state/shard_0_1", like=f"{module}.linear_proj._extra_state/shard_0_1")
    (loaded,) = pools["te"].run("load", arch=arch, directory=str(copy), vocab_rows=arch.vocab)
    assert not dcp.different(mapping.to_megatron(arch, state), loaded)


# ---- block quantization ----


def test_quantized_sources_have_what_they_are_for(sources):
    """Partial blocks both ways, scales in another file than their weight, linears left alone, scales that are not the rule's."""
    for name in cases.FP8:
        source = sources(name)
        block = source.fp8.block
        stored = hf_files.read_safetensors(source.folder)
        scaled = [key.removesuffix(fp8.SCALE) for key in stored if key.endswith(fp8.SCALE)]
        assert scaled and all(stored[key].dtype == torch.float8_e4m3fn and stored[key + fp8.SCALE].dtype == source.fp8.scale for key in scaled)
        assert any(stored[key].shape[axis] > block[axis] and stored[key].shape[axis] % block[axis] for key in scaled for axis in (0, 1))
        owners = {key: fp8.owner_scales(source.state[key], block, source.fp8.scale) for key in scaled}
        assert all(not torch.equal(owners[key], stored[key + fp8.SCALE]) for key in scaled)
        files = {key: file for file in source.folder.glob("*.safetensors") for key in hf_files.names(file)}
        assert any(files[key] != files[key + fp8.SCALE] for key in scaled)


def test_dequantized_and_quantized_numbers():
    """By hand: the product is taken in fp32 and rounded once; the rule has a floor, and rounds bf16 scales before dividing."""
    q = torch.tensor([[1.0, -448.0, 2.0**-9]]).to(torch.float8_e4m3fn)
    assert fp8.dequantize(q, torch.tensor([[0.1, 3.0]]), (1, 2)).tolist() == [[0.10009765625, -44.75, 3 * 2.0**-9]]
    tiny, plain = torch.tensor([[1e-6, 0.0]]), torch.tensor([[0.303, -0.1]])
    assert fp8.owner_scales(tiny, (1, 2), torch.float32).item() == (torch.tensor(1e-4) / 448).item()
    assert fp8.owner_scales(plain, (1, 2), torch.bfloat16).item() == 0.000675201416015625  # 0.303 / 448 = 0.00067633...
    # by that scale 0.303 is 448.76, over the top, and 0.1 is 148.1, between the codes 144 and 160
    assert fp8.codes(plain, torch.tensor([[0.000675201416015625]]), (1, 2)).float().tolist() == [[448.0, -144.0]]
