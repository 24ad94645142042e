"""Keys that config.json lacks are the default of transformers' configuration class, in both files that Megatron reads, never null.
Which those are is compared with the classes in tests/interop/test_hf_defaults.py; here is what comes of them."""
import re

import pytest
from common_state import CommonState
from helpers import DATA, convert, copy_tree, edit_config, hf_fixture, run

# What sgl-project/DeepSeek-V4-Flash-FP8 leaves out, under a model_type of its own.
SHORT = dict(model_type="deepseek_ref", routed_scaling_factor=None, swiglu_limit=None, rope_theta=None, rms_norm_eps=None)
CASES = {
    "deepseek_v4": (DATA / "deepseek_v4_fp8fp4" / "hf", SHORT,
                    dict(moe_router_topk_scaling_factor=1.5, activation_func_clamp_value=10.0, rotary_base=10000.0, layernorm_epsilon=1e-6)),
    "deepseek_v3": (hf_fixture("deepseek_v3"), dict(routed_scaling_factor=None, rope_theta=None, n_shared_experts=None),
                    dict(moe_router_topk_scaling_factor=2.5, rotary_base=10000.0)),
    "qwen3_moe": (hf_fixture("qwen3_moe"), dict(num_experts_per_tok=None, rope_theta=None), dict(moe_router_topk=8, rotary_base=10000.0)),
    "mistral": (DATA / "mistral" / "hf", dict(sliding_window=None, rope_parameters=None), dict(window_size=[4095, 0], rotary_base=10000.0)),
}


def yaml_value(text, field):
    """A number or a list of numbers of the model section."""
    match = re.search(rf"^  {field}:(.*(?:\n  - .*)*)", text, re.MULTILINE)
    items = re.findall(r"-?\d[\d.e+-]*|null", match[1])
    values = [None if item == "null" else float(item) for item in items]
    return values if "\n" in match[1] or "[" in match[1] else values[0]


@pytest.mark.parametrize("case", CASES)
def test_defaults(case, tmp_path):
    source, left_out, expected = CASES[case]
    folder = copy_tree(source, tmp_path / "hf")
    edit_config(folder, **left_out)
    convert(folder, tmp_path / "root")
    text = (tmp_path / "root" / "iter_0000000" / "run_config.yaml").read_text()
    arguments = vars(CommonState(tmp_path / "root").state["args"])
    for field, value in expected.items():
        assert yaml_value(text, field) == value, field
        assert arguments[field] == value, field


def test_null_is_no_absence(tmp_path):
    """Mistral without a window says so: sliding_window null."""
    folder = copy_tree(DATA / "mistral" / "hf", tmp_path / "hf")
    config = (folder / "config.json").read_text()
    assert '"sliding_window": 8' in config
    (folder / "config.json").write_text(config.replace('"sliding_window": 8', '"sliding_window": null'))
    convert(folder, tmp_path / "root")
    assert CommonState(tmp_path / "root").state["args"].window_size is None


def test_a_size_that_no_shape_does_without(tmp_path):
    folder = copy_tree(hf_fixture("qwen3_dense"), tmp_path / "hf")
    edit_config(folder, num_hidden_layers=None)
    assert "num_hidden_layers is missing" in run("convert-hf", folder, tmp_path / "root", expect=3).err
