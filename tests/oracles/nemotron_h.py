"""Nemotron-H in miniature: what transformers saves, and depths of multi-token prediction by hand, which transformers passes over. Its
logits: the main head by transformers' class; a depth by transformers' blocks in the frame that megatron-core's MultiTokenPredictionLayer
has, as transformers' own MtpModel knows depths of one layer with another epsilon only."""
import json
import pathlib

import torch
import transformers
from transformers.models.nemotron_h import modeling_nemotron_h as modeling

from oracles import hf_files

CONFIG = dict(
    vocab_size=64, hidden_size=48, intermediate_size=80, num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=64,
    mamba_num_heads=6, mamba_head_dim=8, n_groups=2, ssm_state_size=16, conv_kernel=4, n_routed_experts=6, num_experts_per_tok=2,
    moe_intermediate_size=24, moe_shared_expert_intermediate_size=40, routed_scaling_factor=2.5, n_group=1, topk_group=1)


def depth_tensors(state, pattern, kinds, depths, seed):
    """Those of multi-token prediction: each block has the shapes of a block of its kind in the decoder."""
    generator = torch.Generator().manual_seed(seed)
    hidden, out = CONFIG["hidden_size"], {}

    def add(name, shape, dtype):
        noise = torch.randn(shape, generator=generator)
        out[name] = (1 + 0.2 * noise if "norm" in name else 0.1 * noise).to(dtype)

    for block in range(depths * len(kinds)):
        like = f"backbone.layers.{pattern.index(kinds[block % len(kinds)])}."
        for name, tensor in state.items():
            if name.startswith(like):
                add(f"mtp.layers.{block}.{name.removeprefix(like)}", tensor.shape, tensor.dtype)
    for depth in range(depths):
        first = f"mtp.layers.{depth * len(kinds)}"
        for name, shape in (("enorm", [hidden]), ("hnorm", [hidden]), ("eh_proj", [hidden, 2 * hidden])):
            add(f"{first}.{name}.weight", shape, torch.bfloat16)
        add(f"mtp.layers.{(depth + 1) * len(kinds) - 1}.final_layernorm.weight", [hidden], torch.bfloat16)
    return out


def make(folder, pattern, seed, latent=None, kinds="*E", depths=0, spelled="text"):
    """Returns the tensors of the folder. spelled: the layers as a text, as the releases have them, or as transformers 5's words."""
    torch.manual_seed(seed)
    config = transformers.NemotronHConfig(**CONFIG, hybrid_override_pattern=pattern, moe_latent_size=latent)
    model = transformers.NemotronHForCausalLM(config)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():  # the router's bias too, which is no parameter
            tensor.copy_(1 + 0.2 * torch.randn(tensor.shape) if "norm" in name else 0.2 * torch.randn(tensor.shape))
    model.to(torch.bfloat16).save_pretrained(folder)
    state = hf_files.read_safetensors(folder)
    state |= depth_tensors(state, pattern, kinds, depths, seed + 1)
    hf_files.write_safetensors(folder, state, 2)
    file = pathlib.Path(folder) / "config.json"
    written = json.loads(file.read_text()) | dict(num_nextn_predict_layers=depths)
    if spelled == "text":
        del written["layers_block_type"], written["mtp_layers_block_type"]
        written |= dict(hybrid_override_pattern=pattern, mtp_hybrid_override_pattern=kinds, num_hidden_layers=len(pattern))
    else:
        words = {"M": "linear_attention", "*": "full_attention", "E": "moe", "-": "mlp"}
        written["mtp_layers_block_type"] = [words[kind] for kind in kinds]
    file.write_text(json.dumps(written, indent=2))
    return state


def logits(folder, ids):
    """[main, depth 0, ...], each [tokens, vocabulary], in fp32."""
    state = {name: tensor.float() for name, tensor in hf_files.read_safetensors(folder).items()}
    model = transformers.NemotronHForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        tokens = torch.tensor([ids])
        hidden = model.model(tokens, use_cache=False).last_hidden_state
        out = [model.lm_head(hidden)[0]]
        for depth in range(model.config.num_nextn_predict_layers):
            tokens = torch.cat([tokens[:, 1:], torch.zeros_like(tokens[:, :1])], 1)
            hidden = _depth(model.config, state, depth, model.model.embeddings(tokens), hidden)
            out.append(model.lm_head(hidden)[0])
    return out


def _depth(config, state, depth, embedding, hidden):
    """megatron/core/transformer/multi_token_prediction.py: the projection of both norms, the blocks, the last norm."""
    kinds = config.mtp_layers_block_type
    first = depth * len(kinds)

    def normed(name, x):
        norm = modeling.NemotronHRMSNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        norm.weight.data = state[f"mtp.layers.{name}.weight"]
        return norm(x)

    both = torch.cat([normed(f"{first}.enorm", embedding), normed(f"{first}.hnorm", hidden)], -1)
    x = both @ state[f"mtp.layers.{first}.eh_proj.weight"].T
    mask = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)[None, None]
    for number, kind in enumerate(kinds):
        block = modeling.NemotronHBlock(_with_blocks(config, kinds), number).float().eval()
        block.load_state_dict(_of_block(state, f"mtp.layers.{first + number}."))
        x = block(x, attention_mask=mask if kind == "full_attention" else None)
    return normed(f"{first + len(kinds) - 1}.final_layernorm", x)


def _with_blocks(config, kinds):
    settings = {name: value for name, value in config.to_dict().items() if name != "layer_types"}
    return transformers.NemotronHConfig(**settings | dict(layers_block_type=kinds), attn_implementation="eager")


def _of_block(state, prefix):
    """Those of a block's module, which has all experts in one tensor."""
    inner = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    frame = ("enorm", "hnorm", "eh_proj", "final_layernorm")
    out = {name: tensor for name, tensor in inner.items() if not name.startswith(frame) and "experts." not in name or "shared_experts" in name}
    for role in ("up_proj", "down_proj"):
        parts = [inner[f"mixer.experts.{expert}.{role}.weight"] for expert in range(CONFIG["n_routed_experts"]) if f"mixer.experts.{expert}.{role}.weight" in inner]
        if parts:
            out[f"mixer.experts.{role}"] = torch.stack(parts)
    return out
