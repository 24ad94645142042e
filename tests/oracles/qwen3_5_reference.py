"""Logits of Qwen3.5, 3.6 and Qwen3-Next folders in fp32.

1. Main head: transformers' own model, read from the files; nothing may be missing or unknown but `mtp.*`, which it ignores.
2. Multi-token prediction, which transformers does not have for this family: transformers' own decoder layer in the frame of
   megatron-core's multi_token_prediction.py: norm(layer(fc([norm_e(embedding of the next token), norm_h(hidden)]))), hidden
   being what the final norm gave. The row past the end of the prompt sees token 0, as Megatron's does.
"""
import copy
import json
import pathlib

import torch
import transformers

from oracles import hf_files


def loaded(folder):
    """Transformers' model of a folder."""
    name = json.loads((pathlib.Path(folder) / "config.json").read_text())["architectures"][0]
    model, report = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
                                                                       output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


def _in_memory(state, experts):
    """The tensors of a layer as transformers holds them: experts stacked, gate and up in one."""
    if "mlp.experts.0.gate_proj.weight" not in state:
        return state
    out = {name: tensor for name, tensor in state.items() if ".experts." not in name}
    each = [[state[f"mlp.experts.{e}.{x}_proj.weight"] for e in range(experts)] for x in ("gate", "up", "down")]
    out["mlp.experts.gate_up_proj"] = torch.stack([torch.cat(pair) for pair in zip(*each[:2])])
    out["mlp.experts.down_proj"] = torch.stack(each[2])
    return out


def _filled(module, state):
    module.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return module.float().eval()


def _mtp_logits(model, state, ids, hidden, sections=None):
    base = model.get_decoder()
    config = copy.deepcopy(base.config)
    config.layer_types, config.num_hidden_layers, config.mlp_only_layers = ["full_attention"], 1, []
    prefix = "mtp.layers.0."
    layer = _filled(type(base.layers[0])(config, 0), _in_memory({name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)},
                                                               getattr(config, "num_experts", 0)))
    norms = {name: _filled(type(base.norm)(config.hidden_size, eps=config.rms_norm_eps), {"weight": state[f"mtp.{name}.weight"]})
             for name in ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm")}
    positions = torch.arange(ids.shape[1])[None]
    following = torch.cat([ids[:, 1:], torch.zeros(1, 1, dtype=torch.long)], dim=1)
    both = torch.cat([norms["pre_fc_norm_embedding"](base.embed_tokens(following)), norms["pre_fc_norm_hidden"](hidden)], dim=-1)
    mask = torch.full((ids.shape[1], ids.shape[1]), float("-inf")).triu(1)[None, None]
    if sections is None:
        sections = positions[None].expand(3, -1, -1) if hasattr(base.rotary_emb, "mrope_section") else positions
    rotation = base.rotary_emb(hidden, sections)
    made = layer(both @ state["mtp.fc.weight"].float().T, position_embeddings=rotation, attention_mask=mask, position_ids=positions, past_key_values=None)
    return model.lm_head(norms["norm"](made[0] if isinstance(made, tuple) else made))


def logits(folder, tokens, positions=None):
    """[main logits, those of multi-token prediction if there is any]; positions: [3, 1, T], of time, height and width instead of 0, 1, ..."""
    model = loaded(folder)
    ids, hidden, state = torch.tensor([tokens]), [], hf_files.read_safetensors(folder)
    hook = model.get_decoder().norm.register_forward_hook(lambda module, inputs, output: hidden.append(output))
    with torch.no_grad():
        out = [model(input_ids=ids, position_ids=positions, use_cache=False).logits[0].float()]
        hook.remove()
        return out + [_mtp_logits(model, state, ids, hidden[0], positions)[0]] if "mtp.fc.weight" in state else out
