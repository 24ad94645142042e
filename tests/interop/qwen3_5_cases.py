"""The Qwen3.5, 3.6 and Qwen3-Next checkpoints the tests convert, and those of them in data/, which this makes again:

    python -m interop.qwen3_5_cases OUT      (from tests/)
"""
import dataclasses
import json
import pathlib
import random
import shutil
import sys
import tempfile

import torch

from interop.cases import Fp8
from oracles import fp8, hf_files, qwen3_5, qwen3_5_model, qwen3_5_reference, sharding
from oracles.arch import Arch, Gdn, Moe, awkward
from oracles.qwen3_5_model import Form, Vision

_SHORT = (True, False)
_IRREGULAR = (True, True, False, True, False)


def _arch(family, linear=None, *, tied=False, mtp=1, key_heads=None, dense=(), gated=True, **other):
    usual = awkward(family, tied=tied, dtype="bfloat16", mtp=mtp, **other)
    gdn = dataclasses.replace(usual.gdn, linear=linear or usual.gdn.linear, gated=gated)
    if key_heads:  # as many value heads
        gdn = dataclasses.replace(gdn, key_heads=key_heads, value_heads=key_heads)
    moe = usual.moe and dataclasses.replace(usual.moe, dense=dense)
    return dataclasses.replace(usual, layers=len(gdn.linear), gdn=gdn, moe=moe)


@dataclasses.dataclass(frozen=True)
class Case:
    arch: Arch
    form: Form
    seed: int
    files: int = 1
    fp8: Fp8 | None = None


@dataclasses.dataclass
class Source:
    arch: Arch
    form: Form
    folder: pathlib.Path
    state: dict[str, torch.Tensor]  # codes dequantized
    plain: pathlib.Path             # a folder of `state`, or of the same function where transformers has no such model

    @property
    def prefix(self):
        """Of the text model's torch_dist keys."""
        return "language_model." if self.form.vision else ""

    def logits(self, tokens):
        return qwen3_5_reference.logits(self.plain, tokens)


# What quantized releases keep besides norms, embeddings and routers.
_KEPT = ("shared_expert_gate", "in_proj_a.", "in_proj_b.", "in_proj_ba.", "visual.", "mtp.fc.", "A_log", "dt_bias")
_BF16 = torch.bfloat16

CASES = {
    "dense": Case(_arch("qwen3_5"), Form(Vision()), 1),
    "dense_tied": Case(_arch("qwen3_5", _IRREGULAR, tied=True), Form(Vision(depth=2)), 2, files=3),
    "dense_text": Case(_arch("qwen3_5", groups=3), Form(interval=2), 3),
    "dense_no_mtp": Case(_arch("qwen3_5", mtp=0, key_heads=4), Form(Vision(heads=2)), 4),
    "dense_3_6_text_tied": Case(_arch("qwen3_5", _SHORT, tied=True, heads=2), Form(ssm=_BF16), 5),
    "moe": Case(_arch("qwen3_5_moe", _IRREGULAR), Form(Vision()), 6, files=2),
    "moe_3_6": Case(_arch("qwen3_5_moe"), Form(Vision(), mtp_packed=True, ssm=_BF16, interval=2), 7, files=3),
    "moe_text": Case(_arch("qwen3_5_moe"), Form(), 8),
    # as transformers saves the text model of a repository with a vision tower, but for MTP, which it forgets
    "moe_text_vision_names": Case(_arch("qwen3_5_moe", _SHORT), Form(text_names="model.language_model.", ssm=_BF16), 17),
    "moe_separate": Case(_arch("qwen3_5_moe", groups=6), Form(packed=False), 9),
    "moe_separate_mtp_packed_tied": Case(_arch("qwen3_5_moe", _SHORT, tied=True), Form(Vision(depth=1), packed=False, mtp_packed=True), 10),
    "next": Case(_arch("qwen3_next", _IRREGULAR), Form(packed=False, ssm=_BF16), 11, files=2),
    "next_some_dense": Case(_arch("qwen3_next", _SHORT, dense=(0,), key_heads=4), Form(packed=False, ssm=_BF16, interval=2), 12),
    "dense_fp8": Case(_arch("qwen3_5", _SHORT, hidden=144), Form(Vision()), 13, files=3, fp8=Fp8((128, 128), _BF16, kept=_KEPT)),
    "moe_fp8": Case(_arch("qwen3_5_moe", _SHORT, hidden=144), Form(Vision(), packed=False), 14, files=2, fp8=Fp8((128, 128), _BF16, kept=_KEPT)),
    "dense_ungated": Case(_arch("qwen3_5", _SHORT, gated=False), Form(Vision()), 19, files=2),
    "dense_text_witnesses": Case(_arch("qwen3_5", _SHORT), Form(witnesses=True), 15),
    "moe_3_6_witnesses": Case(_arch("qwen3_5_moe", _SHORT), Form(Vision(), mtp_packed=True, ssm=_BF16, witnesses=True), 16),
}
# For scripts/demo.sh and scripts/roundtrip.sh, beside what Bridge wrote: {folder in data/: case}
BUNDLED = {"qwen3_6_moe": "moe_3_6", "qwen3_5_forms/tied_text": "dense_3_6_text_tied", "qwen3_5_forms/separate": "moe_separate_mtp_packed_tied",
           "qwen3_5_forms/fp8": "moe_fp8", "qwen3_5_forms/next": "next_some_dense"}
