"""Nemotron-H and Nemotron-3: Mamba-2 beside attention, MLPs and experts, by the keys of megatron-core's HybridModel (data/requested_keys/
te.nemotron_h.txt, which the unit tests of the tables compare too): every tensor is found again part by part, by the definition of the model
alone. The forward pass of both views is held against transformers' logits, of multi-token prediction against transformers' blocks in
megatron-core's frame (oracles/nemotron_h.py). test_nemotron_h_next_core.py has the real model of megatron-core."""
import json
import shutil

import pytest
import torch
import yaml

from interop.conftest import DATA
from interop.test_forward import heads, write_reference
from interop.test_forward_views import EQUAL, verdicts
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
    assert "forward        equal, bit for bit" in done.stdout and "configuration  equal, but for" in done.stdout
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


# ---- the forward pass ----


def prompt(length, seed=3):
    return torch.randint(0, SIZES["vocab_size"], (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.fixture(scope="module")
def converted(made, causeway, tmp_path_factory):
    """converted(name): the root that convert-hf wrote."""
    found = {}

    def get(name):
        if name not in found:
            found[name] = tmp_path_factory.mktemp(f"megatron-{name}") / "root"
            causeway("convert-hf", made(name)[0], found[name])
        return found[name]

    return get


@pytest.fixture(scope="module")
def references(made, tmp_path_factory):
    """references(name, length) -> file with the logits of a prompt, made once."""
    found = {}

    def get(name, length=24):
        if (name, length) not in found:
            ids = prompt(length)
            found[name, length] = write_reference(tmp_path_factory.mktemp("reference") / f"{name}.safetensors", ids, nemotron_h.logits(made(name)[0], ids))
        return found[name, length]

    return get


@pytest.mark.parametrize("name", FORMS)
def test_both_views(name, made, converted, references, forward):
    """Multi-token prediction is transformers' blocks in megatron-core's frame."""
    for folder in (made(name)[0], converted(name)):
        assert heads(forward(folder, references(name))) == ["logits", *(f"mtp_logits.{depth}" for depth in range(FORMS[name][3]))]


@pytest.mark.parametrize("name", ["latent", "words"])
@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 300])
def test_lengths_around_a_chunk(name, length, made, converted, references, forward):
    """Mamba-2 goes token by token with one token, by chunks of 128 with more, the last as long as it is."""
    forward(made(name)[0], references(name, length))
    forward(converted(name), references(name, length))


def test_experts_together(made, references, forward, causeway, tmp_path):
    """As the modules of transformers 5 have them, and under its prefix."""
    folder, state = made("latent")
    together, parts = {}, {}
    for name, tensor in state.items():
        name = name.replace("backbone.", "model.", 1)
        if ".mixer.experts." in name:
            module, rest = name.split(".mixer.experts.")
            expert, role, _ = rest.split(".")
            parts.setdefault(f"{module}.mixer.experts.{role}", {})[int(expert)] = tensor
        else:
            together[name] = tensor
    together |= {name: torch.stack([of[expert] for expert in sorted(of)]) for name, of in parts.items()}
    shutil.copytree(folder, tmp_path / "hf", ignore=shutil.ignore_patterns("*.safetensors*"))
    hf_files.write_safetensors(tmp_path / "hf", together, 1)
    forward(tmp_path / "hf", references("latent"))
    causeway("convert-hf", tmp_path / "hf", tmp_path / "root")
    assert "forward        equal, bit for bit" in causeway("verify", tmp_path / "hf", tmp_path / "root").stdout


def test_the_arguments_say_what_run_config_says(converted, causeway_verify, tmp_path):
    shutil.copytree(converted("latent"), tmp_path / "root", symlinks=True)
    (tmp_path / "root" / "iter_0000000" / "run_config.yaml").unlink()
    assert verdicts(causeway_verify(converted("latent"), tmp_path / "root")) == EQUAL


def test_without_mtp_logits(made, references, causeway, tmp_path):
    causeway("convert-hf", made("latent")[0], tmp_path / "root", "--mtp", "drop")
    done = causeway("verify", made("latent")[0], tmp_path / "root")
    assert "forward        equal, bit for bit" in done.stdout and heads(done) == ["logits"]


def test_some_layers_and_layer_by_layer(made, converted, causeway_verify):
    done = causeway_verify(made("latent")[0], converted("latent"), "--layers", "1:3")
    assert "PARTIAL" in done.stdout and "hidden.2" in done.stdout and "hidden.3" not in done.stdout
    causeway_verify(made("latent")[0], converted("latent"), "--layers-input", "seeded")


@pytest.fixture(scope="module")
def short_steps(made, tmp_path_factory):
    """A model most of whose time steps are shorter than transformers' limit."""
    folder, state = made("words")
    changed = shutil.copytree(folder, tmp_path_factory.mktemp("short") / "hf", ignore=shutil.ignore_patterns("*.safetensors*"))
    steps = {name: tensor - 7 for name, tensor in state.items() if name.endswith(".dt_bias")}
    hf_files.write_safetensors(changed, state | steps, 1)
    return changed


