"""Ling 2.0 (BailingMoeV2), which transformers does not have: its layers compute what GLM-4.5's do, under other names and with q, k and v in
one tensor. So the main model's logits are transformers' Glm4Moe's, and multi-token prediction is megatron-core's, from tensors that
oracles/mapping.py moved. The names are those of the release's own modeling file."""
import json
import re
import shutil

import pytest
import torch

from interop import cases
from interop.test_forward import write_reference
from interop.test_table_mistakes import full_text
from oracles import dcp, hf_files, hf_models, mapping, sharding
from oracles.arch import awkward

ARCH = awkward("glm4_moe", tied=False, dtype="bfloat16", mtp=1)
NAMES = {"embed_tokens.": "word_embeddings.", "self_attn.o_proj.": "attention.dense.", "self_attn.q_norm.": "attention.query_layernorm.",
         "self_attn.k_norm.": "attention.key_layernorm.", "e_score_correction_bias": "expert_bias", "shared_head.norm.": "final_layernorm."}


def as_ling(tensors):
    """The same tensors under Ling's names; MTP has no copies of the embedding and the output layer."""
    out = {}
    for name, tensor in tensors.items():
        if re.search(r"layers\.\d+\.(embed_tokens|shared_head\.head)\.", name) or re.search(r"self_attn\.[kv]_proj", name):
            continue
        if "self_attn.q_proj" in name:
            tensor = torch.cat([tensors[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")])
            name = name.replace("self_attn.q_proj", "attention.query_key_value")
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        out[name] = tensor
    return out


def config_of_ling():
    moe = ARCH.moe
    return dict(
        architectures=["BailingMoeV2ForCausalLM"], model_type="bailing_moe_v2", hidden_act="silu", hidden_size=ARCH.hidden, num_hidden_layers=ARCH.layers,
        num_attention_heads=ARCH.heads, num_key_value_heads=ARCH.groups, head_dim=ARCH.head_dim, intermediate_size=ARCH.ffn, vocab_size=ARCH.vocab,
        max_position_embeddings=ARCH.positions, rms_norm_eps=ARCH.eps, rope_theta=ARCH.rope_base, partial_rotary_factor=ARCH.rotary, rope_scaling=None,
        tie_word_embeddings=False, torch_dtype=ARCH.dtype, use_qkv_bias=True, use_bias=False, use_qk_norm=True, num_experts=moe.experts,
        num_experts_per_tok=moe.topk, num_shared_experts=moe.shared, moe_intermediate_size=moe.ffn, n_group=moe.score_groups, topk_group=moe.chosen_groups,
        routed_scaling_factor=moe.scaling, norm_topk_prob=True, first_k_dense_replace=len(moe.dense), num_nextn_predict_layers=ARCH.mtp, attention_dropout=0.0)


@pytest.fixture(scope="module")
def ling(tmp_path_factory):
    """(folder, its tensors, Megatron's parameters, logits of the main model)"""
    made = hf_models.model(ARCH, seed=85)
    folder = hf_models.save(made, tmp_path_factory.mktemp("ling") / "model")
    main = hf_files.read_safetensors(folder)
    mtp = hf_files.mtp_tensors(ARCH, main, seed=86)
    state = as_ling(main | mtp)
    hf_files.write_safetensors(folder, state, 2)
    (folder / "config.json").write_text(json.dumps(config_of_ling()))
    return folder, state, mapping.to_megatron(ARCH, main | mtp), hf_models.logits(made, cases.tokens(ARCH))


@pytest.mark.parametrize("spec", cases.SPECS)
def test_there_and_back(spec, ling, causeway, forward, pools, tmp_path):
    folder, state, parameters, main = ling
    causeway("convert-hf", folder, tmp_path / "root", "--spec", spec)
    iteration = tmp_path / "root" / "iter_0000000"
    assert not dcp.different(sharding.dist_keys(ARCH, parameters, spec), dcp.read_tensors(iteration))
    ids = cases.tokens(ARCH)
    ((values, logits),) = pools[spec].run("load_and_run", arch=ARCH, directory=str(iteration), tokens=ids)
    assert not dcp.different({key: tensor.float() for key, tensor in parameters.items()}, values)
    cases.close(logits[:1], [main])
    expected = write_reference(tmp_path / "logits.safetensors", ids, logits)
    forward(folder, expected)
    forward(iteration, expected)
    causeway("verify", folder, tmp_path / "root")
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    for file in folder.iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes(), file.name

    shutil.copytree(tmp_path / "root", tmp_path / "alone", symlinks=True, ignore=shutil.ignore_patterns("causeway"))
    causeway("export-to-hf", tmp_path / "alone", tmp_path / "derived", "--arch", "bailing_moe_v2")
    assert not dcp.different(state, hf_files.read_safetensors(tmp_path / "derived"))
    config = json.loads((tmp_path / "derived" / "config.json").read_text())
    wanted = config_of_ling()
    assert {key: config[key] for key in wanted.keys() & config.keys() - {"rope_scaling"}} == {key: wanted[key] for key in wanted.keys() & config.keys() - {"rope_scaling"}}


def test_without_mtp(ling, causeway, tmp_path):
    folder, state, _, _ = ling
    causeway("convert-hf", folder, tmp_path / "root", "--mtp", "drop")
    assert not any(key.startswith("mtp.") for key in dcp.read_tensors(tmp_path / "root" / "iter_0000000"))
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(f"model.layers.{ARCH.layers}.")}
    assert not dcp.different(kept, hf_files.read_safetensors(tmp_path / "back"))


def test_heads_that_are_not_regrouped(ling, causeway, causeway_verify, tmp_path):
    """A table that copies q, k and v as they lie passes every check of shapes and bytes; the views show it."""
    folder, _, _, _ = ling
    wrong = tmp_path / "wrong.jsonc"
    text = full_text("bailing_moe_v2").replace('"fused_qkv"', '"copy"')
    wrong.write_text(text.replace(', {"groups": "kv_heads", "heads": "heads"}', "").replace('"groups": "kv_heads", "heads": "heads", ', ""))
    causeway("convert-hf", folder, tmp_path / "root", "--mapping", wrong)
    causeway("verify", folder, tmp_path / "root", "--mode", "hash")
    done = causeway_verify(folder, tmp_path / "root", expect=1)
    assert ".k" in done.stdout
