"""Tiny Hugging Face models of real transformers: configurations, random weights, logits."""
import pathlib
import re
import tempfile

import torch
import transformers
from transformers.cache_utils import MtpCache
from transformers.modeling_layers import MtpModel

from oracles import hf_files

_CLASSES = {"llama": transformers.LlamaForCausalLM, "qwen2": transformers.Qwen2ForCausalLM, "qwen3": transformers.Qwen3ForCausalLM,
            "qwen3_moe": transformers.Qwen3MoeForCausalLM, "mixtral": transformers.MixtralForCausalLM,
            "qwen2_moe": transformers.Qwen2MoeForCausalLM, "mistral": transformers.MistralForCausalLM, "deepseek_v3": transformers.DeepseekV3ForCausalLM,
            "seed_oss": transformers.SeedOssForCausalLM, "ministral": transformers.MinistralForCausalLM,
            "olmoe": transformers.OlmoeForCausalLM, "minimax_m2": transformers.MiniMaxM2ForCausalLM,
            "glm4_moe": transformers.Glm4MoeForCausalLM, "glm4_moe_lite": transformers.Glm4MoeLiteForCausalLM,
            "hy_v3": transformers.HYV3ForCausalLM, "deepseek_v2": transformers.DeepseekV2ForCausalLM,
            "glm4": transformers.Glm4ForCausalLM, "gemma2": transformers.Gemma2ForCausalLM, "gemma3_text": transformers.Gemma3ForCausalLM,
            "nemotron": transformers.NemotronForCausalLM, "starcoder2": transformers.Starcoder2ForCausalLM,
            "llama4_text": transformers.Llama4ForCausalLM, "phi3": transformers.Phi3ForCausalLM, "gpt_oss": transformers.GptOssForCausalLM,
            "deepseek_v32": transformers.DeepseekV32ForCausalLM, "glm_moe_dsa": transformers.GlmMoeDsaForCausalLM}
# Settings by which a class differs from the others, and the name that it has for the epsilon of its norms.
_OWN = {"gemma2": dict(hidden_activation="gelu_pytorch_tanh"), "gemma3_text": dict(hidden_activation="gelu_pytorch_tanh"),
        "nemotron": dict(hidden_act="relu2"), "starcoder2": dict(hidden_act="gelu_pytorch_tanh")}
_EPS = {"nemotron": "norm_eps", "starcoder2": "norm_epsilon"}


def _moe_settings(arch):
    moe = arch.moe
    if moe is None:
        return {}
    settings = dict(num_experts_per_tok=moe.topk)
    if arch.family in ("mixtral", "minimax_m2", "gpt_oss"):
        return dict(settings, num_local_experts=moe.experts, intermediate_size=moe.ffn)
    if arch.family == "llama4_text":
        return dict(settings, num_local_experts=moe.experts, intermediate_size=moe.ffn, intermediate_size_mlp=arch.ffn,
                    moe_layers=[layer for layer in range(arch.layers) if arch.is_moe(layer)])
    if arch.family == "olmoe":
        return dict(settings, num_experts=moe.experts, intermediate_size=moe.ffn, norm_topk_prob=moe.normalized)
    settings.update(moe_intermediate_size=moe.ffn, norm_topk_prob=moe.normalized)
    if arch.family in ("qwen2_moe", "qwen3_moe"):
        settings.update(num_experts=moe.experts, decoder_sparse_step=1, mlp_only_layers=list(moe.dense))
        return dict(settings, shared_expert_intermediate_size=moe.gated_ffn) if moe.gated_ffn else settings
    if arch.family == "hy_v3":
        return dict(settings, num_experts=moe.experts, num_shared_experts=moe.shared, first_k_dense_replace=len(moe.dense), router_scaling_factor=moe.scaling,
                    num_nextn_predict_layers=arch.mtp)
    if arch.family == "deepseek_v2":
        settings.update(norm_topk_prob=False, topk_method="group_limited_greedy")
    return dict(settings, n_routed_experts=moe.experts, n_shared_experts=moe.shared, first_k_dense_replace=len(moe.dense), n_group=moe.score_groups,
                topk_group=moe.chosen_groups, routed_scaling_factor=moe.scaling, num_nextn_predict_layers=arch.mtp)


