"""Qwen3.5, 3.6 and Qwen3-Next: the instruments, without Causeway. `oracles/qwen3_5.py` is right because real megatron-core and
real transformers compute the same logits of the weights it carries over, and because it equals what real Bridge wrote (the
vision tower, which megatron-core does not have, and both prefixes too)."""
import pytest
import torch

from interop import cases, qwen3_5_cases
from interop.conftest import DATA
from interop.test_fp8 import digests
from oracles import dcp, qwen3_5, sharding
from oracles.layout import Layout

BRIDGE = ["qwen3_5_vl", "qwen3_5_moe_vl", "qwen3_5_moe_text", "qwen3_6_moe_vl"]


@pytest.mark.parametrize("name", BRIDGE)
def test_mapping_is_bridges(name):
    """Bridge was told to write bf16: each value rounded once, that of linear_attn.norm after the subtraction."""
    source = qwen3_5_cases.bridge_source(DATA / "bridge_written" / name / "hf")
    expected = {key: tensor.to(torch.bfloat16) for key, tensor in qwen3_5_cases.dist_keys(source).items()}
    assert not dcp.different(expected, dcp.read_tensors(DATA / "bridge_written" / name / "megatron" / "iter_0000000"))


@pytest.mark.parametrize("bundled", qwen3_5_cases.BUNDLED)
def test_fixture_is_what_the_script_makes(bundled, qwen_sources):
    assert digests(DATA / bundled / "hf") == digests(qwen_sources(qwen3_5_cases.BUNDLED[bundled]).folder)


@pytest.mark.parametrize("name", qwen3_5_cases.SAME_FUNCTION)
def test_mapped_weights_give_the_logits_of_transformers(name, qwen_sources, pools):
    source = qwen_sources(name)
    ids = cases.tokens(source.arch)
    (logits,) = pools["te"].run("run", arch=source.arch, parameters=qwen3_5.to_megatron(source.arch, source.state), tokens=ids)
    cases.close(logits, source.logits(ids))


@pytest.mark.parametrize("name", qwen3_5_cases.CASES)
def test_keys_are_what_the_model_asks_for(name, qwen_sources, pools):
    source = qwen_sources(name)
    ((keys, _),) = pools["te"].run("requested_keys", arch=source.arch)
    assert {source.prefix + key for key in keys} == qwen3_5_cases.dist_keys(source, vision=False).keys()


@pytest.mark.parametrize("name", qwen3_5_cases.CASES)
def test_mapping_inverts(name, qwen_sources):
    """But for the norms whose - 1 is inexact, which no inverse can give back."""
    source = qwen_sources(name)
    back = qwen3_5.to_hf(source.arch, qwen3_5.to_megatron(source.arch, source.state), source.state)
    differ = dcp.different(source.state, back)
    assert bool(differ) == source.form.witnesses and all("linear_attn.norm.weight: " in line for line in differ), differ


@pytest.mark.parametrize("name", ["dense_tied", "moe"])
def test_sharded_keys_are_megatron_cores(name, qwen_sources, pools, tmp_path):
    """Two tensor-parallel ranks, each filled with its share, write the tensors of the mapping: GatedDeltaNet's parts are
    spread each alone."""
    source, layout = qwen_sources(name), Layout(tp=2)
    full = qwen3_5.to_megatron(source.arch, source.state)
    parts = [{key: sharding.shard(key, value, layout, rank, 158, arch=source.arch) for key, value in full.items()} for rank in range(layout.world)]
    pools["te"].run("save", layout=layout, arch=source.arch, directory=str(tmp_path / "written"), vocab_rows=158, parameters=parts, iteration=1)
    padded = {key: sharding.shard(key, value, Layout(), 0, 158) for key, value in full.items()}
    expected = {key: tensor.to(torch.bfloat16) for key, tensor in sharding.dist_keys(source.arch, padded).items()}  # the model's dtype
    assert not dcp.different(expected, dcp.read_tensors(tmp_path / "written"))


# ---- negative controls: mistakes the logits must show ----


def exchanged(name, other):
    def edit(state, arch):
        state[name], state[other] = state[other], state[name]
    return edit


def halves(name, dim=0):
    def edit(state, arch):
        first, second = state[name].chunk(2, dim)
        state[name] = torch.cat([second, first], dim)
    return edit


def queries_and_gates(state, arch):
    name = "model.language_model.layers.2.self_attn.q_proj.weight"
    state[name] = state[name].unflatten(0, (arch.heads, 2, arch.head_dim)).flip(1).flatten(0, 2)


def heads_in_a_group(state, arch):
    name = "model.language_model.layers.2.self_attn.q_proj.weight"
    state[name] = state[name].unflatten(0, (arch.groups, arch.heads // arch.groups, -1)).roll(1, 1).flatten(0, 2)


def parts_of_in_proj(first, second):
    def edit(state, arch):
        name = "model.language_model.layers.1.linear_attn.in_proj_qkv.weight"
        parts = dict(zip("qkv", state[name].split([arch.gdn.keys, arch.gdn.keys, arch.gdn.values])))
        parts[first], parts[second] = parts[second], parts[first]
        state[name] = torch.cat([parts[x] for x in "qkv"])
    return edit


def norm_without_its_one(state, arch):
    name = "model.language_model.layers.0.linear_attn.norm.weight"
    state[name] = state[name] - 1


def rotated_experts(prefix):
    def edit(state, arch):
        for name in (prefix + "mlp.experts.gate_up_proj", prefix + "mlp.experts.down_proj"):
            state[name] = state[name].roll(1, 0)
    return edit


_L = "model.language_model.layers."
MISTAKES = {
    "query and gate": queries_and_gates, "heads in a group": heads_in_a_group, "query and key": parts_of_in_proj("q", "k"),
    "z": halves(_L + "0.linear_attn.in_proj_z.weight"), "alpha and beta": exchanged(_L + "0.linear_attn.in_proj_a.weight", _L + "0.linear_attn.in_proj_b.weight"),
    "A_log and dt_bias": exchanged(_L + "3.linear_attn.A_log", _L + "3.linear_attn.dt_bias"), "norm without its one": norm_without_its_one,
    "eh_proj halves": halves("mtp.fc.weight", 1), "norms of MTP": exchanged("mtp.pre_fc_norm_embedding.weight", "mtp.pre_fc_norm_hidden.weight"),
    "final norms": exchanged("mtp.norm.weight", "model.language_model.norm.weight"), "packed experts": rotated_experts(_L + "4."),
    "gate and up": lambda state, arch: state.update({_L + "2.mlp.experts.gate_up_proj": state[_L + "2.mlp.experts.gate_up_proj"].roll(arch.moe.ffn, 1)}),
    "layers": exchanged(_L + "0.linear_attn.out_proj.weight", _L + "1.linear_attn.out_proj.weight"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_shows_in_the_logits(mistake, qwen_sources, pools):
    source = qwen_sources("moe")
    ids, state = cases.tokens(source.arch), dict(source.state)
    MISTAKES[mistake](state, source.arch)
    (logits,) = pools["te"].run("run", arch=source.arch, parameters=qwen3_5.to_megatron(source.arch, state), tokens=ids)
    assert max(cases.distance(logits, source.logits(ids))) > 10


