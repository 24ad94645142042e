"""What an export makes of what the checkpoint says of itself: refused, patched into config.json, listed, or not said."""
import json

import pytest
from common_state import CommonState, speak_as_megatron
from helpers import DATA, HF_FIXTURES, convert, copy_tree, export, hashes, hf_fixture, nothing_written, run

YAML = "iter_0000000/run_config.yaml"


@pytest.fixture
def root(tmp_path, converted):
    """root(fixture, **arguments): a checkpoint as Megatron-LM saves one with these arguments."""

    def make(fixture, **arguments):
        folder = copy_tree(converted(fixture), tmp_path / "root")
        speak_as_megatron(folder, **arguments)
        return folder

    return make


def refused_fields(done):
    """{field: (checkpoint's, config.json's)} of a refusal."""
    lines = [line.strip() for line in done.err.splitlines()[1:] if ": checkpoint " in line]
    pairs = [line.split(": checkpoint ") for line in lines]
    return {name: tuple(values.split(", config.json ")) for name, values in pairs}


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("fixture", HF_FIXTURES)
def test_untouched(fixture, root, tmp_path):
    """Arguments as the real parser writes them make no difference: every file comes back, and nothing is said of config.json."""
    done = export(root(fixture), tmp_path / "back", "--report", tmp_path / "report.json")
    assert hashes(tmp_path / "back") == hashes(hf_fixture(fixture))
    assert "config   " not in done.out and "padding" not in done.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["statement"] == "the arguments in the common state"
    assert report["config_changes"] == [] and report["padding_rows"] == 0
    run("verify", hf_fixture(fixture), tmp_path / "root", "--mode", "hash", expect=0)


LAYOUT = {
    "heads": ("qwen3_dense", dict(num_attention_heads=10), "num_attention_heads", "10"),
    "groups": ("qwen3_dense", dict(num_query_groups=3), "num_query_groups", "3"),
    "a group a head": ("qwen3_dense", dict(group_query_attention=False), "num_query_groups", None),
    "head size": ("qwen3_dense", dict(kv_channels=48), "kv_channels", "48"),
    "zero-centred norms": ("qwen3_dense", dict(layernorm_zero_centered_gamma=True), "layernorm_zero_centered_gamma", "true"),
    "interleaved rotation": ("qwen3_dense", dict(rotary_interleaved=True), "rotary_interleaved", "true"),
    "part of a head": ("qwen3_dense", dict(rotary_percent=0.5), "rotary_percent", "0.5"),
    "tied": ("qwen3_dense", dict(untie_embeddings_and_output_weights=False), "share_embeddings_and_output_weights", "true"),
    "other activation": ("qwen3_dense", dict(swiglu=False, squared_relu=True), "activation_func", "squared_relu"),
    "learned positions": ("qwen3_dense", dict(position_embedding_type="learned_absolute", use_rotary_position_embeddings=False), "position_embedding_type", "learned_absolute"),
    "experts": ("qwen3_moe", dict(num_experts=5), "num_moe_experts", "5"),
    "dense layers": ("deepseek_v3", dict(moe_layer_freq=1), "moe_layer_freq", "[1,1,1]"),
    "no expert bias": ("deepseek_v3", dict(moe_router_enable_expert_bias=False), "moe_router_enable_expert_bias", "false"),
    "latent rank": ("deepseek_v3", dict(kv_lora_rank=63), "kv_lora_rank", "63"),
    "score": ("deepseek_v3", dict(moe_router_score_function="softmax"), "moe_router_score_function", "softmax"),
}


@pytest.mark.parametrize("case", LAYOUT)
def test_what_config_json_cannot_say_is_refused(case, root, tmp_path):
    fixture, arguments, field, value = LAYOUT[case]
    folder = root(fixture, **arguments)
    (tmp_path / "empty").mkdir()
    with nothing_written(tmp_path / "empty"):
        done = run("export-to-hf", folder, tmp_path / "empty" / "out", expect=3)
    found = refused_fields(done)
    assert field in found and value in (None, found[field][0]), done
    assert found[field][0] != found[field][1]
    verified = run("verify", hf_fixture(fixture), folder, "--mode", "hash", expect=1)
    assert f"differs  {field}: checkpoint {found[field][0]}, config.json {found[field][1]}" in verified.out


VALUES = {
    "rope base": ("qwen3_dense", dict(rotary_base=12345), {"rope_theta": 12345}),
    "epsilon": ("qwen3_dense", dict(layernorm_epsilon=3e-5), {"rms_norm_eps": 3e-5}),
    "longer": ("qwen3_dense", dict(seq_length=1 << 20), {"max_position_embeddings": 1 << 20}),
    "shorter": ("qwen3_dense", dict(seq_length=16, max_position_embeddings=16), {}),
    "dropout": ("qwen3_dense", dict(attention_dropout=0.25), {}),
    "experts a token": ("qwen3_moe", dict(moe_router_topk=3), {"num_experts_per_tok": 3}),
    "not normalized": ("qwen3_moe", dict(moe_router_pre_softmax=True), {"norm_topk_prob": False}),
    "auxiliary loss": ("qwen3_moe", dict(moe_aux_loss_coeff=0.5), {"router_aux_loss_coef": 0.5}),
    "router factor": ("deepseek_v3", dict(moe_router_topk_scaling_factor=1.5), {"routed_scaling_factor": 1.5}),
}