def _attention_settings(arch):
    mla = arch.mla
    if mla is None:
        part = {} if arch.rotary == 1 else {"partial_rotary_factor": arch.rotary}
        rope = dict(rope_type="default", rope_theta=arch.rope_base, **part)
        biased = dict(attention_bias=True, use_qk_norm=True) if arch.family == "glm4_moe" else {}
        return dict(head_dim=arch.head_dim, rope_parameters=rope, **biased)
    rope = dict(rope_type="default", rope_theta=arch.rope_base)
    yarn = dict(rope_type="yarn", rope_theta=arch.rope_base, factor=mla.yarn_factor, original_max_position_embeddings=mla.yarn_positions, beta_fast=32.0,
                beta_slow=1.0, mscale=mla.mscale, mscale_all_dim=mla.mscale_all_dim)
    return dict(q_lora_rank=mla.q_rank, kv_lora_rank=mla.kv_rank, qk_nope_head_dim=mla.nope, qk_rope_head_dim=mla.rope, v_head_dim=mla.v_head,
                rope_parameters=yarn if mla.yarn_factor else rope)


def _index_settings(arch):
    index = arch.index
    if index is None:
        return {}
    settings = dict(index_n_heads=index.heads, index_head_dim=index.dim, index_topk=index.topk)
    if index.shared:
        settings.update(indexer_types=["shared" if layer in index.shared else "full" for layer in range(arch.layers)])
    return settings


def config(arch):
    settings = dict(
        hidden_size=arch.hidden, num_hidden_layers=arch.layers, num_attention_heads=arch.heads, num_key_value_heads=arch.groups,
        intermediate_size=arch.ffn, vocab_size=arch.vocab, max_position_embeddings=arch.positions,
        tie_word_embeddings=arch.tied, attention_dropout=0.0, dtype=arch.dtype, bos_token_id=1, eos_token_id=2, pad_token_id=None,
    )
    settings[_EPS.get(arch.family, "rms_norm_eps")] = arch.eps
    settings.update(_OWN.get(arch.family, dict(hidden_act="silu")))
    settings.update(_attention_settings(arch))
    settings.update(_moe_settings(arch))
    if arch.sliding:
        settings.update(sliding_window=arch.window, layer_types=["sliding_attention" if slides else "full_attention" for slides in arch.sliding])
    settings.update(_index_settings(arch))
    settings.update(arch.hf)
    return _CLASSES[arch.family].config_class(**settings)


def _tensors(made):
    """Parameters, and the one kind of buffer that is saved: the router's bias, which stays in fp32."""
    yield from made.named_parameters()
    yield from ((name, buffer) for name, buffer in made.named_buffers() if name.endswith("e_score_correction_bias"))


def _to_dtype(made, dtype):
    biases = {name: tensor.clone() for name, tensor in made.named_buffers() if name.endswith("e_score_correction_bias")}
    made = made.to(dtype)
    for name, bias in biases.items():
        made.get_submodule(name.rpartition(".")[0]).e_score_correction_bias.data = bias
    return made.eval()


def model(arch, seed=0):
    """Random weights; norms and biases too, so that none is at a value that hides a mistake."""
    made = _CLASSES[arch.family](config(arch))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in _tensors(made):
            noise = torch.randn(tensor.shape, generator=generator)
            is_norm = "norm" in name and name.endswith("weight")
            tensor.copy_(arch.norm_centre + 0.2 * noise if is_norm else 0.1 * noise)
    return _to_dtype(made, getattr(torch, arch.dtype))


_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(\w+)\.weight")
_EXPERT_PART = {"gate_proj": "gate", "w1": "gate", "up_proj": "up", "w3": "up", "down_proj": "down", "w2": "down"}


def _in_memory(arch, state):
    """A state dict as transformers holds it: experts stacked, gate and up in one, no MTP layers."""
    out, experts = {}, {}
    for name, tensor in state.items():
        if any(name.startswith(f"model.layers.{arch.layers + depth}.") for depth in range(arch.mtp)):
            continue
        name = name.replace(".block_sparse_moe.", ".mlp.")
        expert = _EXPERT.fullmatch(name)
        if expert:
            experts.setdefault(expert[1], {})[_EXPERT_PART[expert[3]], int(expert[2])] = tensor
        else:
            out[name] = tensor
    for name, parts in experts.items():
        each = range(arch.moe.experts)
        out[name + ".gate_up_proj"] = torch.stack([torch.cat([parts["gate", e], parts["up", e]]) for e in each])
        out[name + ".down_proj"] = torch.stack([parts["down", e] for e in each])
    return out


def filled(arch, state):
    """A model holding exactly the given state dict (names of the files)."""
    made = _to_dtype(_CLASSES[arch.family](config(arch)), getattr(torch, arch.dtype))
    result = made.load_state_dict(_in_memory(arch, state), strict=False)
    assert not result.unexpected_keys and set(result.missing_keys) <= ({"lm_head.weight"} if arch.tied else set()), result
    made.tie_weights()
    return made


