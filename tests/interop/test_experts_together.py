"""Experts in one tensor, as the modules of transformers 5 have them (any state_dict() of a trainer, save_original_format=False): the
state of the real classes goes in, holds what the release's spelling holds, and comes back in its own."""
import dataclasses

import pytest
import transformers

from interop import cases, qwen3_5_cases
from oracles import dcp, hf_files
from oracles.arch import awkward

# DeepSeek-V3's and GLM's classes have no multi-token prediction, so their states have none.
PLAIN = {
    "qwen3_moe": cases.CASES["qwen3_moe"], "qwen3_moe_some_dense": cases.CASES["qwen3_moe_some_dense"], "mixtral": cases.CASES["mixtral"],
    "qwen2_moe": cases.CASES["qwen2_moe"], "olmoe": cases.CASES["olmoe"],
    "deepseek_v3": cases.Case(awkward("deepseek_v3", tied=False, dtype="bfloat16"), 60),
    "deepseek_v2": cases.Case(awkward("deepseek_v2", tied=False, dtype="bfloat16"), 64),
    "deepseek_v32": cases.Case(awkward("deepseek_v32", tied=False, dtype="bfloat16"), 62),
    "glm4_moe": cases.Case(awkward("glm4_moe", tied=False, dtype="bfloat16"), 61),
    "glm4_moe_lite": cases.Case(awkward("glm4_moe_lite", tied=False, dtype="bfloat16"), 62),
    "hy_v3": cases.Case(awkward("hy_v3", tied=False, dtype="bfloat16"), 63),
}
NAMES = [*PLAIN, "next"]


@pytest.fixture(params=NAMES)
def folders(request, tmp_path):
    """(release's spelling, that of the modules), the same weights."""
    if request.param == "next":
        arch = dataclasses.replace(qwen3_5_cases.CASES["next"].arch, mtp=0)
        source = qwen3_5_cases.make(dataclasses.replace(qwen3_5_cases.CASES["next"], arch=arch), tmp_path)
    else:
        source = cases.make(PLAIN[request.param], tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(source.folder, dtype="auto")
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    assert any(name.endswith("mlp.experts.gate_up_proj") for name in state) and not any(".experts.0." in name for name in state)
    return source.folder, hf_files.copy_with_tensors(source.folder, tmp_path / "together", state)


@pytest.mark.parametrize("bare", [False, True], ids=["model.", "bare"])
def test_there_and_back(bare, folders, causeway, causeway_verify, tmp_path):
    release, together = folders
    if bare:
        tensors = {name.removeprefix("model."): tensor for name, tensor in hf_files.read_safetensors(together).items()}
        together = hf_files.copy_with_tensors(together, tmp_path / "bare", tensors)
    causeway("convert-hf", release, tmp_path / "expected")
    causeway("convert-hf", together, tmp_path / "root")
    expected = dcp.read_tensors(tmp_path / "expected" / "iter_0000000")
    assert not dcp.different(expected, dcp.read_tensors(tmp_path / "root" / "iter_0000000"))
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    for file in together.iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes(), file.name
    # The forward pass reads this spelling too.
    causeway("verify", together, tmp_path / "root")
    causeway("verify", together, tmp_path / "expected", "--mode", "logits")
    # A checkpoint that Megatron wrote goes out in the spelling of the reference.
    (tmp_path / "expected" / "causeway").rename(tmp_path / "sidecar")
    causeway("export-to-hf", tmp_path / "expected", tmp_path / "referred", "--reference", together)
    assert not dcp.different(hf_files.read_safetensors(together), hf_files.read_safetensors(tmp_path / "referred"))