# Where the norm's weight - 1 is exact both models are the same function.
SAME_FUNCTION = [name for name, case in CASES.items() if not case.form.witnesses]
FP8 = [name for name, case in CASES.items() if case.fp8]


def random_case(seed):
    """A variant with sizes nobody chose."""
    dice = random.Random(seed)
    family = dice.choice(["qwen3_5", "qwen3_5_moe", "qwen3_next"])
    groups, head_dim = dice.choice([1, 2, 3, 5]), dice.choice([8, 16, 24])
    key_heads = dice.choice([1, 2, 3, 5])
    gdn = Gdn(linear=(*(dice.random() < 0.7 for _ in range(dice.randrange(1, 5))), False), key_heads=key_heads, value_heads=key_heads * dice.choice([1, 2, 4]),
              key_dim=dice.choice([3, 8, 14]), value_dim=dice.choice([5, 8, 12]), rotary=0.5)
    moe = None if family == "qwen3_5" else Moe(experts=dice.choice([2, 3, 7]), topk=2, ffn=dice.choice([9, 20, 33]), gated_ffn=dice.choice([7, 16, 30]))
    arch = Arch(family=family, layers=len(gdn.linear), hidden=dice.choice([16, 40, 90]), heads=groups * dice.choice([1, 2, 3]), groups=groups, head_dim=head_dim,
                ffn=dice.choice([11, 48]), vocab=dice.choice([61, 160]), tied=dice.random() < 0.3, dtype="bfloat16", eps=1e-6, rope_base=1e7, moe=moe, gdn=gdn,
                mtp=dice.choice([0, 1, 1]))
    heads = dice.choice([1, 2, 5])
    vision = Vision(depth=dice.choice([1, 2, 4]), hidden=heads * dice.choice([4, 6]), heads=heads, ffn=dice.choice([10, 26]), patch=dice.choice([2, 4]),
                    positions=dice.choice([9, 16]))
    multimodal = family != "qwen3_next" and dice.random() < 0.6
    form = Form(vision if multimodal else None, packed=family == "qwen3_5_moe" and dice.random() < 0.5,
                mtp_packed=family == "qwen3_5_moe" and dice.random() < 0.5,
                ssm=dice.choice([torch.float32, _BF16]), witnesses=gdn.value_dim >= 8 and dice.random() < 0.3)
    return Case(arch, form, seed, files=dice.choice([1, 3]))


