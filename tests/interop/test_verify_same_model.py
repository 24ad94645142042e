"""Models that are the same function in other tensors: heads and channels in another order, alike in all that reads and writes them. The
tensors verdict names what moved, the forward verdict passes, as sums are only taken in another order, and no layer is said to diverge.

Experts in another order are in test_verify_mutations.py, as causeway-verify says what the order is.
"""
import dataclasses

import pytest
import torch

from interop.test_forward_views import EQUAL, verdicts
from interop.test_verify_mutations import differing, rewritten, root_of, source_of  # noqa: F401  (fixtures)


@dataclasses.dataclass(frozen=True)
class Part:
    """Rows (axis 0) or columns of a tensor, or some of its rows, as `order` has it: blocks of equal size."""
    name: str
    axis: int = 0
    first: int = 0
    count: int | None = None  # None: all from the first on


def move(state, parts, order):
    for part in parts:
        old = state[part.name].movedim(part.axis, 0)
        rows = old[part.first:] if part.count is None else old[part.first:part.first + part.count]
        new = old.clone()
        new[part.first:part.first + rows.shape[0]] = rows.unflatten(0, (len(order), -1))[torch.tensor(order)].flatten(0, 1)
        state[part.name] = new.movedim(0, part.axis).contiguous()


def linears(prefix, rows, columns, rest=()):
    return [Part(f"{prefix}{name}.weight") for name in rows] + [Part(f"{prefix}{name}.weight", 1) for name in columns] + [Part(prefix + name) for name in rest]


def mlp(prefix):
    return linears(prefix, ["gate_proj", "up_proj"], ["down_proj"])


LAYER, QWEN, NEXT = "model.layers.1.", "model.language_model.layers.0.", "model.layers.0."
REVERSED = tuple(range(135, -1, -1))
# 2 groups of 3 heads
WITHIN, GROUPS = (1, 2, 0, 5, 4, 3), (1, 0)
# Gated DeltaNet of 2 key heads of 12 and 6 value heads of 10: rows of q, k, v, and the same of the convolution.
KEYS, VALUES = 24, 60


def delta(prefix, values_alone):
    """(parts, order) of value heads within their key heads; or parts of key heads with their value heads."""
    name = prefix + "linear_attn."
    values = [Part(name + "in_proj_z.weight"), Part(name + "in_proj_b.weight"), Part(name + "in_proj_a.weight"), Part(name + "A_log"), Part(name + "dt_bias"),
              Part(name + "out_proj.weight", 1)]
    for mixed in (name + "in_proj_qkv.weight", name + "conv1d.weight"):
        values.append(Part(mixed, first=2 * KEYS, count=VALUES))
        if not values_alone:
            values += [Part(mixed, first=0, count=KEYS), Part(mixed, first=KEYS, count=KEYS)]
    return values


def latent(prefix):
    return linears(prefix + "self_attn.", ["q_b_proj", "kv_b_proj"], ["o_proj"])


def attention(prefix, q=True):
    return linears(prefix + "self_attn.", ["q_proj", "k_proj", "v_proj"] if q else ["q_proj"], ["o_proj"])


_DELTA = {"layers.0." + name for name in ("v", "z", "beta", "alpha", "decay", "decay_bias", "v_conv", "o")}
_MLP = ("gate", "up", "down")

