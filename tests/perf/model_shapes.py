"""The models the bench makes: configurations, and names, dtypes and shapes of their tensors, file order.

    dense   Qwen3
    moe     Qwen3-MoE: 128 small experts a layer
    fp8     DeepSeek-V3: a few of its real matrices (experts of 2048 x 7168), FP8 in blocks of 128 x 128 with F32
            scales, one MTP depth that repeats embedding and head
    many    DeepSeek-V3 again: all of its 91,991 tensors, each of them tiny

Truth: transformers' Qwen3 and Qwen3-MoE; the index of deepseek-ai/DeepSeek-V3 for names and dtypes.
"""

import dataclasses

BLOCK = 128


@dataclasses.dataclass
class Tensor:
    name: str
    dtype: str  # as safetensors spells it
    shape: list
    copy_of: str = ""  # the tensor whose bytes it repeats


def tensors(c):
    if c["model_type"] == "deepseek_v3":
        return deepseek(c)
    return (Tensor(name, "BF16", shape) for name, shape in qwen(c))


def qwen(c):
    hidden, head = c["hidden_size"], c["head_dim"]
    query_rows = c["num_attention_heads"] * head
    kv_rows = c["num_key_value_heads"] * head

    def mlp(prefix, size):
        yield f"{prefix}.gate_proj.weight", [size, hidden]
        yield f"{prefix}.up_proj.weight", [size, hidden]
        yield f"{prefix}.down_proj.weight", [hidden, size]

    yield "model.embed_tokens.weight", [c["vocab_size"], hidden]
    for layer in range(c["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", [hidden]
        yield f"{prefix}.self_attn.q_proj.weight", [query_rows, hidden]
        yield f"{prefix}.self_attn.k_proj.weight", [kv_rows, hidden]
        yield f"{prefix}.self_attn.v_proj.weight", [kv_rows, hidden]
        yield f"{prefix}.self_attn.q_norm.weight", [head]
        yield f"{prefix}.self_attn.k_norm.weight", [head]
        yield f"{prefix}.self_attn.o_proj.weight", [hidden, query_rows]
        yield f"{prefix}.post_attention_layernorm.weight", [hidden]
        if "num_experts" in c:
            yield f"{prefix}.mlp.gate.weight", [c["num_experts"], hidden]
            for expert in range(c["num_experts"]):
                yield from mlp(f"{prefix}.mlp.experts.{expert}", c["moe_intermediate_size"])
        else:
            yield from mlp(f"{prefix}.mlp", c["intermediate_size"])
    yield "model.norm.weight", [hidden]
    yield "lm_head.weight", [c["vocab_size"], hidden]


def deepseek(c):
    hidden, vocab, heads = c["hidden_size"], c["vocab_size"], c["num_attention_heads"]
    q_rank, kv_rank, value = c["q_lora_rank"], c["kv_lora_rank"], c["v_head_dim"]
    nope, rope = c["qk_nope_head_dim"], c["qk_rope_head_dim"]
    layers, experts = c["num_hidden_layers"], c["n_routed_experts"]

    def plain(name, *shape, **rest):
        yield Tensor(f"{name}.weight", "BF16", list(shape), **rest)

    def quantized(name, rows, columns):
        yield Tensor(f"{name}.weight", "F8_E4M3", [rows, columns])
        scales = [-(-rows // BLOCK), -(-columns // BLOCK)]
        yield Tensor(f"{name}.weight_scale_inv", "F32", scales)

    def mlp(prefix, size):
        yield from quantized(f"{prefix}.gate_proj", size, hidden)
        yield from quantized(f"{prefix}.up_proj", size, hidden)
        yield from quantized(f"{prefix}.down_proj", hidden, size)

    def layer_tensors(layer):
        prefix = f"model.layers.{layer}"
        attention = f"{prefix}.self_attn"
        yield from quantized(f"{attention}.q_a_proj", q_rank, hidden)
        yield from plain(f"{attention}.q_a_layernorm", q_rank)
        yield from quantized(f"{attention}.q_b_proj", heads * (nope + rope), q_rank)
        yield from quantized(f"{attention}.kv_a_proj_with_mqa", kv_rank + rope, hidden)
        yield from plain(f"{attention}.kv_a_layernorm", kv_rank)
        yield from quantized(f"{attention}.kv_b_proj", heads * (nope + value), kv_rank)
        yield from quantized(f"{attention}.o_proj", hidden, heads * value)
        yield from plain(f"{prefix}.input_layernorm", hidden)
        yield from plain(f"{prefix}.post_attention_layernorm", hidden)
        if layer < c["first_k_dense_replace"]:
            yield from mlp(f"{prefix}.mlp", c["intermediate_size"])
            return
        yield from plain(f"{prefix}.mlp.gate", experts, hidden)
        yield Tensor(f"{prefix}.mlp.gate.e_score_correction_bias", "F32", [experts])
        yield from mlp(f"{prefix}.mlp.shared_experts", c["moe_intermediate_size"])
        for expert in range(experts):
            yield from mlp(f"{prefix}.mlp.experts.{expert}", c["moe_intermediate_size"])

    yield from plain("model.embed_tokens", vocab, hidden)
    for layer in range(layers):
        yield from layer_tensors(layer)
    yield from plain("model.norm", hidden)
    yield from plain("lm_head", vocab, hidden)
    for layer in range(layers, layers + c["num_nextn_predict_layers"]):
        prefix = f"model.layers.{layer}"
        yield from layer_tensors(layer)
        yield from plain(f"{prefix}.embed_tokens", vocab, hidden, copy_of="model.embed_tokens.weight")
        yield from plain(f"{prefix}.enorm", hidden)
        yield from plain(f"{prefix}.hnorm", hidden)
        yield from plain(f"{prefix}.eh_proj", hidden, 2 * hidden)
        yield from plain(f"{prefix}.shared_head.norm", hidden)
        yield from plain(f"{prefix}.shared_head.head", vocab, hidden, copy_of="lm_head.weight")


COMMON = {
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "use_cache": True,
}
QWEN = COMMON | {"num_attention_heads": 16, "rope_theta": 1e6}
DENSE = QWEN | {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 25,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 65536,
}
MOE = QWEN | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 768,
    "intermediate_size": 2304,
    "num_hidden_layers": 25,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 32768,
    "num_experts": 128,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 192,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "router_aux_loss_coef": 0.001,
    "output_router_logits": False,
}
# As released.
DEEPSEEK = COMMON | {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "first_k_dense_replace": 3,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
    "rope_theta": 10000,
    "rope_scaling": {
        "type": "yarn",
        "factor": 40,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
    },
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "moe_layer_freq": 1,
    "num_experts_per_tok": 8,
    "n_group": 8,
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "num_nextn_predict_layers": 1,
    "quantization_config": {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [BLOCK, BLOCK],
    },
}
FP8 = DEEPSEEK | {
    "intermediate_size": 4608,
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 4096,
}
MANY = DEEPSEEK | {
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "vocab_size": 256,
}
CONFIGS = {"dense": DENSE, "moe": MOE, "fp8": FP8, "many": MANY}