def flat(config):
    """Nested objects as keys with points; where transformers 4 and 5 keep the base of RoPE is no matter here."""
    found = {}
    for key, value in config.items():
        found.update({name if name == "rope_theta" else f"{key}.{name}": each for name, each in value.items()} if isinstance(value, dict) else {key: value})
    return found


@pytest.mark.parametrize("case", VALUES)
def test_numbers_go_to_config_json(case, root, tmp_path):
    fixture, arguments, changed = VALUES[case]
    folder = root(fixture, **arguments)
    done = export(folder, tmp_path / "back", "--report", tmp_path / "report.json")
    before, after = flat(config_of(hf_fixture(fixture))), flat(config_of(tmp_path / "back"))
    assert {key: value for key, value in after.items() if before.get(key) != value} == changed
    assert before.keys() == after.keys()
    report = json.loads((tmp_path / "report.json").read_text())
    assert [change["to"] for change in report["config_changes"]] == list(changed.values())
    assert done.out.count("the checkpoint says so") == len(changed)
    for shard in tmp_path.glob("back/*.safetensors"):
        assert shard.read_bytes() == (hf_fixture(fixture) / shard.name).read_bytes()
    listed = [each["field"] for each in report["training_only"]]
    assert listed == (["attention_dropout"] if case == "dropout" else [])
    verified = run("verify", hf_fixture(fixture), folder, "--mode", "hash", expect=1 if changed else 0)
    assert verified.out.count("differs  ") == len(changed)
    # What came out says what the checkpoint says.
    run("verify", tmp_path / "back", folder, "--mode", "hash", expect=0)


def test_scaling_of_positions(root, tmp_path):
    folder = root("qwen3_dense", use_rope_scaling=True, rope_scaling_factor=4.0)
    export(folder, tmp_path / "back")
    config = config_of(tmp_path / "back")
    scaling = config.get("rope_scaling") or config["rope_parameters"]
    wanted = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
    assert {key: scaling.get(key, scaling.get("type")) for key in wanted} == wanted
    convert(tmp_path / "back", tmp_path / "again")
    assert CommonState(tmp_path / "again").state["args"].use_rope_scaling is True


def test_the_iteration_that_is_exported_counts(converted, tmp_path):
    """Arguments and run_config.yaml of one iteration that contradict each other: which is right is not for us to say."""
    folder = copy_tree(converted("qwen3_dense"), tmp_path / "root")
    common = CommonState(folder)
    heads = common.state["args"].num_attention_heads
    common.state["args"].num_attention_heads = 2 * heads
    common.save()
    done = run("export-to-hf", folder, tmp_path / "out", expect=3)
    assert f"num_attention_heads: arguments {2 * heads}, run_config.yaml {heads}" in done.err
    (folder / YAML).unlink()
    assert refused_fields(run("export-to-hf", folder, tmp_path / "out", expect=3))["num_attention_heads"] == (str(2 * heads), str(heads))


def test_no_statement(converted, tmp_path):
    folder = copy_tree(converted("qwen3_dense"), tmp_path / "root")
    common = CommonState(folder)
    del common.state["args"]
    common.save()
    (folder / YAML).unlink()
    done = export(folder, tmp_path / "back")
    assert "config   not checked" in done.out
    assert hashes(tmp_path / "back") == hashes(hf_fixture("qwen3_dense"))
    assert "config   not checked" in run("verify", hf_fixture("qwen3_dense"), folder, "--mode", "hash", expect=0).out


def test_mtp_that_is_said_and_is_not_there(root, tmp_path):
    """Arguments of --mtp-num-layers 1 beside a checkpoint without its tensors."""
    done = run("export-to-hf", root("qwen3_dense", mtp_num_layers=1), tmp_path / "out", expect=3)
    assert refused_fields(done) == {"mtp_num_layers": ("1", "0")}
    assert "--mtp drop" in done.err


def test_trained_without_mtp(tmp_path):
    """A checkpoint of a trainer without MTP, and the release's config.json that promises it: config.json says 0, in a line."""
    convert(hf_fixture("deepseek_v3"), tmp_path / "root", "--mtp", "drop")
    reference = tmp_path / "reference"
    reference.mkdir()
    (reference / "config.json").write_bytes((hf_fixture("deepseek_v3") / "config.json").read_bytes())
    (tmp_path / "root" / "causeway").rename(tmp_path / "elsewhere")
    done = export(tmp_path / "root", tmp_path / "back", "--reference", reference)
    assert "num_nextn_predict_layers: 0, was 1" in done.out
    assert config_of(tmp_path / "back") == {**config_of(reference), "num_nextn_predict_layers": 0}


@pytest.mark.parametrize("path", sorted((DATA / "bridge_written").glob("*/megatron")), ids=lambda path: path.parent.name)
def test_what_bridge_wrote_agrees(path, tmp_path):
    done = run("export-to-hf", path, tmp_path / "out", "--dry-run", "--reference", path.parent / "hf", expect=0)
    assert "config   " not in done.out and "training " not in done.out
