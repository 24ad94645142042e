"""Tiny Hugging Face checkpoints, written by real transformers."""
import torch
import transformers

_CLASSES = {"llama": transformers.LlamaForCausalLM, "qwen2": transformers.Qwen2ForCausalLM, "qwen3": transformers.Qwen3ForCausalLM}


def config(arch):
    return _CLASSES[arch.family].config_class(
        hidden_size=arch.hidden, num_hidden_layers=arch.layers, num_attention_heads=arch.heads, num_key_value_heads=arch.groups,
        head_dim=arch.head_dim, intermediate_size=arch.ffn, vocab_size=arch.vocab, max_position_embeddings=arch.positions,
        rms_norm_eps=arch.eps, rope_parameters={"rope_type": "default", "rope_theta": arch.rope_base}, tie_word_embeddings=arch.tied,
        hidden_act="silu", attention_dropout=0.0, dtype=arch.dtype, bos_token_id=1, eos_token_id=2, pad_token_id=None,
    )


def model(arch, seed=0):
    """Random weights; norms and biases too, so that none is at a value that hides a mistake."""
    made = _CLASSES[arch.family](config(arch))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if "norm" in name else 0.1 * noise)
    return made.to(getattr(torch, arch.dtype)).eval()


def filled(arch, state):
    """A model holding exactly the given state dict."""
    made = _CLASSES[arch.family](config(arch)).to(getattr(torch, arch.dtype)).eval()
    result = made.load_state_dict(state, strict=False)
    assert not result.unexpected_keys and set(result.missing_keys) <= ({"lm_head.weight"} if arch.tied else set()), result
    made.tie_weights()
    return made


def save(made, folder, *, shard_size=None, bare=False):
    """`bare`: the decoder alone, whose tensors have no `model.` prefix (what AutoModel saves)."""
    target = made.model if bare else made
    target.save_pretrained(folder, **({"max_shard_size": shard_size} if shard_size else {}))
    return folder


def state(made):
    """Its tensors by full name, each once: a tied head is not a tensor of its own."""
    tensors = {name: tensor.detach().clone() for name, tensor in made.state_dict().items()}
    if made.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    return tensors


def logits(made, tokens):
    """In fp32. A fresh model, because `.to(bfloat16)` also rounded the rotary frequencies of `made`."""
    fresh = type(made)(made.config).float().eval()
    fresh.load_state_dict(made.state_dict())
    with torch.no_grad():
        return fresh(torch.tensor([tokens])).logits[0]
