"""DeepSeek-V4: folders as released -> `causeway convert-hf` -> torch, and back file for file."""
import json
import shutil

import pytest
import torch

from interop import deepseek_v4_cases as v4_cases
from interop.test_fp8 import digests
from oracles import dcp, deepseek_v4, hf_files


# {what: (options, arguments of the oracle)}
OPTIONS = {
    "as is": ([], {}),
    "padded vocabulary": (["--vocab-rows", "256"], dict(vocab_rows=256)),
    "interleaved gate and up": (["--glu-interleave", "8"], dict(interleave=8)),
    "fp32": (["--dtype", "fp32"], dict(dtype=torch.float32)),
    "fp16": (["--dtype", "fp16"], dict(dtype=torch.float16)),
    "without multi-token prediction": (["--mtp", "drop"], dict(mtp=False)),
    "all at once": (["--vocab-rows", "200", "--glu-interleave", "32", "--dtype", "fp32", "--mtp", "drop"],
                    dict(vocab_rows=200, interleave=32, dtype=torch.float32, mtp=False)),
}


@pytest.mark.parametrize("what", OPTIONS)
@pytest.mark.parametrize("name", v4_cases.NAMES)
def test_torch_reads_what_the_oracle_says(name, what, v4_sources, causeway, tmp_path):
    """Keys, shapes, dtypes and every bit, and the objects Megatron asks for; back again, whatever the options were."""
    source, (options, how) = v4_sources(name), OPTIONS[what]
    causeway("convert-hf", source.folder, tmp_path / "root", *options)
    expected = deepseek_v4.to_dist(source.state, source.config, **how)
    directory = tmp_path / "root" / "iter_0000000"
    assert not dcp.different(expected, dcp.read_tensors(directory))
    assert deepseek_v4.extra_state({key: tensor.shape for key, tensor in expected.items()}) <= dcp.object_keys(directory)
    report = causeway("verify", source.folder, tmp_path / "root", "--mode", "hash")
    assert "identical" in report.stdout
    if "drop" not in options:
        causeway("export-to-hf", tmp_path / "root", tmp_path / "hf")
        assert digests(tmp_path / "hf") == digests(source.folder)


def test_what_megatron_wrote_has_the_same_keys(v4_converted):
    """The tensors of real Megatron-LM dev, and at least its objects; its common state lies in the data, ours in common.pt."""
    ours, theirs = v4_converted("fixture") / "iter_0000000", v4_cases.DEV / "iter_0000000"
    assert not dcp.different(dcp.read_tensors(theirs), dcp.read_tensors(ours))
    assert dcp.object_keys(theirs) - dcp.object_keys(ours) == {"common_state/shard_0_1"}


@pytest.mark.parametrize("how", ["root", "sidecar", "reference"])
@pytest.mark.parametrize("name", v4_cases.NAMES)
def test_untouched_checkpoint_gives_back_the_files(name, how, v4_sources, v4_converted, causeway, tmp_path):
    source, root = v4_sources(name), v4_converted(name)
    if how == "root":
        causeway("export-to-hf", root, tmp_path / "hf")
    else:
        bare = shutil.copytree(root / "iter_0000000", tmp_path / "bare")
        causeway("export-to-hf", bare, tmp_path / "hf", f"--{how}", root / "causeway" if how == "sidecar" else source.folder)
    assert digests(tmp_path / "hf") == digests(source.folder)


def test_what_megatron_wrote_gives_back_the_files(causeway, tmp_path):
    """Megatron keeps no scales, no signs of codes and no 64-bit ids; the reference has them."""
    causeway("export-to-hf", v4_cases.DEV, tmp_path / "hf", "--reference", v4_cases.FIXTURE)
    assert digests(tmp_path / "hf") == digests(v4_cases.FIXTURE)


@pytest.mark.parametrize("name", v4_cases.QUANTIZED)
def test_plain_weights(name, v4_sources, v4_converted, causeway, tmp_path):
    """`--dtype bf16`: the values of the codes, no scales, and a configuration that promises neither; ids as they were."""
    source = v4_sources(name)
    causeway("export-to-hf", v4_converted(name), tmp_path / "hf", "--dtype", "bf16")
    assert not dcp.different(deepseek_v4.plain(source.state), hf_files.read_safetensors(tmp_path / "hf"))
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert "quantization_config" not in config and "expert_dtype" not in config
    causeway("convert-hf", tmp_path / "hf", tmp_path / "again")
    assert not dcp.different(deepseek_v4.to_dist(source.state, source.config), dcp.read_tensors(tmp_path / "again" / "iter_0000000"))


@pytest.mark.parametrize("name", ["fixture", "fp8fp4_odd_mtp2", "base_odd"])
def test_without_multi_token_prediction(name, v4_sources, v4_converted, causeway, tmp_path):
    source = v4_sources(name)
    causeway("export-to-hf", v4_converted(name), tmp_path / "hf", "--mtp", "drop")
    expected = {key: tensor for key, tensor in source.state.items() if not key.startswith("mtp.")}
    assert not dcp.different(expected, hf_files.read_safetensors(tmp_path / "hf"))
    assert json.loads((tmp_path / "hf" / "config.json").read_text()) == {**source.config, "num_nextn_predict_layers": 0}


def odd_bytes(state):
    """Every FP4 byte, every E8M0 scale but the two largest, both zeros and NaNs in FP8, NaN scales."""
    weight, ffn = "layers.0.attn.wq_b.weight", "layers.1.ffn.experts.2.w1.weight"
    state[weight].view(torch.uint8)[:2, :4] = torch.tensor([[0x7F, 0xFF, 0x80, 0x00], [0x01, 0x81, 0x7E, 0xFE]], dtype=torch.uint8)
    codes, scales = state[ffn].view(torch.uint8), state[deepseek_v4.scale_name(ffn)].view(torch.uint8)
    codes.view(-1)[:512] = torch.arange(512).to(torch.uint8)
    scales.view(-1)[:6] = torch.tensor([0, 1, 252, 255, 2, 255], dtype=torch.uint8)
    if state["layers.0.attn.wq_a.scale"].dtype == torch.float8_e8m0fnu:
        state["layers.0.attn.wq_a.scale"].view(torch.uint8)[0, 0] = 0
        state["layers.0.attn.wkv.scale"].view(torch.uint8)[0, 0] = 255


@pytest.mark.parametrize("how", ["sidecar", "reference"])
@pytest.mark.parametrize("name", ["fixture", "fp8fp4_odd_mtp2"])
def test_odd_codes_and_scales_come_back(name, how, v4_sources, causeway, tmp_path):
    source = v4_sources(name)
    stored = {key: tensor.clone() for key, tensor in source.state.items()}
    odd_bytes(stored)
    folder = hf_files.copy_with_tensors(source.folder, tmp_path / "odd", stored)
    causeway("convert-hf", folder, tmp_path / "root")
    expected = deepseek_v4.to_dist(stored, source.config)
    found = dcp.read_tensors(tmp_path / "root" / "iter_0000000")
    for key in expected:  # one NaN is as good as another
        for tensors in (expected, found):
            tensors[key] = torch.where(tensors[key].isnan(), torch.nan, tensors[key]) if tensors[key].is_floating_point() else tensors[key]
    assert not dcp.different(expected, found)
    if how == "sidecar":
        causeway("export-to-hf", tmp_path / "root", tmp_path / "hf")
    else:
        causeway("export-to-hf", tmp_path / "root" / "iter_0000000", tmp_path / "hf", "--reference", folder)
    assert digests(tmp_path / "hf") == digests(folder)