def save(made, folder, *, shard_size=None, bare=False):
    """`bare`: the decoder alone, whose tensors have no `model.` prefix (what AutoModel saves)."""
    target = made.model if bare else made
    target.save_pretrained(folder, **({"max_shard_size": shard_size} if shard_size else {}))
    return folder


def _fresh(made):
    """In fp32. A fresh model, because `.to(bfloat16)` also rounded the rotary frequencies of `made`."""
    fresh = type(made)(made.config).float().eval()
    fresh.load_state_dict(made.state_dict())
    return fresh


def logits(made, tokens):
    with torch.no_grad():
        return _fresh(made)(torch.tensor([tokens])).logits[0]


def hidden_states(arch, folder, prompts):
    """After the embedding, after each layer but the last, and after the final norm, in fp32."""
    made = _CLASSES[arch.family].from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return list(made(torch.tensor(prompts), output_hidden_states=True).hidden_states)


def loading_report(arch, folder):
    """What from_pretrained did not find, or found and did not know."""
    _, report = _CLASSES[arch.family].from_pretrained(folder, output_loading_info=True)
    return report


def _as_mtp_model_reads(arch, folder, work):
    """MtpModel does not know the name that Hy3's last norm has: a copy with the name of the others."""
    if arch.family != "hy_v3":
        return folder
    return hf_files.copy_with_tensors(folder, pathlib.Path(work) / "renamed", {
        name.replace(".final_layernorm.", ".shared_head.norm."): tensor for name, tensor in hf_files.read_safetensors(folder).items()})


def _say_mtp_layers(config, depths):
    """What MtpModel asks a configuration, and these classes do not say."""
    config.num_mtp_layers, config.mtp_layer_types, config.mtp_mlp_layer_types = depths, ["indexed_attention"] * depths, ["sparse"] * depths


def _indexed_depth(mtp, depth, state, positions, ids):
    """MtpModel knows no mask of these layers, and nothing of the choice that GLM's return beside their result."""
    layer, embedded = mtp.layers[depth], mtp.embed_tokens(ids)
    hook = layer.mtp_block.register_forward_hook(lambda module, inputs, output: output[0] if isinstance(output, tuple) else output)
    mask = torch.full((ids.shape[1], ids.shape[1]), -torch.inf).triu(1)[None, None]
    out = layer(embedded, state, mtp.rotary_emb(embedded, position_ids=positions), mask, positions, None)
    hook.remove()
    return out


def logits_with_mtp(arch, folder, tokens):
    """[logits, logits of each MTP depth] of a folder in fp32, by transformers' model and its MtpModel. The rows past the end of
    the prompt see token 0, as Megatron's do; positions are shifted, which a relative encoding does not notice."""
    with tempfile.TemporaryDirectory() as work:
        made = _CLASSES[arch.family].from_pretrained(_as_mtp_model_reads(arch, folder, work), dtype=torch.float32)
        return _logits_with_mtp(arch, made, tokens)


def _logits_with_mtp(arch, made, tokens):
    # MtpModel takes from this which tensors are its own; the class says layer 61
    made._keys_to_ignore_on_load_unexpected = [rf"model\.layers\.{arch.layers + depth}\." for depth in range(arch.mtp)]
    ids, hidden = torch.tensor([tokens]), []
    hook = made.model.norm.register_forward_hook(lambda module, inputs, output: hidden.append(output))
    with torch.no_grad():
        out = [made(ids).logits[0]]
        hook.remove()
        if not arch.mtp:
            return out
        if arch.index:
            _say_mtp_layers(made.config, arch.mtp)
        elif getattr(made.config, "mlp_layer_types", None):  # these classes do not know of their MTP
            made.config.num_mtp_layers, made.config.mtp_mlp_layer_types = arch.mtp, ["sparse"] * arch.mtp
        mtp = MtpModel.from_pretrained(made).eval()
        state, positions = hidden[0], torch.arange(len(tokens))[None]
        for depth in range(arch.mtp):
            ids = torch.cat([ids[:, 1:], torch.zeros(1, 1, dtype=torch.long)], dim=1)
            if arch.index:
                state = _indexed_depth(mtp, depth, state, positions + 1 + depth, ids)
            else:
                state = mtp.forward_layer(depth, state, positions + 1 + depth, MtpCache(config=made.config.get_mtp_config()), input_ids=ids)
            out.append(made.lm_head(state)[0])
    return out
