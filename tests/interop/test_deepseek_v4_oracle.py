"""The instruments of the DeepSeek-V4 tests, without Causeway: the statement of what is where is right because real Megatron-LM dev
wrote the same, the arithmetic because it gives numbers found by hand or published."""
import json

import pytest
import torch

from interop import deepseek_v4_cases as v4_cases
from oracles import dcp, deepseek_v4, deepseek_v4_model, hf_files


def e8m0(*exponents):
    return torch.tensor([exponents], dtype=torch.uint8).view(torch.float8_e8m0fnu)


def test_megatron_wrote_what_the_statement_says():
    """Bit for bit; its model computed DeepSeek's logits from these weights."""
    config = json.loads((v4_cases.FIXTURE / "config.json").read_text())
    written = v4_cases.DEV / "iter_0000000"
    stored = dcp.read_tensors(written)
    assert not dcp.different(deepseek_v4.to_dist(hf_files.read_safetensors(v4_cases.FIXTURE), config), stored)
    objects = deepseek_v4.extra_state({key: tensor.shape for key, tensor in stored.items()})
    assert dcp.object_keys(written) == objects | {"common_state/shard_0_1"}


def test_the_model_of_the_fixture_is_the_models_of_the_generator():
    """The same names, shapes and dtypes from its config.json."""
    config = json.loads((v4_cases.FIXTURE / "config.json").read_text())
    made, stored = (({key: (tensor.shape, tensor.dtype) for key, tensor in state.items()})
                    for state in (deepseek_v4_model.state_dict(config, "fp8fp4", 0), hf_files.read_safetensors(v4_cases.FIXTURE)))
    assert made == stored


def test_fp4_of_a_release():
    """The first bytes of layers.0.ffn.experts.0.w1 of DeepSeek-V4.1-Flash and what its scale, byte 0x78, makes of them."""
    packed = torch.tensor([list(bytes.fromhex("a0a8ec4aadaf42aacc82256ffa054544"))], dtype=torch.uint8).view(torch.int8)
    values = deepseek_v4.dequantize(packed, e8m0(0x78))[0]
    assert [value * 128 for value in values[:16].tolist()] == [0, -1, 0, -1, -2, -4, -1, 2, -3, -1, -6, -1, 1, 2, -1, -1]
    assert torch.signbit(values)[2] and not torch.signbit(values)[0]


def test_fp8_of_a_release():
    """The same of layers.0.attn.wkv, row 0, scale byte 0x73."""
    codes = torch.tensor([list(bytes.fromhex("d871f2797069f0e5"))], dtype=torch.uint8).view(torch.float8_e4m3fn)
    expected = [-0.00390625, 0.03515625, -0.0390625, 0.0703125, 0.03125, 0.017578125, -0.03125, -0.0126953125]
    assert deepseek_v4.dequantize(codes, e8m0(0x73))[0].tolist() == expected


def test_scales_of_every_byte():
    """torch's own reading of E8M0; 0 is a subnormal, not zero."""
    scales = torch.arange(256).to(torch.uint8).view(torch.float8_e8m0fnu)
    ours = deepseek_v4.scale_values(scales)
    assert torch.equal(ours.view(torch.int32)[1:255], scales.float().view(torch.int32)[1:255])
    assert ours[0] == 2.0**-127 and ours[127] == 1 and ours[255].isnan()


def test_the_rule_by_hand():
    """The least power of two by which nothing is clipped, its floors, ties to even, signed zeros."""
    weight = torch.zeros(1, 64)
    weight[0, :12] = torch.tensor([6.0, -5.0, 3.5, 2.5, 1.75, 1.25, 0.75, 0.25, -0.25, -0.0, 0.0, -0.2501])
    scales = deepseek_v4_model.owner_scales(weight, "fp4", torch.float8_e8m0fnu)
    assert scales.view(torch.uint8).tolist() == [[127, 1]]  # 6 / 6 = 2^0; nothing but zeros: 2^-126
    packed = deepseek_v4_model.codes(weight, scales, "fp4").view(torch.uint8)[0]
    codes = [nibble for byte in packed[:6].tolist() for nibble in (byte & 15, byte >> 4)]
    assert codes == [7, 8 + 6, 6, 4, 4, 2, 2, 0, 8, 8, 0, 8 + 1]
    for amax, byte in ((448.0, 127), (448.5, 128), (224.0, 126), (1e-4, 105), (1e-9, 105)):  # 1e-4 / 448 = 2^-22.09...
        assert deepseek_v4_model.owner_scales(torch.tensor([[amax, -1e-12]]), "fp8", torch.float8_e8m0fnu).view(torch.uint8).item() == byte
    assert deepseek_v4_model.owner_scales(torch.tensor([[6.5]]), "fp4", torch.float8_e8m0fnu).view(torch.uint8).item() == 128


@pytest.mark.parametrize("name", v4_cases.GENERATED)
def test_generated_checkpoints_have_what_they_are_for(name, v4_sources):
    """Negative zeros among FP4 codes, scales the rule would not make, scales in another file than their weight, F32 parts."""
    source, form = v4_sources(name), v4_cases.GENERATED[name][0]
    scaled = {key: deepseek_v4.scale_name(key) for key in source.state if key.endswith(".weight") and deepseek_v4.scale_name(key) in source.state}
    assert bool(scaled) == (form != "bf16")
    assert any(source.state[key].dtype == torch.int8 for key in scaled) == (form == "fp8fp4")
    if form == "fp8fp4":
        assert any(((tensor & 15) == 8).any() for tensor in source.state.values() if tensor.dtype == torch.int8)
    values = deepseek_v4.plain(source.state, torch.float32)
    others = 0
    for key, scale in scaled.items():
        kind = "fp4" if source.state[key].dtype == torch.int8 else "fp8"
        rule = deepseek_v4_model.owner_scales(values[key], kind, source.state[scale].dtype)
        others += not torch.equal(rule.view(torch.uint8), source.state[scale].view(torch.uint8))
    assert others >= len(scaled) / 5
    files = {key: file for file in source.folder.glob("*.safetensors") for key in hf_files.names(file)}
    assert any(files[key] != files[scale] for key, scale in scaled.items()) == (form != "bf16" and len(set(files.values())) > 1)
