"""Nemotron-H and Nemotron-3: Mamba-2 beside attention, MLPs and experts, by the keys of megatron-core's HybridModel (data/requested_keys/
te.nemotron_h.txt, which the unit tests of the tables compare too): every tensor is found again part by part, by the definition of the model
alone. test_nemotron_h_next_core.py is the same with the real model."""
import json
import shutil

import pytest
import torch

from interop.conftest import DATA
from oracles import dcp, hf_files, nemotron_h

SIZES = nemotron_h.CONFIG
INNER, STATES = SIZES["mamba_num_heads"] * SIZES["mamba_head_dim"], SIZES["n_groups"] * SIZES["ssm_state_size"]
FORMS = nemotron_h.FORMS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made(name): (folder, its tensors)"""
    found = {}

    def get(name):
        if name not in found:
            pattern, latent, kinds, depths, spelled = FORMS[name]
            folder = tmp_path_factory.mktemp(name) / "hf"
            found[name] = folder, nemotron_h.make(folder, pattern, 70, latent, kinds, depths, spelled)
        return found[name]

    return get


def expected(name, state):
    """Megatron's tensors by key, from the definition of the model alone."""
    pattern, _, kinds, depths, _ = FORMS[name]
    out = {"embedding.word_embeddings.weight": state["backbone.embeddings.weight"], "decoder.final_norm.weight": state["backbone.norm_f.weight"],
           "output_layer.weight": state["lm_head.weight"]}
    for number, kind in enumerate(pattern):
        out |= block(kind, f"decoder.layers.{number}", f"backbone.layers.{number}", state)
    for number in range(depths * len(kinds)):
        depth, inner = divmod(number, len(kinds))
        out |= block(kinds[inner], f"mtp.layers.{depth}.mtp_model_layer.layers.{inner}", f"mtp.layers.{number}", state)
        for frame in ("eh_proj", "enorm", "hnorm", "final_layernorm"):
            if f"mtp.layers.{number}.{frame}.weight" in state:
                out[f"mtp.layers.{depth}.{frame}.weight"] = state[f"mtp.layers.{number}.{frame}.weight"]
    return out


def block(kind, key, name, state):
    def of(inner):
        return state[f"{name}.mixer.{inner}"]

    norm = state[f"{name}.norm.weight"]
    if kind == "M":
        z, x, b, c, dt = of("in_proj.weight").split([INNER, INNER, STATES, STATES, SIZES["mamba_num_heads"]])
        out = {f"in_proj.weight.{part}": rows for part, rows in zip(("z", "x", "B", "C", "dt"), (z, x, b, c, dt))}
        for what in ("weight", "bias"):
            parts = of(f"conv1d.{what}").split([INNER, STATES, STATES])
            out |= {f"conv1d.{what}.{part}": rows for part, rows in zip(("x", "B", "C"), parts)}
        out |= {"in_proj.layer_norm_weight": norm, "A_log": of("A_log").float(), "D": of("D").float(), "dt_bias": of("dt_bias"),
                "norm.weight": of("norm.weight"), "out_proj.weight": of("out_proj.weight")}
        return {f"{key}.mixer.{inner}": tensor for inner, tensor in out.items()}
    if kind == "*":
        groups = SIZES["num_key_value_heads"]
        q, k, v = (of(f"{part}_proj.weight").unflatten(0, (groups, -1)) for part in "qkv")
        return {f"{key}.self_attention.linear_qkv.layer_norm_weight": norm, f"{key}.self_attention.linear_proj.weight": of("o_proj.weight"),
                f"{key}.self_attention.linear_qkv.weight": torch.cat([q, k, v], dim=1).flatten(0, 1)}
    if kind == "-":
        return {f"{key}.mlp.linear_fc1.layer_norm_weight": norm, f"{key}.mlp.linear_fc1.weight": of("up_proj.weight"),
                f"{key}.mlp.linear_fc2.weight": of("down_proj.weight")}
    out = {"router.weight": of("gate.weight"), "router.expert_bias": of("gate.e_score_correction_bias").float()}
    for fc, part in (("linear_fc1", "up_proj"), ("linear_fc2", "down_proj")):
        out[f"experts.experts.{fc}.weight"] = torch.stack([of(f"experts.{expert}.{part}.weight") for expert in range(SIZES["n_routed_experts"])])
        out[f"shared_experts.{fc}.weight"] = of(f"shared_experts.{part}.weight")
    for latent in ("fc1_latent_proj.weight", "fc2_latent_proj.weight"):
        if f"{name}.mixer.{latent}" in state:
            out[latent] = of(latent)
    return {f"{key}.pre_mlp_layernorm.weight": norm} | {f"{key}.mlp.{inner}": tensor for inner, tensor in out.items()}