def with_gates(arch, state):
    """The same function with output gates, which transformers always has: those of zero halve what o_proj then doubles."""
    out = dict(state)
    for name, tensor in state.items():
        if name.endswith("self_attn.q_proj.weight"):
            heads = tensor.unflatten(0, (arch.heads, 1, arch.head_dim))
            out[name] = torch.cat([heads, torch.zeros_like(heads)], dim=1).flatten(0, 2)
        elif name.endswith("self_attn.o_proj.weight"):
            out[name] = 2 * tensor
    return out


def make(case, folder):
    """The Source of a case, its files in `folder`/model."""
    path, state = folder / "model", qwen3_5_model.state_dict(case.arch, case.form, case.seed)
    stored = fp8.quantized(state, case.fp8.block, case.fp8.scale, fp8.KEPT + case.fp8.kept) if case.fp8 else state
    path.mkdir()
    (path / "config.json").write_text(json.dumps(qwen3_5_model.config(case.arch, case.form), indent=2))
    (path / "tokenizer.json").write_text('{"version": "1.0"}')
    hf_files.write_safetensors(path, stored, case.files)
    if not case.arch.gdn.gated:
        return Source(case.arch, case.form, path, state, hf_files.copy_with_tensors(path, folder / "plain", with_gates(case.arch, state)))
    if not case.fp8:
        return Source(case.arch, case.form, path, state, path)
    state = fp8.plain(stored, case.fp8.block)
    plain = hf_files.copy_with_tensors(path, folder / "plain", state)
    kept = [name.removesuffix(".weight") for name in stored if name.endswith(".weight") and any(part in name for part in case.fp8.kept)]
    hf_files.add_quantization_config(path, case.fp8.block, kept)
    return Source(case.arch, case.form, path, state, plain)


def dist_keys(source, state=None, *, prefix=None, vision=True):
    """{torch_dist key: tensor} the checkpoint must hold."""
    state, prefix = state or source.state, source.prefix if prefix is None else prefix
    out = {prefix + key: tensor for key, tensor in sharding.dist_keys(source.arch, qwen3_5.to_megatron(source.arch, state)).items()}
    if source.form.vision and vision:
        out.update(qwen3_5.vision(source.form.vision.heads, source.form.vision.depth, state))
    return out


def bridge_source(folder):
    """The Source of one of data/bridge_written/qwen3_[56]*/hf."""
    config = json.loads((folder / "config.json").read_text())
    text, tower = config.get("text_config", config), config.get("vision_config")
    gdn = Gdn(linear=tuple(kind == "linear_attention" for kind in text["layer_types"]), key_heads=text["linear_num_key_heads"],
              value_heads=text["linear_num_value_heads"], key_dim=text["linear_key_head_dim"], value_dim=text["linear_value_head_dim"],
              rotary=text["partial_rotary_factor"])
    moe = Moe(experts=text["num_experts"], topk=text["num_experts_per_tok"], ffn=text["moe_intermediate_size"],
              gated_ffn=text["shared_expert_intermediate_size"]) if "num_experts" in text else None
    arch = Arch(family=text["model_type"].removesuffix("_text"), layers=text["num_hidden_layers"], hidden=text["hidden_size"],
                heads=text["num_attention_heads"], groups=text["num_key_value_heads"], head_dim=text["head_dim"], ffn=text.get("intermediate_size", 0),
                vocab=text["vocab_size"], tied=config["tie_word_embeddings"], dtype="bfloat16", eps=text["rms_norm_eps"],
                rope_base=text["rope_parameters"]["rope_theta"], moe=moe, gdn=gdn, mtp=text["mtp_num_hidden_layers"])
    vision = tower and Vision(depth=tower["depth"], hidden=tower["hidden_size"], heads=tower["num_heads"], ffn=tower["intermediate_size"])
    return Source(arch, Form(vision), folder, hf_files.read_safetensors(folder), folder)


if __name__ == "__main__":
    for bundled, name in BUNDLED.items():
        with tempfile.TemporaryDirectory() as temporary:
            shutil.copytree(make(CASES[name], pathlib.Path(temporary)).folder, pathlib.Path(sys.argv[1]) / bundled / "hf")
