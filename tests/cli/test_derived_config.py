"""An export of a checkpoint alone, with neither sidecar nor reference: config.json is made of what the checkpoint says of itself."""
import json
import shutil

import pytest
from common_state import CommonState, speak_as_megatron
from helpers import DATA, convert, copy_tree, export, hashes, nothing_written, run
from safetensors_raw import Model

FOLDERS = {
    **{path.parent.name: path for path in sorted((DATA / "bridge_written").glob("*/hf"))},
    **{f"forms_{path.parent.name}": path for path in sorted((DATA / "qwen3_5_forms").glob("*/hf"))},
    "deepseek_v4": DATA / "deepseek_v4_fp8fp4" / "hf",
    "qwen3_6_moe": DATA / "qwen3_6_moe" / "hf",
}
# Those that another architecture has the same fields and tensors as.
ALIKE = {"llama_tied": ("llama", {"LlamaForCausalLM", "MinistralForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM", "SeedOssForCausalLM"}),
         "qwen3_5_moe_text": ("qwen3_5", {"Qwen3_5MoeForCausalLM", "Qwen3NextForCausalLM"})}


def arch_of(name):
    return ["--arch", ALIKE[name][0]] if name in ALIKE else []


@pytest.fixture
def alone(tmp_path):
    """alone(name, convert-hf's options): a checkpoint with nothing beside it that tells of Hugging Face."""

    def make(name, *options):
        convert(FOLDERS[name], tmp_path / "root", *options)
        shutil.rmtree(tmp_path / "root" / "causeway")
        return tmp_path / "root"

    return make


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def text_config(folder):
    whole = config_of(folder)
    return {**whole, **whole.get("text_config", {})}


# Of what a checkpoint does not say, or another spelling of the same.
NOT_COMPARED = {
    "architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "use_cache", "initializer_range", "bos_token_id", "eos_token_id",
    "attention_bias", "quantization_config", "expert_dtype", "text_config", "vision_config", "image_token_id", "video_token_id", "vision_start_token_id",
    "vision_end_token_id", "full_attention_interval", "layer_types", "rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor", "pretraining_tp",
    "ep_size", "seq_aux", "moe_layer_freq", "output_router_logits", "mtp_use_dedicated_embeddings", "mamba_ssm_dtype", "hc_eps", "intermediate_size"}


@pytest.mark.parametrize("parser", [False, True], ids=["converted", "arguments"])
@pytest.mark.parametrize("name", FOLDERS)
def test_round_trip(name, parser, alone, tmp_path):
    """The same tensors, and a config.json that says the same; also where only the arguments of Megatron-LM's parser say it."""
    root = alone(name)
    if parser:
        speak_as_megatron(root, vocab_size=None)
    done = export(root, tmp_path / "back", *arch_of(name), "--report", tmp_path / "report.json")
    before, after = text_config(FOLDERS[name]), config_of(tmp_path / "back")
    assert {key: (before[key], after.get(key)) for key in before if key not in NOT_COMPARED and before[key] != after.get(key)} == {}
    assert "quantization_config" not in after and after["torch_dtype"] == "bfloat16"
    assert after["architectures"][0].endswith("ForCausalLM")
    assert f"derived as {after['architectures'][0]} from the arguments in the common state" in done.out
    assert "--tokenizer" in done.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["derived_config"] == {"architecture": after["architectures"][0],
                                        "from_tensors": [f"vocab_size {before['vocab_size']}"] if parser else []}
    assert {path.name for path in (tmp_path / "back").iterdir()} <= {"config.json", "model.safetensors"}
    # It converts to the same checkpoint, but for a vision tower, and both say the same of the model.
    if "vision_config" not in config_of(FOLDERS[name]):
        run("verify", tmp_path / "back", root, "--mode", "hash", expect=0)
    convert(tmp_path / "back", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "causeway")
    export(tmp_path / "again", tmp_path / "twice", "--arch", after["model_type"])
    assert config_of(tmp_path / "twice") == after
    assert (tmp_path / "twice" / "model.safetensors").read_bytes() == (tmp_path / "back" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["llama_tied", "qwen3_dense", "qwen3_moe", "deepseek_v3", "deepseek_v3_mtp2", "forms_next", "forms_tied_text"])
def test_bytes_of_the_source(name, alone, tmp_path):
    export(alone(name), tmp_path / "back", *arch_of(name))

    def tensors(folder):
        return {name: tensor for shard in Model(folder).shards.values() for name, tensor in shard.items()}

    assert tensors(tmp_path / "back") == tensors(FOLDERS[name])