@pytest.mark.parametrize("name", FORMS)
def test_there_and_back(name, made, causeway, tmp_path):
    folder, state = made(name)
    causeway("convert-hf", folder, tmp_path / "root")
    assert not dcp.different(expected(name, state), dcp.read_tensors(tmp_path / "root" / "iter_0000000"))
    done = causeway("verify", folder, tmp_path / "root")
    assert "comparing bytes only" in done.stderr
    causeway("verify", folder, tmp_path / "root", "--mode", "logits", expect=5)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    for file in folder.iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes(), file.name


def test_keys_are_what_the_model_requires(made, causeway, tmp_path):
    causeway("convert-hf", made("latent")[0], tmp_path / "root")
    directory = tmp_path / "root" / "iter_0000000"
    lines = [f"tensor {key}" for key in dcp.read_tensors(directory)] + [f"object {key}" for key in dcp.object_keys(directory)]
    assert set(lines) == set((DATA / "requested_keys" / "te.nemotron_h.txt").read_text().splitlines())


def test_without_mtp(made, causeway, tmp_path):
    folder, state = made("latent")
    causeway("convert-hf", folder, tmp_path / "root", "--mtp", "drop")
    assert not any(key.startswith("mtp.") for key in dcp.read_tensors(tmp_path / "root" / "iter_0000000"))
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("mtp.")}
    assert not dcp.different(kept, hf_files.read_safetensors(tmp_path / "back"))


@pytest.mark.parametrize("name", FORMS)
def test_config_from_megatron_alone(name, made, causeway, tmp_path):
    """Megatron has A_log, D and the router's bias in F32, and nothing beside it says in what the source had them."""
    folder, state = made(name)
    causeway("convert-hf", folder, tmp_path / "root")
    shutil.rmtree(tmp_path / "root" / "causeway")
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--arch", "nemotron_h")
    exported = hf_files.read_safetensors(tmp_path / "hf")
    assert not dcp.different({key: tensor.float() for key, tensor in state.items()}, {key: tensor.float() for key, tensor in exported.items()})
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    pattern, latent, kinds, depths, _ = FORMS[name]
    assert (config["hybrid_override_pattern"], config["num_nextn_predict_layers"]) == (pattern, depths)
    assert config.get("mtp_hybrid_override_pattern", kinds) == kinds
    sparse = "E" in pattern or depths and "E" in kinds
    wanted = SIZES | dict(moe_latent_size=latent)
    known = {key: value for key, value in wanted.items() if key in config}
    assert {key: config[key] for key in known} == known
    assert known.keys() >= {"mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size", "head_dim"} and ("n_routed_experts" in known) == bool(sparse)


REFUSED = {
    "conv_kernel": 3, "use_conv_bias": False, "use_bias": True, "mlp_bias": True, "attention_bias": True, "mamba_hidden_act": "gelu",
    "mlp_hidden_act": "silu", "n_shared_experts": 2, "sliding_window": 8,
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_megatron_does_not_compute(key, made, causeway, tmp_path):
    folder = shutil.copytree(made("latent")[0], tmp_path / "hf")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: REFUSED[key]}))
    message = causeway("convert-hf", folder, tmp_path / "root", expect=5).stderr
    assert (key if key != "mlp_hidden_act" else "hidden_act") in message


@pytest.mark.parametrize("pattern, word", (("MG*E", "MG*E"), ("*E*E", "without Mamba-2")))
def test_other_layers(pattern, word, made, causeway, tmp_path):
    folder = shutil.copytree(made("latent")[0], tmp_path / "hf")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hybrid_override_pattern": pattern}))
    assert word in causeway("convert-hf", folder, tmp_path / "root", expect=5).stderr


def test_it_is_a_hybrid_model_already(made, causeway, tmp_path):
    assert "already" in causeway("convert-hf", made("mlp")[0], tmp_path / "root", "--layout", "hybrid", expect=5).stderr