# {what: (kind, case, parts, order, the tensors that differ)}
SAME = {
    "heads of a group": ("plain", "qwen3", attention(LAYER, q=False), WITHIN, {"layers.1.q", "layers.1.o"}),
    "groups of heads": ("plain", "qwen3", attention(LAYER), GROUPS, {f"layers.1.{name}" for name in "qkvo"}),
    "heads with biases": ("plain", "llama_biased", attention(LAYER) + [Part(f"{LAYER}self_attn.{name}_proj.bias") for name in "qkv"], GROUPS,
                          {f"layers.1.{name}" for name in ("q", "k", "v", "o", "q_bias", "k_bias", "v_bias")}),
    "channels of an MLP": ("plain", "qwen2", mlp(LAYER + "mlp."), REVERSED, {f"layers.1.{name}" for name in _MLP}),
    "channels with biases": ("plain", "llama_biased", mlp(LAYER + "mlp.") + [Part(f"{LAYER}mlp.{name}_proj.bias") for name in ("gate", "up")], REVERSED,
                             {f"layers.1.{name}" for name in (*_MLP, "gate_bias", "up_bias")}),
    "channels of an expert": ("plain", "qwen3_moe", mlp(LAYER + "mlp.experts.4."), (3, 1, 0, 2), {f"layers.1.experts.4.{name}" for name in _MLP}),
    "channels of the shared experts": ("plain", "deepseek_v3_mtp2_fp32", mlp("model.layers.2.mlp.shared_experts."), (1, 0, 3, 2), {f"layers.2.shared.{name}" for name in _MLP}),
    "latent heads": ("plain", "deepseek_v3_mtp2_fp32", latent(LAYER), (2, 0, 3, 1), {f"layers.1.{name}" for name in ("q_up", "kv_up", "o")}),
    "latent heads of MTP": ("plain", "deepseek_v3_mtp2_fp32", latent("model.layers.4."), (2, 0, 3, 1), {f"mtp.1.layer.{name}" for name in ("q_up", "kv_up", "o")}),
    "gated heads": ("qwen", "dense_text", attention(LAYER), (2, 0, 1), {f"layers.1.{name}" for name in ("q", "q_gate", "k", "v", "o")}),
    "value heads of a key head": ("qwen", "moe", delta(QWEN, True), WITHIN, _DELTA),
    "key heads": ("qwen", "moe", delta(QWEN, False), GROUPS, _DELTA | {"layers.0.q", "layers.0.k", "layers.0.q_conv", "layers.0.k_conv"}),
    "key heads of Qwen3-Next": ("qwen", "next", [Part(NEXT + "linear_attn." + name) for name in ("in_proj_qkvz.weight", "in_proj_ba.weight", "A_log", "dt_bias")]
                                + [Part(NEXT + "linear_attn.out_proj.weight", 1)] + [Part(NEXT + "linear_attn.conv1d.weight", first=i, count=n) for i, n in ((0, 24), (24, 24), (48, 60))],
                                GROUPS, _DELTA | {"layers.0.q", "layers.0.k", "layers.0.q_conv", "layers.0.k_conv"}),
    # DeepSeek-V4: 6 heads, of which three neighbours share the projection to 36 numbers
    "groups of heads that are projected together": ("v4", "bf16", linears("layers.1.attn.", ["wq_b", "wo_a"], ["wo_b"], ["attn_sink"]), GROUPS,
                                                    {f"layers.1.{name}" for name in ("q_up", "o_down", "o_up", "sink")}),
    "heads that are projected together": ("v4", "bf16", linears("layers.1.attn.", ["wq_b"], [], ["attn_sink"]), (1, 2, 0, 4, 5, 3),
                                          {f"layers.1.{name}" for name in ("q_up", "o_down", "sink")}),
    "numbers of a group's projection": ("v4", "bf16", linears("mtp.0.attn.", [], []), (), {f"mtp.0.layer.{name}" for name in ("o_down", "o_up")}),
    "heads of the indexer": ("v4", "bf16", linears("layers.1.attn.indexer.", ["wq_b", "weights_proj"], []), (3, 1, 0, 2), {"layers.1.index.q", "layers.1.index.weights"}),
    "channels of fp4 experts": ("v4", "fp8fp4", [Part(f"layers.0.ffn.experts.2.{name}") for name in ("w1.weight", "w1.scale", "w3.weight", "w3.scale")]
                                + [Part(f"layers.0.ffn.experts.2.w2.{name}", 1) for name in ("weight", "scale")], (1, 0), {f"layers.0.experts.2.{name}" for name in _MLP}),
}
EXTRA = {
    "heads that are projected together": lambda state: move(state, [Part("layers.1.attn.wo_a.weight", 1)], (1, 2, 0)),
    "numbers of a group's projection": lambda state: (move(state, [Part("mtp.0.attn.wo_a.weight", first=0, count=36), Part("mtp.0.attn.wo_b.weight", 1, 0, 36)], tuple(range(35, -1, -1)))),
}


@pytest.mark.mutation("N")
@pytest.mark.parametrize("what", SAME)
def test_the_same_model_in_another_order(what, causeway, causeway_verify, source_of, tmp_path):  # noqa: F811
    kind, case, parts, order, expected = SAME[what]

    def change(state):
        move(state, parts, order)
        EXTRA.get(what, lambda state: None)(state)
    other = rewritten(source_of(kind, case).folder, tmp_path / "hf", change)
    causeway("convert-hf", other, tmp_path / "root")
    done = causeway_verify(source_of(kind, case).folder, tmp_path / "root", "--prompt-length", 61, expect=1)
    assert verdicts(done) == EQUAL | {"tensors": "DIFFERENT"}, done.stdout
    assert set(differing(done)) == expected, done.stdout
    assert "first in" not in done.stdout and "permuted" not in done.stdout
