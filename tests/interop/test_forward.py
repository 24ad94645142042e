"""causeway-verify's forward pass against transformers' and megatron-core's own logits, main head and multi-token prediction."""
import json
import shutil

import pytest
import torch
import torch.distributed.checkpoint as torch_dcp
import yaml
from safetensors.torch import load_file, save_file

from interop import cases
from interop.conftest import DATA
from oracles import dcp, fixture_weights, hf_files, hf_models, mapping
from oracles.recorded import write as write_reference


@pytest.fixture(scope="session")
def references(sources, tmp_path_factory):
    """references(name, length) -> file with transformers' logits of the first tokens of the prompt, made once."""
    made = {}

    def get(name, length=24):
        if (name, length) not in made:
            source = sources(name)
            ids = cases.tokens(source.arch)[:length]
            made[name, length] = write_reference(tmp_path_factory.mktemp("reference") / f"{name}.safetensors", ids, source.logits(ids))
        return made[name, length]

    return get


def heads(done):
    return [line.split()[0] for line in done.stdout.splitlines() if "logits" in line.split()[0]]


@pytest.mark.parametrize("name", [*cases.CASES, *cases.FORWARD])
def test_hugging_face_view(name, forward, sources, references):
    done = forward(sources(name).folder, references(name))
    assert heads(done) == ["logits", *(f"mtp_logits.{depth}" for depth in range(sources(name).arch.mtp))]


# Megatron-Core has no counterpart for what the others choose; the converter says so.
CONVERTED = [*cases.CASES, "llama_biased", "seed_oss_unbiased", "llama_linear_rope", "qwen3_yarn", "qwen3_yarn_mscales", "mixtral_window", "ministral_alike",
             "mistral_window", "mistral_bare", "qwen3_moe_not_normalized", "deepseek_v3_one_group", "deepseek_v2_greedy", "glm4_moe_plain",
             "phi3_window", "gpt_oss", "gpt_oss_square", "gpt_oss_mxfp4", "llama4", *cases.OTHERS]


@pytest.mark.parametrize("name", CONVERTED)
def test_megatron_view_of_what_was_converted(name, forward, converted, references):
    forward(converted(name, "te"), references(name))


# The norms of results, as Megatron-Bridge and as mcore-bridge call them.
POST_NORMS = {"self_attention.linear_proj.post_layernorm.": "self_attention.post_self_attn_layernorm.",
              "mlp.linear_fc2.post_layernorm.": "mlp.post_mlp_layernorm."}


@pytest.mark.parametrize("name", ["glm4", "gemma2"])
def test_norms_of_results_in_the_other_spelling(name, forward, causeway, sources, converted, references, tmp_path):
    """The converter writes one of them; a trained checkpoint may have the other."""
    written, directory = converted(name, "te") / "iter_0000000", tmp_path / "root" / "iter_0000010"
    other = POST_NORMS | {theirs: ours for ours, theirs in POST_NORMS.items()}
    tensors = {}
    for key, tensor in dcp.read_tensors(written).items():
        tensors[next((key.replace(one, another) for one, another in other.items() if one in key), key)] = tensor
    assert len(tensors.keys() - dcp.read_tensors(written).keys()) == 2
    torch_dcp.save(tensors, storage_writer=torch_dcp.FileSystemWriter(directory), no_dist=True, planner=torch_dcp.DefaultSavePlanner(flatten_state_dict=False))
    for file in ("common.pt", "metadata.json", "run_config.yaml"):
        shutil.copy(written / file, directory)
    (tmp_path / "root" / "latest_checkpointed_iteration.txt").write_text("10")
    forward(tmp_path / "root", references(name))
    causeway("export-to-hf", tmp_path / "root", tmp_path / "hf", "--reference", sources(name).folder)
    assert not dcp.different(sources(name).state, cases.read_safetensors(tmp_path / "hf"))


@pytest.mark.parametrize("name", ["qwen2", "qwen3_moe_some_dense", "deepseek_v3"])
def test_megatron_view_of_the_local_specification(name, forward, converted, references):
    forward(converted(name, "local"), references(name))


