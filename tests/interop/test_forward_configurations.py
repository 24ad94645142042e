"""config.json as transformers reads it: settings said twice or left out. Whatever changes transformers' logits changes causeway-verify's in
the same way; what transformers refuses is refused."""
import json
import shutil

import pytest
import torch
import transformers

from interop import cases
from interop.test_forward import write_reference

LINEAR = {"rope_type": "linear", "factor": 2.5}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0}


def changed(source, target, settings, left_out=()):
    shutil.copytree(source.folder, target)
    file = target / "config.json"
    config = {key: value for key, value in json.loads(file.read_text()).items() if key not in left_out} | settings
    file.write_text(json.dumps(config))
    return target


def logits(folder, ids):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
                                                                      output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        return model.eval()(torch.tensor([ids])).logits[0]


# name: (source, settings, those left out)
READ = {
    "two_rope_sections": ("qwen3", {"rope_scaling": LINEAR}, ()),
    "two_rope_sections_of_latents": ("deepseek_v3_one_group", {"rope_scaling": dict(YARN, mscale_all_dim=0.7)}, ()),
    "weights_of_experts_that_null_leaves_as_they_are": ("deepseek_v3_one_group", {"norm_topk_prob": None}, ()),
    "an_empty_rope_section": ("llama_linear_rope", {"rope_scaling": {}}, ()),
    "original_positions_beside_the_section": ("qwen3_yarn", {"original_max_position_embeddings": 16}, ()),
    "original_positions_nowhere": ("qwen2", {"rope_parameters": YARN, "max_position_embeddings": 48}, ()),
    "yarn_without_turns": ("qwen2", {"rope_parameters": dict(YARN, original_max_position_embeddings=32, beta_fast=0, beta_slow=None)}, ()),
    "no_window_where_layers_are_not_listed": ("qwen2_window", {"sliding_window": None}, ("layer_types",)),
    "no_window_of_experts": ("qwen3_moe", {"use_sliding_window": True, "sliding_window": None}, ()),
    "a_window_of_every_other_layer": ("qwen2_moe", {"use_sliding_window": True, "sliding_window": 5}, ("layer_types",)),
    "a_window_of_listed_layers": ("ministral", {"layer_types": ["full_attention", "sliding_attention", "full_attention"]}, ()),
    "a_part_of_heads_in_words_of_the_release": ("minimax_m2", {"rotary_dim": 4, "rope_theta": 10000.0}, ("rope_parameters",)),
    "biases_left_out": ("qwen2_moe", {}, ("qkv_bias",)),
    "no_window_of_any_layer": ("mistral_window", {"sliding_window": None}, ()),
    "layers_that_are_listed_beside_a_window_of_all": ("mistral_window", {"layer_types": ["sliding_attention"] * 3}, ()),
    # Releases have both bases and the scaling at the top, and how often a layer has no window.
    "two_bases_as_released": ("gemma3", {"rope_theta": 1e5, "rope_local_base_freq": 500.0, "rope_scaling": dict(LINEAR)}, ("rope_parameters",)),
    "windows_by_a_period": ("gemma3", {"sliding_window_pattern": 3}, ("layer_types",)),
    "no_caps": ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}, ()),
    "windows_in_other_layers": ("gemma2", {"layer_types": ["full_attention"] * 3 + ["sliding_attention"]}, ()),
    "whole_heads_that_turn": ("nemotron", {"rope_parameters": dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=1.0)}, ()),
    "a_part_of_heads_that_the_class_knows": ("glm4", {}, ("rope_parameters",)),
    "heads_of_an_equal_part": ("mistral_bare", {"head_dim": None}, ("sliding_window",)),
    "listed_layers_before_counted_ones": ("qwen2_window", {"layer_types": ["sliding_attention", "full_attention", "full_attention"]}, ()),
}
NO_CHANGE = ("biases_left_out", "a_part_of_heads_that_the_class_knows", "an_empty_rope_section", "no_window_of_experts",
             "layers_that_are_listed_beside_a_window_of_all", "heads_of_an_equal_part")


@pytest.mark.parametrize("name", READ)
def test_read_as_transformers_reads_it(name, forward, sources, tmp_path):
    source, settings, left_out = READ[name]
    ids = cases.tokens(sources(source).arch)
    folder = changed(sources(source), tmp_path / "hf", settings, left_out)
    expected = logits(folder, ids)
    reference = write_reference(tmp_path / "reference.safetensors", ids, [expected])
    forward(folder, reference, "--mtp", "drop")
    if name not in NO_CHANGE:
        assert "DIFFERENT" in forward(sources(source).folder, reference, "--mtp", "drop", expect=1).stdout


REFUSED = {
    "rotations_by_kind_of_layer": ("qwen3", {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6}}}, (), 5, "by kind of layer"),
    "an_unknown_kind_of_layer": ("qwen2", {"layer_types": ["full_attention", "chunked_attention", "full_attention"]}, (), 5, "'chunked_attention'"),
    "a_window_of_nothing": ("qwen2", {"layer_types": ["full_attention", "sliding_attention", "full_attention"]}, (), 3, "there is no window"),
    "heads_left_out": ("qwen2", {}, ("num_key_value_heads",), 3, "6 heads cannot share 32 key/value heads"),
    "a_rank_left_out": ("deepseek_v3_one_group", {}, ("q_lora_rank",), 3, "the configuration asks for [1536, 72]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_transformers_refuses_it(name, forward, sources, tmp_path):
    source, settings, left_out, status, message = REFUSED[name]
    ids = cases.tokens(sources(source).arch)
    folder = changed(sources(source), tmp_path / "hf", settings, left_out)
    with pytest.raises((AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError)):
        logits(folder, ids)
    reference = write_reference(tmp_path / "reference.safetensors", ids, [torch.zeros(len(ids), sources(source).arch.vocab)])
    assert message in forward(folder, reference, "--mtp", "drop", expect=status).stderr
