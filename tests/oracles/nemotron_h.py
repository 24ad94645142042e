"""Nemotron-H in miniature: what transformers saves, and depths of multi-token prediction by hand, which transformers passes over. Its
logits: the main head by transformers' class; a depth by transformers' blocks in the frame that megatron-core's MultiTokenPredictionLayer
has, as transformers' own MtpModel knows depths of one layer with another epsilon only."""
import json
import pathlib
import re

import torch
import transformers
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHBlock

from oracles import hf_files

CONFIG = dict(
    vocab_size=64, hidden_size=48, intermediate_size=80, num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=64,
    mamba_num_heads=6, mamba_head_dim=8, n_groups=2, ssm_state_size=16, conv_kernel=4, n_routed_experts=6, num_experts_per_tok=2,
    moe_intermediate_size=24, moe_shared_expert_intermediate_size=40, routed_scaling_factor=2.5, n_group=1, topk_group=1)

# name: (pattern, latent size, pattern of a depth, depths, spelling)
FORMS = {
    "mlp": ("M*-", None, "*E", 0, "words"),
    "experts": ("M-E*", None, "-", 2, "text"),
    "latent": ("M*EE", 32, "*E", 2, "text"),
    "words": ("ME*-", 32, "ME", 1, "words"),
}


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


# ---- logits ----


def _block(config, number, name, state):
    """transformers' block with the tensors of `name`; its experts lie in one tensor, those of releases apart."""
    prefix, experts = f"{name}.", {}
    block, tensors = NemotronHBlock(config, number).eval(), {}
    for key, tensor in state.items():
        inner = key.removeprefix(prefix)
        if not key.startswith(prefix) or inner.split(".")[0] not in ("norm", "mixer"):
            continue
        if re.fullmatch(r"mixer\.experts\.\d+\..*", inner):
            _, _, expert, part, _ = inner.split(".")
            experts.setdefault(f"mixer.experts.{part}", {})[int(expert)] = tensor.float()
        else:
            tensors[inner] = tensor.float()
    tensors |= {key: torch.stack([parts[expert] for expert in range(len(parts))]) for key, parts in experts.items()}
    block.load_state_dict(tensors)
    return block


def _rms(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight.float()


def logits(folder, tokens, **settings):
    """[logits, logits of each depth] of a folder in fp32: transformers' model, and its blocks in a frame by hand, as
    multi_token_prediction.py describes it: eh_proj(cat(enorm(embedding of the next token), hnorm(hidden))), the blocks, final_layernorm, the
    head. `hidden` is what the head or the depth before got; past the end of the prompt stands token 0. settings: others of the configuration."""
    config = transformers.NemotronHConfig.from_pretrained(folder, **settings)
    model = transformers.NemotronHForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()
    state, depths, hidden = hf_files.read_safetensors(folder), config.num_nextn_predict_layers, []
    hook = model.model.norm_f.register_forward_hook(lambda module, inputs, output: hidden.append(output))
    ids = torch.tensor([tokens])
    with torch.no_grad():
        out = [model(ids).logits[0]]
        hook.remove()
        x, kinds = hidden[0], config.mtp_layers_block_type if depths else []
        inner = transformers.NemotronHConfig(**{**config.to_dict(), "layers_block_type": kinds}) if depths else config
        inner._attn_implementation, inner._experts_implementation = "sdpa", "eager"  # causal where it is given no mask
        for depth in range(depths):
            first = f"mtp.layers.{depth * len(kinds)}"
            ids = torch.cat([ids[:, 1:], torch.zeros(1, 1, dtype=torch.long)], dim=1)
            embedded, eps = model.model.embeddings(ids), config.layer_norm_epsilon
            joined = torch.cat([_rms(embedded, state[f"{first}.enorm.weight"], eps), _rms(x, state[f"{first}.hnorm.weight"], eps)], dim=-1)
            x = joined @ state[f"{first}.eh_proj.weight"].float().T
            for number in range(len(kinds)):
                x = _block(inner, number, f"mtp.layers.{depth * len(kinds) + number}", state)(x)
            x = _rms(x, state[f"mtp.layers.{(depth + 1) * len(kinds) - 1}.final_layernorm.weight"], eps)
            out.append(model.lm_head(x)[0])
    return out
