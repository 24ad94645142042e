"""Logits of DeepSeek-V4 models in fp32, from weights under the release's names, and how near a tie every choice of theirs was.

1. Weights are what the checkpoint's codes stand for, rounded to bf16 once (oracles/deepseek_v4.py), used in fp32.
2. Main head: transformers' own model, which renames the release's tensors; nothing may be missing or unknown but `mtp.*`.
3. Multi-token prediction, which transformers does not have: transformers' decoder layer, norm and hyper-connection head in the frame
   of the release's inference/model.py (MTPBlock): every stream of depth k's input is e_proj(enorm(embedding of the token k + 1 on))
   + h_proj(hnorm(that stream before)); past the end of the prompt is token 0.
4. The margin of a token is the least distance between the last that was kept and the first that was not, over every top-k of a
   router or an indexer; where it is below fp32 rounding another correct model may choose otherwise.
"""
import contextlib
import copy
import json
import pathlib
import re
import tempfile

import torch
import transformers
from safetensors.torch import save_file

from oracles import deepseek_v4

# Modules of a layer: {release: transformers}
_LAYER = {
    "attn_norm.weight": "input_layernorm.weight", "ffn_norm.weight": "post_attention_layernorm.weight",
    **{f"hc_{name}_{part}": f"{name}_hc.{part}" for name in ("attn", "ffn") for part in ("fn", "base", "scale")},
    "attn.wq_a.weight": "self_attn.q_a_proj.weight", "attn.q_norm.weight": "self_attn.q_a_norm.weight", "attn.wq_b.weight": "self_attn.q_b_proj.weight",
    "attn.wkv.weight": "self_attn.kv_proj.weight", "attn.kv_norm.weight": "self_attn.kv_norm.weight", "attn.attn_sink": "self_attn.sinks",
    "attn.wo_a.weight": "self_attn.o_a_proj.weight", "attn.wo_b.weight": "self_attn.o_b_proj.weight", "ffn.gate.weight": "mlp.gate.weight",
    "ffn.gate.bias": "mlp.gate.e_score_correction_bias",
    **{f"ffn.shared_experts.{ours}.weight": f"mlp.shared_experts.{theirs}_proj.weight" for ours, theirs in (("w1", "gate"), ("w2", "down"), ("w3", "up"))},
}


def _model(config, state):
    kept = {key: value for key, value in config.items() if key not in ("quantization_config", "expert_dtype")}
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "config.json").write_text(json.dumps(kept))
        save_file({name: (tensor.float() if tensor.is_floating_point() else tensor).contiguous() for name, tensor in state.items()},
                  f"{folder}/model.safetensors", metadata={"format": "pt"})
        model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
                                                                          output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


@contextlib.contextmanager
def _margins(tokens):
    """A tensor [tokens] that any top-k within lowers to its margin."""
    least, plain = torch.full((tokens,), torch.inf), torch.Tensor.topk

    def topk(scores, k, *arguments, **options):
        if scores.shape[-1] > k:
            ranked = scores.detach().float().reshape(tokens, -1).sort(-1, descending=True).values
            distance = ranked[:, k - 1] - ranked[:, k]
            least.copy_(torch.minimum(least, torch.where(distance.isnan(), torch.inf, distance)))  # both hidden: nothing to choose
        return plain(scores, k, *arguments, **options)

    module_topk = torch.topk
    torch.Tensor.topk, torch.topk = topk, topk
    try:
        yield least
    finally:
        torch.Tensor.topk, torch.topk = plain, module_topk


def _filled(module, state):
    module.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return module.float().eval()


def _depth_layer(config, state, prefix):
    config = copy.deepcopy(config)
    config.layer_types, config.mlp_layer_types, config.num_hidden_layers = ["sliding_attention"], ["moe"], 1
    own, experts = {_LAYER[name]: state[prefix + name] for name in _LAYER}, range(config.n_routed_experts)
    w1, w2, w3 = ([state[f"{prefix}ffn.experts.{e}.{part}.weight"] for e in experts] for part in ("w1", "w2", "w3"))
    own["mlp.experts.gate_up_proj"] = torch.stack([torch.cat(pair) for pair in zip(w1, w3)])
    own["mlp.experts.down_proj"] = torch.stack(w2)
    return _filled(transformers.models.deepseek_v4.modeling_deepseek_v4.DeepseekV4DecoderLayer(config, 0), own)


def _mtp_logits(model, state, ids, streams):
    """One for each depth; streams: what the main model's head contracts."""
    base, out = model.model, []
    config, tokens = base.config, ids.shape[1]
    positions = torch.arange(tokens)
    before = positions[:, None] - positions
    mask = torch.zeros(1, 1, tokens, tokens).masked_fill((before < 0) | (before >= config.sliding_window), -torch.inf)
    rotation = {"main": base.rotary_emb(streams, position_ids=positions[None], layer_type="main")}
    for depth in range(1 + max((int(name.split(".")[1]) for name in state if name.startswith("mtp.")), default=-1)):
        prefix = f"mtp.{depth}."
        ids = torch.cat([ids[:, 1:], torch.zeros(1, 1, dtype=torch.long)], dim=1)
        norms = {name: _filled(type(base.norm)(config.hidden_size, eps=config.rms_norm_eps), {"weight": state[f"{prefix}{name}.weight"]})
                 for name in ("enorm", "hnorm", "norm")}
        e_proj, h_proj = (state[f"{prefix}{name}.weight"].float().T for name in ("e_proj", "h_proj"))
        joined = (norms["enorm"](base.embed_tokens(ids)) @ e_proj).unsqueeze(2) + norms["hnorm"](streams) @ h_proj
        streams = _depth_layer(config, state, prefix)(joined, input_ids=ids, position_embeddings=rotation, attention_mask=mask, position_ids=positions[None],
                                                      past_key_values=None)
        head = _filled(type(base.hc_head)(config), {re.sub("^hc_head_", "hc_", name.removeprefix(prefix)): state[name] for name in state
                                                    if name.startswith(prefix + "hc_head_")})
        out.append(model.lm_head(norms["norm"](head(streams)))[0])
    return out


class Reference:
    """A model made once; stored: the tensors of its files."""

    def __init__(self, config, stored):
        self.state = deepseek_v4.plain(stored)
        self.model = _model(config, self.state)

    def logits(self, tokens):
        """([main logits, those of each depth of multi-token prediction], margins)"""
        ids, streams = torch.tensor([tokens]), []
        hook = self.model.model.hc_head.register_forward_hook(lambda module, inputs, output: streams.append(inputs[0]))
        with torch.no_grad(), _margins(len(tokens)) as margins:
            out = [self.model(ids, use_cache=False).logits[0].float()]
            hook.remove()
            return out + _mtp_logits(self.model, self.state, ids, streams[0]), margins

    def prompt(self, length, seed, tries=40):
        """(tokens, logits, margins) of the first prompt in which nothing is nearly a tie."""
        vocabulary = self.model.config.vocab_size
        for attempt in range(seed, seed + tries):
            tokens = torch.randint(0, vocabulary, (length,), generator=torch.Generator().manual_seed(attempt)).tolist()
            logits, margins = self.logits(tokens)
            if margins.min() >= 1e-4:
                return tokens, logits, margins
        raise AssertionError(f"{tries} prompts of {length} tokens, each nearly a tie somewhere")
