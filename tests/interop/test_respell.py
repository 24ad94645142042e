"""The spellings that scripts/roundtrip.sh makes without torch hold what torch makes of the same weights."""
import json

import pytest
import torch
from safetensors.torch import load_file

from interop import deepseek_v4_cases as v4_cases
from interop.conftest import DATA
from oracles import deepseek_v4, deepseek_v4_names, hf_files, nemotron_h, respell


@pytest.fixture(scope="module")
def spelled(tmp_path_factory):
    """{what: (folder, config, options)} of the bundled DeepSeek-V4."""
    out = tmp_path_factory.mktemp("spelled")
    plain = out / "plain"
    plain.mkdir()
    config = json.loads((v4_cases.FIXTURE / "config.json").read_text())
    state = hf_files.read_safetensors(v4_cases.FIXTURE)
    hf_files.write_safetensors(plain, deepseek_v4.plain(state))
    (plain / "config.json").write_text(json.dumps({key: value for key, value in config.items() if key != "quantization_config"}))
    found = {}
    for number, (what, config, tensors, options) in enumerate(respell.spellings(respell.read_folder(v4_cases.FIXTURE), respell.read_folder(plain))):
        respell.write_folder(v4_cases.FIXTURE, out / str(number), config, tensors)
        found[what] = (out / str(number), config, options)
    return found


def check(folder, expected):
    found = hf_files.read_safetensors(folder)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape, name
        assert torch.equal(found[name].contiguous().view(torch.uint8), tensor.contiguous().view(torch.uint8)), name


def test_every_spelling(spelled):
    source = hf_files.read_safetensors(v4_cases.FIXTURE)
    config = json.loads((v4_cases.FIXTURE / "config.json").read_text())
    layers, experts, plain = config["num_hidden_layers"], config["n_routed_experts"], deepseek_v4.plain(source)
    expected = {
        "scorer of the indexer": deepseek_v4_names.scorer(source),
        "modules of transformers": deepseek_v4_names.modules(plain, experts, deepseek_v4.Joins),
        "modules as transformers saves them": deepseek_v4_names.saved_modules(plain, experts, deepseek_v4.Joins),
        "the release's names as transformers saves them": deepseek_v4_names.saved(plain),
    }
    expected |= {what: deepseek_v4_names.older(source, layers, deepseek_v4.Joins, **how) for what, how in deepseek_v4_names.OLDER.items()}
    assert spelled.keys() == expected.keys() and len(expected) == 19
    for what, tensors in expected.items():
        check(spelled[what][0], tensors)


def test_a_spelling_without_mtp_keeps_its_promise(spelled):
    """As every checkpoint that transformers saved: the options say so, config.json does not."""
    for what, (folder, config, options) in spelled.items():
        has_mtp = any("mtp." in name or f"layers.{config['num_hidden_layers']}." in name for name in hf_files.read_safetensors(folder))
        assert config["num_nextn_predict_layers"] == 1 and has_mtp == (options == ""), what


def architecture(name):
    """(config.json, its tensors as respell reads them, as torch does)"""
    folder = DATA / "architectures" / name / "hf"
    return *respell.read_folder(folder), hf_files.read_safetensors(folder)


def test_experts_as_in_out():
    config, raw, state = architecture("qwen3_vl_moe")
    spelled = {what: tensors for what, _, tensors, _ in respell.qwen3_vl(config, raw)}["experts as [in, out]"]
    assert spelled.keys() == state.keys()
    for name, tensor in state.items():
        expected = tensor.transpose(1, 2) if ".mlp.experts." in name else tensor
        assert (spelled[name].shape, spelled[name].data) == (list(expected.shape), expected.contiguous().view(torch.uint8).numpy().tobytes()), name


def test_transformers_reads_nemotron_h_as_its_modules(tmp_path):
    config, raw, _ = architecture("nemotron_h")
    spelled = {what: tensors for what, _, tensors, _ in respell.nemotron_h(config, raw)}["modules of transformers"]
    respell.write_folder(DATA / "architectures" / "nemotron_h" / "hf", tmp_path / "hf", config, spelled)
    recorded = load_file(DATA / "architectures" / "nemotron_h" / "logits.safetensors")
    # The processor and the number of threads decide on the last bits.
    found = nemotron_h.logits(tmp_path / "hf", recorded["input_ids"].tolist())[0]
    torch.testing.assert_close(found, recorded["logits"], atol=1e-4, rtol=0)
