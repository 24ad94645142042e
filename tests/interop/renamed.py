"""Models that transformers does not have, made of another class that computes the same: what must hold of each of them. The main model's
logits are that class's; multi-token prediction is megatron-core's, from tensors that oracles/mapping.py moved."""
import dataclasses
import json
import pathlib
import shutil

import torch

from interop import cases
from interop.test_table_mistakes import full_text
from oracles import dcp, hf_files, hf_models, mapping, recorded, sharding
from oracles.arch import Arch


@dataclasses.dataclass
class Source:
    arch: Arch  # of the class in transformers
    folder: pathlib.Path
    state: dict[str, torch.Tensor]       # the tensors of the folder
    parameters: dict[str, torch.Tensor]  # Megatron's
    logits: torch.Tensor                 # of the main model


def make(rename, arch, folder, seed):
    """rename(folder, arch, state, mtp, files) turns the folder of the class into the model's and returns its tensors."""
    made = hf_models.model(arch, seed=seed)
    hf_models.save(made, folder)
    main = hf_files.read_safetensors(folder)
    mtp = hf_files.mtp_tensors(arch, main, seed=seed + 1)
    state = rename(folder, arch, main, mtp, files=2)
    return Source(arch, folder, state, mapping.to_megatron(arch, main | mtp), hf_models.logits(made, cases.tokens(arch)))


def check_there_and_back(source, spec, causeway, forward, pools, work):
    """Megatron loads what was converted, both views compute what it does, and every file comes back. Leaves the checkpoint in work/root."""
    causeway("convert-hf", source.folder, work / "root", "--spec", spec)
    iteration = work / "root" / "iter_0000000"
    assert not dcp.different(sharding.dist_keys(source.arch, source.parameters, spec), dcp.read_tensors(iteration))
    ids = cases.tokens(source.arch)
    ((values, logits),) = pools[spec].run("load_and_run", arch=source.arch, directory=str(iteration), tokens=ids)
    assert not dcp.different({key: tensor.float() for key, tensor in source.parameters.items()}, values)
    cases.close(logits[:1], [source.logits])
    expected = recorded.write(work / "logits.safetensors", ids, logits)
    forward(source.folder, expected)
    forward(iteration, expected)
    causeway("verify", source.folder, work / "root")
    causeway("export-to-hf", work / "root", work / "back")
    for file in source.folder.iterdir():
        assert (work / "back" / file.name).read_bytes() == file.read_bytes(), file.name


def config_from_megatron_alone(source, model_type, causeway, work):
    """config.json that an export of work/root makes without sidecar; the tensors are those of the source."""
    shutil.copytree(work / "root", work / "alone", symlinks=True, ignore=shutil.ignore_patterns("causeway"))
    causeway("export-to-hf", work / "alone", work / "derived", "--arch", model_type)
    assert not dcp.different(source.state, hf_files.read_safetensors(work / "derived"))
    return json.loads((work / "derived" / "config.json").read_text())


def check_without_mtp(source, is_mtp, causeway, work):
    causeway("convert-hf", source.folder, work / "root", "--mtp", "drop")
    assert not any(key.startswith("mtp.") for key in dcp.read_tensors(work / "root" / "iter_0000000"))
    causeway("export-to-hf", work / "root", work / "back")
    kept = {name: tensor for name, tensor in source.state.items() if not is_mtp(name)}
    assert not dcp.different(kept, hf_files.read_safetensors(work / "back"))


def check_wrong_table(source, model_type, change, shown, causeway, causeway_verify, work):
    """The table whose text `change` made wrong passes every check of shapes and bytes; the views show it."""
    wrong = work / "wrong.jsonc"
    wrong.write_text(change(full_text(model_type)))
    causeway("convert-hf", source.folder, work / "root", "--mapping", wrong)
    causeway("verify", source.folder, work / "root", "--mode", "hash")
    assert shown in causeway_verify(source.folder, work / "root", expect=1).stdout
