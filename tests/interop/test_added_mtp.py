"""Multi-token prediction that training added to models whose classes in transformers have none (Megatron-Core's --mtp-num-layers 1):
an export writes it under Qwen3-Next's names, config.json counts it, and it goes back into Megatron-Core."""
import json
import re

import pytest

from interop import cases
from interop.test_forward import write_reference
from oracles import dcp, hf_files, hf_models, mapping, sharding
from oracles.arch import Moe, awkward

ARCHITECTURES = {
    **{family: awkward(family, tied=False, dtype="bfloat16", mtp=1) for family in ("llama", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "mixtral")},
    "mistral": awkward("mistral", tied=False, dtype="bfloat16", mtp=1, hf=dict(sliding_window=None)),
    "qwen3_moe_some_dense": awkward("qwen3_moe", tied=False, dtype="bfloat16", mtp=1, moe=Moe(experts=4, topk=2, ffn=36, dense=(1,))),
}
FRAME = {"eh_proj": "fc", "enorm": "pre_fc_norm_embedding", "hnorm": "pre_fc_norm_hidden", "shared_head.norm": "norm"}


def as_qwen3_next(arch, mtp):
    """The tensors of the depth, which hf_files spells as DeepSeek-V3 does, under Qwen3-Next's names."""
    out = {}
    for name, tensor in mtp.items():
        inner = re.fullmatch(rf"model\.layers\.{arch.layers}\.(.*)\.(weight|bias)", name)
        if inner[1] in ("embed_tokens", "shared_head.head"):
            continue
        frame = FRAME.get(inner[1])
        out[f"mtp.{frame}.{inner[2]}" if frame else f"mtp.layers.0.{inner[1]}.{inner[2]}"] = tensor
    return out


@pytest.mark.parametrize("spec", cases.SPECS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_keep(name, spec, causeway, forward, pools, tmp_path):
    arch = ARCHITECTURES[name]
    reference = hf_models.save(hf_models.model(arch, seed=70), tmp_path / "reference")
    state = hf_files.read_safetensors(reference)
    mtp = hf_files.mtp_tensors(arch, state, seed=71)
    parameters = mapping.to_megatron(arch, state | mtp)
    trained = tmp_path / "trained" / "iter_0000007"
    trained.parent.mkdir()
    pools[spec].run("save", arch=arch, directory=str(trained), vocab_rows=arch.vocab, parameters=[parameters], iteration=7)

    refused = causeway("export-to-hf", trained, tmp_path / "refused", "--reference", reference, expect=3)
    assert "--mtp drop" in refused.stderr and "--mtp keep" in refused.stderr
    causeway("export-to-hf", trained, tmp_path / "dropped", "--reference", reference, "--mtp", "drop")
    assert not dcp.different(state, hf_files.read_safetensors(tmp_path / "dropped"))
    assert (tmp_path / "dropped" / "config.json").read_bytes() == (reference / "config.json").read_bytes()

    causeway("export-to-hf", trained, tmp_path / "kept", "--reference", reference, "--mtp", "keep")
    assert not dcp.different(state | as_qwen3_next(arch, mtp), hf_files.read_safetensors(tmp_path / "kept"))
    assert json.loads((tmp_path / "kept" / "config.json").read_text())["num_nextn_predict_layers"] == 1

    causeway("convert-hf", tmp_path / "kept", tmp_path / "root", "--spec", spec)
    iteration = tmp_path / "root" / "iter_0000000"
    assert not dcp.different(sharding.dist_keys(arch, parameters, spec), dcp.read_tensors(iteration))
    ids = cases.tokens(arch)
    ((values, logits),) = pools[spec].run("load_and_run", arch=arch, directory=str(iteration), tokens=ids)
    assert not dcp.different({key: tensor.float() for key, tensor in parameters.items()}, values)
    # Both views compute what Megatron-Core computes, of the main head and of the depth.
    expected = write_reference(tmp_path / "logits.safetensors", ids, logits)
    forward(tmp_path / "kept", expected)
    forward(iteration, expected)
    causeway("export-to-hf", tmp_path / "root", tmp_path / "back")
    for file in (tmp_path / "kept").iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_second_depth_has_no_names(causeway, tmp_path):
    """Each depth of Megatron-Core has an eh_proj of its own, and mtp.fc is one."""
    arch = ARCHITECTURES["qwen3"]
    folder = hf_models.save(hf_models.model(arch, seed=70), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_nextn_predict_layers": 2}))
    refused = causeway("convert-hf", folder, tmp_path / "root", expect=5)
    assert "num_nextn_predict_layers 2" in refused.stderr and "--mtp drop" in refused.stderr