def test_megatron_view_of_other_choices(forward, causeway, sources, references, tmp_path):
    """Padded vocabulary, keys per layer, gate and up of experts in turns, a module around the language model."""
    options = ["--vocab-rows", 200, "--layer-keys", "per-layer", "--glu-interleave", 14, "--name-prefix", "language_model."]
    causeway("convert-hf", sources("qwen3_moe").folder, tmp_path / "root", *options)
    forward(tmp_path / "root", references("qwen3_moe"))


@pytest.mark.parametrize("name", ["qwen3", "deepseek_v3_mtp3"])
@pytest.mark.parametrize("length", [1, 2])
def test_short_prompts(name, length, forward, sources, converted, references):
    """Shorter than the MTP depths too: those see the filler, token 0."""
    forward(sources(name).folder, references(name, length))
    forward(converted(name, "te"), references(name, length))


def written_by_megatron(pools, source, folder, spec, **choices):
    """A checkpoint that megatron-core saved, with the configuration that it ran."""
    arch = source.arch
    grouped = choices.get("grouped", False)
    parameters = [mapping.to_megatron(arch, source.state)]
    pools[spec].run("save", arch=arch, directory=str(folder), vocab_rows=arch.vocab, parameters=parameters, iteration=0, **choices)
    (model,) = pools[spec].run("settings", arch=arch, grouped=grouped)
    (folder / "run_config.yaml").write_text(yaml.safe_dump({"model": model}))
    return folder