@pytest.mark.parametrize("name", ALIKE)
def test_several_fit(name, alone, tmp_path):
    root = alone(name)
    with nothing_written(tmp_path):
        done = run("export-to-hf", root, tmp_path / "back", expect=2)
    first, hint = done.err.splitlines()
    assert set(first.rpartition(": ")[2].split(", ")) == ALIKE[name][1] and "--arch" in hint and "--reference" in hint


def test_as_another_that_fits(alone, tmp_path):
    """Which of those alike it is, the user says."""
    export(alone("llama_tied"), tmp_path / "back", "--arch", "MistralForCausalLM")
    config = config_of(tmp_path / "back")
    assert config["architectures"] == ["MistralForCausalLM"] and config["sliding_window"] is None


WRONG = {
    "no such feature": ("qwen3_dense", "llama", {}, 3, "qk_layernorm: checkpoint true, config.json false"),
    "no such attention": ("qwen3_dense", "deepseek_v3", {}, 3, "is missing"),
    "no experts": ("qwen3_dense", "qwen3_moe", {}, 3, "moe_ffn_hidden_size is missing"),
    "unknown": ("qwen3_dense", "falcon", {}, 5, "falcon"),
    "other activation": ("qwen3_dense", "qwen3", dict(swiglu=False, squared_relu=True), 5, "squared_relu"),
    "other norm": ("qwen3_dense", "qwen3", dict(normalization="LayerNorm"), 3, "normalization: checkpoint LayerNorm"),
    "other sizes": ("qwen3_dense", "qwen3", dict(num_attention_heads=10), 3, "tensors do not fit the table"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_architecture_that_does_not_fit(case, alone, tmp_path):
    """With its name, why; without, that none does."""
    name, arch, arguments, code, words = WRONG[case]
    root = alone(name)
    speak_as_megatron(root, **arguments)
    with nothing_written(tmp_path):
        done = run("export-to-hf", root, tmp_path / "back", "--arch", arch, expect=code)
        assert words in done.err, done
        if arguments:
            done = run("export-to-hf", root, tmp_path / "back", expect=2)
            assert "no architecture fits" in done.err and "--reference" in done.err


def test_a_field_that_is_not_said(alone, tmp_path):
    root = alone("qwen3_dense")
    speak_as_megatron(root)
    common = CommonState(root)
    for field in ("layernorm_epsilon", "norm_epsilon"):
        delattr(common.state["args"], field)
    common.save()
    done = run("export-to-hf", root, tmp_path / "back", "--arch", "qwen3", expect=3)
    assert "layernorm_epsilon is missing" in done.err and "--reference" in done.err


@pytest.mark.parametrize("said", ["nothing", "no number of heads"])
def test_no_statement(said, alone, tmp_path):
    root = alone("qwen3_dense")
    speak_as_megatron(root)
    common = CommonState(root)
    if said == "nothing":
        del common.state["args"]
    else:
        common.state["args"].num_attention_heads = None
    common.save()
    done = run("export-to-hf", root, tmp_path / "back", "--arch", "qwen3", expect=2)
    assert "nothing says what the Hugging Face side looks like" in done.err and "--reference" in done.err


def test_without_its_output_layer(alone, tmp_path):
    """A checkpoint that says it has one: nothing random comes in its place."""
    root = alone("llama_tied")
    speak_as_megatron(root, untie_embeddings_and_output_weights=True)
    done = run("export-to-hf", root, tmp_path / "back", "--arch", "llama", expect=3)
    assert "1 missing (output_layer.weight)" in done.err


def test_vocabulary(alone, tmp_path):
    """The tokens that the checkpoint counts, or the rows that the tensors have; --vocab-rows decides."""
    root = alone("qwen3_dense", "--vocab-rows", "640")
    rows = config_of(FOLDERS["qwen3_dense"])["vocab_size"]
    speak_as_megatron(root, make_vocab_size_divisible_by=320)
    done = export(root, tmp_path / "said")
    assert config_of(tmp_path / "said")["vocab_size"] == rows and f"{rows} kept" in done.out
    common = CommonState(root)
    common.state["args"].vocab_size = None
    common.save()
    done = export(root, tmp_path / "stored")
    assert config_of(tmp_path / "stored")["vocab_size"] == 640 and "vocab_size 640, as the tensors have it" in done.out
    export(root, tmp_path / "asked", "--vocab-rows", str(rows))
    assert config_of(tmp_path / "asked") == config_of(tmp_path / "said")
    assert hashes(tmp_path / "asked") == hashes(tmp_path / "said")


def test_without_mtp(alone, tmp_path):
    root = alone("deepseek_v3")
    export(root, tmp_path / "back", "--mtp", "drop")
    assert config_of(tmp_path / "back")["num_nextn_predict_layers"] == 0
    common = CommonState(root)
    assert common.state["args"].mtp_num_layers == 1
    del common.state["args"].mtp_num_layers  # then the tensors say how many
    common.save()
    (root / "iter_0000000" / "run_config.yaml").unlink()
    export(root, tmp_path / "found")
    assert config_of(tmp_path / "found")["num_nextn_predict_layers"] == 1


def test_dtype(alone, tmp_path):
    root = alone("qwen3_dense", "--dtype", "fp32")
    export(root, tmp_path / "back")
    assert config_of(tmp_path / "back")["torch_dtype"] == "float32"
    export(root, tmp_path / "narrow", "--dtype", "fp16")
    assert config_of(tmp_path / "narrow")["torch_dtype"] == "float16"


def test_vision_tower(alone, tmp_path):
    """Of a multimodal checkpoint the text model; --reference brings back the whole."""
    root = alone("qwen3_5_vl")
    done = export(root, tmp_path / "text", "--report", tmp_path / "report.json")
    assert "the text model on its own: 21 tensors of other parts left out; a vision tower needs --reference" in done.out
    assert json.loads((tmp_path / "report.json").read_text())["dropped_part_tensors"] == 21
    export(root, tmp_path / "explicit", "--parts", "text")
    assert hashes(tmp_path / "explicit") == hashes(tmp_path / "text")
    export(root, tmp_path / "whole", "--reference", FOLDERS["qwen3_5_vl"])
    assert hashes(tmp_path / "whole") == hashes(FOLDERS["qwen3_5_vl"])


# ---- --tokenizer ----


@pytest.fixture
def tokenizer(tmp_path):
    folder = tmp_path / "tokenizer"
    (folder / "additional_chat_templates").mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja", "additional_chat_templates/tool.jinja"):
        (folder / name).write_text(f"mine: {name}")
    (folder / "config.json").write_text("not this")
    (folder / "README.md").write_text("nor this")
    (folder / "model.safetensors").write_text("git-lfs")
    return folder


MINE = {"tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja", "additional_chat_templates/tool.jinja"}


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_tokenizer(alone, tokenizer, tmp_path):
    done = export(alone("qwen3_dense"), tmp_path / "back", "--tokenizer", tokenizer)
    assert files_of(tmp_path / "back") == {*MINE, "config.json", "model.safetensors"}
    assert all((tmp_path / "back" / name).read_bytes() == (tokenizer / name).read_bytes() for name in MINE)
    assert "files    5 of --tokenizer" in done.out and "no tokenizer" not in done.out


@pytest.mark.parametrize("origin", ["sidecar", "reference"])
def test_tokenizer_in_place_of_the_origins(origin, tokenizer, tmp_path):
    """One tokenizer: of the origin's nothing stays but what is not the tokenizer's."""
    source = copy_tree(FOLDERS["qwen3_dense"], tmp_path / "source")
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "generation_config.json", "LICENSE"):
        (source / name).write_text("of the origin")
    convert(source, tmp_path / "root")
    options = ["--tokenizer", tokenizer]
    if origin == "reference":
        shutil.rmtree(tmp_path / "root" / "causeway")
        options += ["--reference", source]
    (tokenizer / "generation_config.json").unlink()
    done = export(tmp_path / "root", tmp_path / "back", *options)
    kept = files_of(source) - {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"}
    mine = MINE - {"generation_config.json"}
    assert files_of(tmp_path / "back") == kept | mine
    for name in kept | mine:
        assert (tmp_path / "back" / name).read_bytes() == ((tokenizer if name in mine else source) / name).read_bytes(), name
    assert "files    4 of --tokenizer, in place of 4 that were there" in done.out


def test_no_tokenizer_there(alone, tmp_path):
    root = alone("qwen3_dense")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    for folder, words in (("empty", "no file of a tokenizer"), ("absent", "no such folder")):
        with nothing_written(tmp_path):
            done = run("export-to-hf", root, tmp_path / "back", "--tokenizer", tmp_path / folder, expect=2)
        assert words in done.err
    # The folder to write is no place to read from.
    run("export-to-hf", root, tmp_path / "empty", "--overwrite", "--tokenizer", tmp_path / "empty", expect=2)