def test_time_steps_that_transformers_alone_limits(short_steps, causeway, causeway_verify, forward, tmp_path):
    """Each view computes what its runtime does; beside each other neither limits them, so that everything else is compared bit for bit."""
    ids = prompt(24)
    limited = write_reference(tmp_path / "limited.safetensors", ids, nemotron_h.logits(short_steps, ids))
    free = shutil.copytree(short_steps, tmp_path / "free")
    config = json.loads((free / "config.json").read_text())
    (free / "config.json").write_text(json.dumps(config | dict(time_step_min=0.0)))
    unlimited = write_reference(tmp_path / "unlimited.safetensors", ids, nemotron_h.logits(free, ids))
    causeway("convert-hf", short_steps, tmp_path / "root")
    forward(short_steps, limited)
    forward(tmp_path / "root", unlimited)
    forward(short_steps, unlimited, expect=1)
    forward(tmp_path / "root", limited, expect=1)
    done = causeway_verify(short_steps, tmp_path / "root")
    assert verdicts(done) == EQUAL and "forward        equal, bit for bit" in done.stdout
    assert "configuration  equal, but for 2 that the conversion warned of" in done.stdout
    assert "  layers.0.attention.least_step: 0.001 and 0" in done.stdout and "  mtp.0.attention.least_step: 0.001 and 0" in done.stdout


def test_groups_that_no_tensor_shows(made, converted, causeway_verify, tmp_path):
    """One group of twice the channels has tensors of the same shapes."""
    shutil.copytree(converted("words"), tmp_path / "root", symlinks=True)
    path = tmp_path / "root" / "iter_0000000" / "run_config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"] |= dict(mamba_num_groups=1, mamba_state_dim=2 * SIZES["ssm_state_size"])
    path.write_text(yaml.safe_dump(config))
    done = causeway_verify(made("words")[0], tmp_path / "root", expect=1)
    assert verdicts(done) == {"configuration": "DIFFERENT", "tensors": "equal", "forward": "DIFFERENT"}
    assert "layers.0.attention.groups: 2 and 1" in done.stdout


LAYER, DEPTH = "backbone.layers.0.mixer.", "mtp.layers.0.mixer."
MISTAKES = {
    "decay_and_skip": (LAYER + "A_log", LAYER + "D"),
    "the_steps_of_two_mixers": (LAYER + "dt_bias", DEPTH + "dt_bias"),
    "the_projections_of_two_mixers": (LAYER + "in_proj.weight", DEPTH + "in_proj.weight"),
    "the_norms_of_two_mixers": (LAYER + "norm.weight", DEPTH + "norm.weight"),
    "two_experts": ("backbone.layers.1.mixer.experts.0.up_proj.weight", "backbone.layers.1.mixer.experts.1.up_proj.weight"),
    "the_latent_projections_of_two_layers": ("backbone.layers.1.mixer.fc1_latent_proj.weight", "mtp.layers.1.mixer.fc1_latent_proj.weight"),
    "the_norms_of_embedding_and_hidden_state": ("mtp.layers.0.enorm.weight", "mtp.layers.0.hnorm.weight"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_exchanged_tensors_differ(name, made, references, forward, tmp_path):
    folder, state = made("words")
    one, other = MISTAKES[name]
    shutil.copytree(folder, tmp_path / "hf", ignore=shutil.ignore_patterns("*.safetensors*"))
    hf_files.write_safetensors(tmp_path / "hf", state | {one: state[other], other: state[one]}, 1)
    done = forward(tmp_path / "hf", references("words"), expect=1)
    assert any(line.startswith(("logits", "mtp_logits")) and line.endswith("DIFFERENT") for line in done.stdout.splitlines())


def test_a_step_is_refused(made, converted, causeway_verify):
    for sides in ([made("mlp")[0]], [made("mlp")[0], converted("mlp")]):
        done = causeway_verify(*sides, "--mode", "train-step", expect=5)
        assert "train-step: no training step of Mamba-2 is computed here" in done.stderr


@pytest.mark.parametrize("kinds", ["E*", "MM"])
def test_depths_that_are_not_computed(kinds, made, causeway, causeway_verify, tmp_path):
    """They convert; the forward pass names them, and does without."""
    folder = tmp_path / "hf"
    nemotron_h.make(folder, "M*E", 71, None, kinds, 1)
    causeway("convert-hf", folder, tmp_path / "root")
    done = causeway("verify", folder, tmp_path / "root", expect=5)
    assert "mtp_hybrid_override_pattern" in done.stderr and "--mtp drop leaves it out" in done.stderr
    causeway("verify", folder, tmp_path / "root", "--mode", "hash")