WRITTEN = {
    "llama_tied_fp32": ("local", {}), "qwen2": ("te", {}), "qwen3": ("local", {"singleton": True}), "mixtral": ("te", {"grouped": True}),
    "qwen2_moe": ("te", {"grouped": True}),
    "qwen3_moe": ("local", {}), "qwen3_moe_some_dense": ("te", {}), "deepseek_v3": ("te", {"grouped": True}), "deepseek_v3_mtp3": ("local", {}),
    "deepseek_v3_full_queries": ("te", {}), "glm4_moe": ("te", {"grouped": True}), "nemotron": ("te", {}), "starcoder2": ("te", {}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_megatron_view_of_what_megatron_wrote(name, forward, pools, sources, tmp_path):
    """Megatron's own file, configuration and logits: nothing here passed through Causeway's converter."""
    spec, choices = WRITTEN[name]
    source = sources(name)
    folder = written_by_megatron(pools, source, tmp_path / "iter_0000000", spec, **choices)
    ids = cases.tokens(source.arch)
    ((_, logits),) = pools[spec].run("load_and_run", arch=source.arch, directory=str(folder), tokens=ids, grouped=choices.get("grouped", False))
    forward(folder, write_reference(tmp_path / "reference.safetensors", ids, logits))


FIXTURES = {
    "dense": fixture_weights.DENSE, "dense_tp2_resave": fixture_weights.DENSE, "dense_pp3_resave": fixture_weights.DENSE,
    "dense_singleton": fixture_weights.DENSE, "dense_tied_qknorm": fixture_weights.TIED_QKNORM,
}


@pytest.mark.parametrize("name", FIXTURES)
def test_what_several_ranks_wrote(name, forward, pools, tmp_path):
    """megatron-core's logits of the weights by rule; the checkpoints are cut for several ranks."""
    arch = FIXTURES[name]
    shutil.copytree(DATA / "megatron_written" / name, tmp_path / "root")
    (model,) = pools["local"].run("settings", arch=arch)
    (tmp_path / "root" / "iter_0000000" / "run_config.yaml").write_text(yaml.safe_dump({"model": model}))
    ids = cases.tokens(arch)
    (logits,) = pools["local"].run("run", arch=arch, parameters=fixture_weights.parameters(arch), tokens=ids)
    forward(tmp_path / "root", write_reference(tmp_path / "reference.safetensors", ids, logits))


BRIDGE = ["qwen3_dense", "llama_tied", "qwen3_moe", "deepseek_v3", "deepseek_v3_mtp2", "deepseek_v3_fp8"]


def reference_of_files(folder, work):
    """transformers' logits of a bundled folder, codes dequantized."""
    arch, state = cases.bridge_source(folder)
    plain = hf_files.copy_with_tensors(folder, work / "plain", state)
    config = json.loads((plain / "config.json").read_text())
    config.pop("quantization_config", None)  # the tensors no longer are
    (plain / "config.json").write_text(json.dumps(config))
    (plain / "model.safetensors.index.json").unlink(missing_ok=True)
    ids = cases.tokens(arch)
    return write_reference(work / "reference.safetensors", ids, hf_models.logits_with_mtp(arch, plain, ids))


@pytest.mark.parametrize("name", BRIDGE)
def test_what_bridge_wrote(name, forward, tmp_path):
    """Source and checkpoint of Megatron-Bridge's own import, by transformers' logits of the source."""
    fixture = DATA / "bridge_written" / name
    reference = reference_of_files(fixture / "hf", tmp_path)
    forward(fixture / "hf", reference)
    forward(fixture / "megatron", reference)


def test_partial_blocks_and_unequal_heads(forward, causeway, tmp_path):
    folder = DATA / "deepseek_v3_fp8" / "hf"
    reference = reference_of_files(folder, tmp_path)
    causeway("convert-hf", folder, tmp_path / "root")
    forward(folder, reference)
    forward(tmp_path / "root", reference)


@pytest.mark.parametrize("name", ["qwen3_tied_fp32", "deepseek_v3"])
def test_batches_and_hidden_states(name, forward, sources, converted, tmp_path):
    """Two prompts at once; after the last layer transformers gives the normed state only."""
    source = sources(name)
    prompts = [cases.tokens(source.arch), list(reversed(cases.tokens(source.arch)))]
    logits = [torch.stack(parts) for parts in zip(*map(source.logits, prompts))]
    states = hf_models.hidden_states(source.arch, source.plain, prompts)
    names = ["hidden_embed", *(f"hidden.{layer}" for layer in range(source.arch.layers - 1)), "hidden_final"]
    reference = write_reference(tmp_path / "reference.safetensors", prompts, logits, **dict(zip(names, states, strict=True)))
    for folder in (source.folder, converted(name, "te")):
        done = forward(folder, reference)
        assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("hidden")] == names
        assert "48/48" in done.stdout


# ---- in BF16 ----

# As in docs/verification.md: another expert for a token is no mistake there.
IN_BF16 = ["llama", "qwen3", "qwen3_moe", "mixtral", "deepseek_v3", "deepseek_v3_mtp3"]


@pytest.mark.parametrize("name", IN_BF16)
def test_bf16_meets_the_reference(name, forward, sources, references):
    assert heads(forward(sources(name).folder, references(name), "--compute", "bf16"))[0] == "logits"


@pytest.mark.parametrize("name", ["qwen3", "deepseek_v3"])
def test_bf16_notices_a_wrong_weight(name, forward, sources, references, tmp_path):
    """Gate and up of one layer."""
    shutil.copytree(sources(name).folder, tmp_path / "hf")
    pair = [f"model.layers.0.mlp.{part}_proj.weight" for part in ("gate", "up")]
    shards = {path: load_file(path) for path in (tmp_path / "hf").glob("*.safetensors")}
    before = {key: tensor for state in shards.values() for key, tensor in state.items()}
    for path, state in shards.items():
        save_file({key: before[pair[1 - pair.index(key)] if key in pair else key] for key in state}, path, metadata={"format": "pt"})
    done = forward(tmp_path / "hf", references(name), "--compute", "bf16", expect=1)
    assert next(line for line in done.stdout.splitlines() if line.startswith("logits")).endswith("DIFFERENT")


# ---- what must not pass ----


def exchanged(folder, target, pairs):
    """A copy of a single-file Hugging Face folder with tensors under each other's names."""
    shutil.copytree(folder, target)
    state = load_file(target / "model.safetensors")
    for a, b in pairs:
        state[a], state[b] = state[b], state[a]
    save_file(state, target / "model.safetensors")
    return target


def test_exchanged_gate_and_up_differ(forward, sources, references, tmp_path):
    layer = "model.layers.1.mlp."
    folder = exchanged(sources("qwen3").folder, tmp_path / "hf", [(layer + "gate_proj.weight", layer + "up_proj.weight")])
    done = forward(folder, references("qwen3"), expect=1)
    assert "logits" in done.stdout and "DIFFERENT" in done.stdout


def test_exchanged_mtp_norms_differ_in_the_mtp_head_only(forward, sources, references, tmp_path):
    depth = "model.layers.3."
    folder = exchanged(sources("deepseek_v3_mtp2_fp32").folder, tmp_path / "hf", [(depth + "enorm.weight", depth + "hnorm.weight")])
    done = forward(folder, references("deepseek_v3_mtp2_fp32"), expect=1)
    different = {line.split()[0]: line.endswith("DIFFERENT") for line in done.stdout.splitlines() if "logits" in line.split()[0]}
    assert different == {"logits": False, "mtp_logits.0": True, "mtp_logits.1": True}


def test_rows_after_a_near_tie_are_not_judged(forward, sources, tmp_path):
    source = sources("qwen3")
    ids = cases.tokens(source.arch)
    (logits,) = source.logits(ids)
    logits[-1] += 1
    margin = torch.ones(len(ids))
    forward(source.folder, write_reference(tmp_path / "all", ids, [logits], topk_margin=margin), expect=1)
    margin[-1] = 5e-5
    done = forward(source.folder, write_reference(tmp_path / "last", ids, [logits], topk_margin=margin))
    assert "1 of 24 rows follow a near-tie" in done.stdout
    margin[-2] = 5e-5
    done = forward(source.folder, write_reference(tmp_path / "two", ids, [logits], topk_margin=margin), expect=3)
    assert "topk_margin" in done.stderr


# name: (change of the reference's tensors, part of the message)
WRONG_REFERENCES = {
    "token_out_of_range": (lambda t: t["input_ids"].fill_(157), "token 157 of the prompt is not in the vocabulary of 157"),
    "negative_token": (lambda t: t["input_ids"].fill_(-1), "token -1 of the prompt"),
    "no_prompt": (lambda t: t.pop("input_ids"), "input_ids: missing"),
    "empty_prompt": (lambda t: t.update(input_ids=torch.zeros(0, dtype=torch.long)), "not a prompt"),
    "no_logits": (lambda t: t.pop("logits"), "logits: missing"),
    "another_vocabulary": (lambda t: t.update(logits=t["logits"][:, :-1].contiguous()), "[24, 156], this model and prompt make F32 [24, 157]"),
    "an_unknown_depth": (lambda t: t.update({"mtp_logits.0": t["logits"].clone()}), "the reference has mtp_logits.0, the model has 0 MTP depths"),
    "a_far_depth": (lambda t: t.update({"mtp_logits.7": t["logits"].clone()}), "the reference has mtp_logits.7, the model has 0 MTP depths"),
    "an_unknown_layer": (lambda t: t.update({"hidden.3": torch.zeros(24, 72)}), "the reference has hidden.3, the model has 3 layers"),
    "a_layer_in_words": (lambda t: t.update({"hidden.last": torch.zeros(24, 72)}), "the reference has hidden.last, the model has 3 layers"),
    "half_precision": (lambda t: t.update(logits=t["logits"].half()), "logits: F16 [24, 157], this model and prompt make F32 [24, 157]"),
    "not_a_number": (lambda t: t["logits"][3, :2].fill_(float("nan")), "logits: 2 of 3768 values are not finite"),
    "other_margins": (lambda t: t.update(topk_margin=torch.ones(23)), "topk_margin: F32 [23], not F32 [24]"),
    "too_long": (lambda t: t.update(input_ids=torch.zeros(2**20 + 1, dtype=torch.long)), "input_ids: 1048577 tokens, more than 1048576"),
}


@pytest.mark.parametrize("name", WRONG_REFERENCES)
def test_wrong_reference(name, forward, sources, references, tmp_path):
    change, message = WRONG_REFERENCES[name]
    tensors = load_file(references("qwen3"))
    change(tensors)
    save_file(tensors, tmp_path / "reference.safetensors")
    done = forward(sources("qwen3").folder, tmp_path / "reference.safetensors", expect=3)
    assert message in done.stderr and len(done.stderr.splitlines()) <= 2
