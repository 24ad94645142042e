"""Our output beside what real Megatron-Bridge wrote from the same Hugging Face folder."""
import pytest
import yaml

from interop.conftest import DATA
from oracles import dcp

NAMES = ["qwen3_dense", "llama_tied", "qwen3_moe", "deepseek_v3", "deepseek_v3_mtp2", "deepseek_v3_fp8", "qwen3_5_vl", "qwen3_5_moe_vl", "qwen3_5_moe_text",
         "qwen3_6_moe_vl"]

# values that name paths of the run
PATHS = {("model", "hf_model_id"), ("checkpoint", "save"), ("tokenizer", "tokenizer_model")}

# what Bridge needs of `model:` to export a dense model (found by deleting keys until it failed), and what it takes over
# into config.json when it is there
NEEDED = {"_target_", "num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "num_query_groups", "kv_channels", "vocab_size",
          "normalization", "gated_linear_unit", "add_bias_linear", "qk_layernorm", "share_embeddings_and_output_weights", "bf16", "position_embedding_type"}
CARRIED = {"activation_func", "layernorm_epsilon", "seq_length", "attention_dropout", "rotary_base", "rotary_percent"}

# what shapes a vision tower
VISION = {"_target_", "depth", "hidden_size", "intermediate_size", "num_heads", "in_channels", "patch_size", "temporal_patch_size", "spatial_merge_size",
          "num_position_embeddings", "out_hidden_size", "hidden_act", "deepstack_visual_indexes"}

# how fast Bridge trains and how it initializes: nothing of the checkpoint
RUNTIME = {"cache_mla_latents", "cross_entropy_fusion_impl", "deallocate_pipeline_outputs", "mla_down_proj_fusion", "moe_permute_fusion",
           "moe_shared_expert_overlap", "output_layer_init_method", "freeze_language_model", "freeze_vision_model", "freeze_vision_projection",
           "vision_dp_when_cp", "vision_cuda_graph_impl", "vision_cuda_graph_scope", "max_vision_cuda_graph_seq_length"}
# What a multimodal model of Bridge has whatever the checkpoint: these fixtures have patches of 4, and vision_config says so.
VISION_DEFAULTS = {"patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "language_max_sequence_length": 2048, "use_hf_vision_model": False,
                   "apply_rotary_pos_emb_in_fp32": False}


@pytest.fixture(scope="module", params=NAMES)
def pair(request, causeway, tmp_path_factory):
    """(iteration folder of ours, of Bridge's)"""
    fixture = DATA / "bridge_written" / request.param
    root = tmp_path_factory.mktemp(request.param) / "root"
    causeway("convert-hf", fixture / "hf", root, "--dtype", "bf16")  # as Bridge was told: some of Qwen3.5 is F32
    return root / "iter_0000000", fixture / "megatron" / "iter_0000000"


def configs(pair):
    return [yaml.safe_load((folder / "run_config.yaml").read_text()) for folder in pair]


def leaves(value, path=()):
    """{path: scalar} of nested mappings and lists; an empty one is a leaf."""
    if isinstance(value, dict) and value:
        return {k: v for key, inner in value.items() for k, v in leaves(inner, (*path, key)).items()}
    if isinstance(value, list) and value:
        return {k: v for index, inner in enumerate(value) for k, v in leaves(inner, (*path, index)).items()}
    return {path: value}


def test_run_config_says_nothing_bridge_does_not(pair):
    ours, theirs = configs(pair)
    assert ours["_target_"] == theirs["_target_"]
    for section, content in ours.items():
        assert section in theirs, section
        if isinstance(content, dict):
            assert isinstance(theirs[section], dict), section
            assert not content.keys() - theirs[section].keys(), section
            assert content.get("_target_") == theirs[section].get("_target_"), section


def same(a, b):
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def test_run_config_has_bridges_values(pair):
    ours, theirs = map(leaves, configs(pair))
    differ = {path: (value, theirs.get(path, "absent")) for path, value in ours.items() if path[:2] not in PATHS and not same(value, theirs.get(path, "absent"))}
    assert not differ


def test_run_config_has_what_bridge_needs(pair):
    ours, _ = configs(pair)
    assert not (NEEDED | CARRIED) - ours["model"].keys()


def test_run_config_has_what_makes_the_model_another(pair):
    """Every field in which Bridge's configuration differs from the one it wrote for the dense model, with Bridge's value."""
    ours, theirs = (config["model"] for config in configs(pair))
    dense = yaml.safe_load((DATA / "bridge_written" / "qwen3_dense" / "megatron" / "iter_0000000" / "run_config.yaml").read_text())["model"]
    particular = {key for key, value in theirs.items() if key not in dense or not same(value, dense[key])} - RUNTIME
    if "vision_config" in particular:
        particular -= {key for key, value in VISION_DEFAULTS.items() if same(theirs[key], value)} | {"vision_config"}
        assert VISION <= ours["vision_config"].keys()  # values: test_run_config_has_bridges_values
    assert not {key: theirs[key] for key in particular if key not in ours or not same(ours[key], theirs[key])}


def test_tensors_are_bridges(pair):
    ours, theirs = pair
    assert not dcp.different(dcp.read_tensors(theirs), dcp.read_tensors(ours))


def test_objects_bridge_wrote_are_ours_too(pair):
    ours, theirs = map(dcp.object_keys, pair)
    assert theirs - {"common_state/shard_0_1"} <= ours
