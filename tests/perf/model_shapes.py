"""The models the bench makes: configurations, and names, dtypes and shapes of their tensors, file order.

    dense   Qwen3
    moe     Qwen3-MoE: 128 small experts a layer
    fp8     DeepSeek-V3: a few of its real matrices (experts of 2048 x 7168), FP8 in blocks of 128 x 128 with F32
            scales, one MTP depth that repeats embedding and head
    fp4     DeepSeek-V4: 11,520 small expert matrices in FP4 with E8M0 scales, the rest as released, one MTP depth
    transpose   gpt-oss in BF16: all of a layer's experts in one tensor, transposed and interleaved
    many    DeepSeek-V3 again: all of its 91,991 tensors, each of them tiny

Truth: transformers' Qwen3 and Qwen3-MoE; the index of deepseek-ai/DeepSeek-V3 and inference/model.py of DeepSeek-V4 for
names and dtypes.
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
    if c["model_type"] == "deepseek_v4":
        return deepseek_v4(c)
    if c["model_type"] == "gpt_oss":
        return (Tensor(name, "BF16", shape) for name, shape in gpt_oss(c))
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


def gpt_oss(c):
    hidden, head, experts, size = c["hidden_size"], c["head_dim"], c["num_local_experts"], c["intermediate_size"]
    heads = {"q": c["num_attention_heads"], "k": c["num_key_value_heads"], "v": c["num_key_value_heads"]}
    yield "model.embed_tokens.weight", [c["vocab_size"], hidden]
    for layer in range(c["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", [hidden]
        for part, count in heads.items():
            yield f"{prefix}.self_attn.{part}_proj.weight", [count * head, hidden]
            yield f"{prefix}.self_attn.{part}_proj.bias", [count * head]
        yield f"{prefix}.self_attn.o_proj.weight", [hidden, heads["q"] * head]
        yield f"{prefix}.self_attn.o_proj.bias", [hidden]
        yield f"{prefix}.self_attn.sinks", [heads["q"]]
        yield f"{prefix}.post_attention_layernorm.weight", [hidden]
        yield f"{prefix}.mlp.router.weight", [experts, hidden]
        yield f"{prefix}.mlp.router.bias", [experts]
        yield f"{prefix}.mlp.experts.gate_up_proj", [experts, hidden, 2 * size]
        yield f"{prefix}.mlp.experts.gate_up_proj_bias", [experts, 2 * size]
        yield f"{prefix}.mlp.experts.down_proj", [experts, size, hidden]
        yield f"{prefix}.mlp.experts.down_proj_bias", [experts, hidden]
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


def deepseek_v4(c):
    hidden, vocab, heads, head = c["hidden_size"], c["vocab_size"], c["num_attention_heads"], c["head_dim"]
    q_rank, groups, o_rank = c["q_lora_rank"], c["o_groups"], c["o_lora_rank"]
    experts, size, streams = c["n_routed_experts"], c["moe_intermediate_size"], c["hc_mult"]
    index_heads, index = c["index_n_heads"], c["index_head_dim"]

    def quantized(name, rows, columns):
        yield Tensor(f"{name}.weight", "F8_E4M3", [rows, columns])
        yield Tensor(f"{name}.scale", "F8_E8M0", [-(-rows // BLOCK), -(-columns // BLOCK)])

    def packed(name, rows, columns):
        yield Tensor(f"{name}.weight", "I8", [rows, columns // 2])
        yield Tensor(f"{name}.scale", "F8_E8M0", [rows, columns // 32])

    def mlp(prefix, kind):
        yield from kind(f"{prefix}.w1", size, hidden)
        yield from kind(f"{prefix}.w2", hidden, size)
        yield from kind(f"{prefix}.w3", size, hidden)

    def compressor(prefix, ratio, width):
        wide = (2 if ratio == 4 else 1) * width
        yield Tensor(f"{prefix}.ape", "F32", [ratio, wide])
        yield Tensor(f"{prefix}.wkv.weight", "BF16", [wide, hidden])
        yield Tensor(f"{prefix}.wgate.weight", "BF16", [wide, hidden])
        yield Tensor(f"{prefix}.norm.weight", "BF16", [width])

    def block(prefix, ratio, hashed):
        attention = f"{prefix}.attn"
        for part in ("attn", "ffn"):
            mixing = streams * (streams + 2)
            yield Tensor(f"{prefix}.hc_{part}_fn", "F32", [mixing, streams * hidden])
            yield Tensor(f"{prefix}.hc_{part}_base", "F32", [mixing])
            yield Tensor(f"{prefix}.hc_{part}_scale", "F32", [3])
            yield Tensor(f"{prefix}.{part}_norm.weight", "BF16", [hidden])
        yield Tensor(f"{attention}.attn_sink", "F32", [heads])
        yield Tensor(f"{attention}.q_norm.weight", "BF16", [q_rank])
        yield Tensor(f"{attention}.kv_norm.weight", "BF16", [head])
        yield from quantized(f"{attention}.wq_a", q_rank, hidden)
        yield from quantized(f"{attention}.wq_b", heads * head, q_rank)
        yield from quantized(f"{attention}.wkv", head, hidden)
        yield from quantized(f"{attention}.wo_a", groups * o_rank, heads * head // groups)
        yield from quantized(f"{attention}.wo_b", hidden, groups * o_rank)
        if ratio > 0:
            yield from compressor(f"{attention}.compressor", ratio, head)
        if ratio == 4:
            yield from quantized(f"{attention}.indexer.wq_b", index_heads * index, q_rank)
            yield Tensor(f"{attention}.indexer.weights_proj.weight", "BF16", [index_heads, hidden])
            yield from compressor(f"{attention}.indexer.compressor", ratio, index)
        yield Tensor(f"{prefix}.ffn.gate.weight", "BF16", [experts, hidden])
        if hashed:
            yield Tensor(f"{prefix}.ffn.gate.tid2eid", "I64", [vocab, c["num_experts_per_tok"]])
        else:
            yield Tensor(f"{prefix}.ffn.gate.bias", "F32", [experts])
        yield from mlp(f"{prefix}.ffn.shared_experts", quantized)
        for expert in range(experts):
            yield from mlp(f"{prefix}.ffn.experts.{expert}", packed)

    def head_of_streams(prefix):
        yield Tensor(f"{prefix}hc_head_fn", "F32", [streams, streams * hidden])
        yield Tensor(f"{prefix}hc_head_base", "F32", [streams])
        yield Tensor(f"{prefix}hc_head_scale", "F32", [1])

    yield Tensor("embed.weight", "BF16", [vocab, hidden])
    for layer in range(c["num_hidden_layers"]):
        yield from block(f"layers.{layer}", c["compress_ratios"][layer], layer < c["num_hash_layers"])
    yield from head_of_streams("")
    yield Tensor("norm.weight", "BF16", [hidden])
    yield Tensor("head.weight", "BF16", [vocab, hidden])
    for depth in range(c["num_nextn_predict_layers"]):
        yield from block(f"mtp.{depth}", 0, False)
        yield from quantized(f"mtp.{depth}.e_proj", hidden, hidden)
        yield from quantized(f"mtp.{depth}.h_proj", hidden, hidden)
        for norm in ("enorm", "hnorm", "norm"):
            yield Tensor(f"mtp.{depth}.{norm}.weight", "BF16", [hidden])
        yield from head_of_streams(f"mtp.{depth}.")


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
    "n_group": 4,  # a group is ranked by its best two
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
FP4 = COMMON | {
    "architectures": ["DeepseekV4ForCausalLM"],
    "model_type": "deepseek_v4",
    "expert_dtype": "fp4",
    "hidden_size": 512,
    "moe_intermediate_size": 256,
    "num_hidden_layers": 14,
    "num_hash_layers": 2,
    "num_nextn_predict_layers": 1,
    "compress_ratios": [0, 0] + [4, 128] * 6 + [0],
    "compress_rope_theta": 160000,
    "sliding_window": 128,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "qk_rope_head_dim": 16,
    "q_lora_rank": 128,
    "o_groups": 2,
    "o_lora_rank": 128,
    "index_n_heads": 4,
    "index_head_dim": 32,
    "index_topk": 8,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 6,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.5,
    "scoring_func": "sqrtsoftplus",
    "topk_method": "noaux_tc",
    "swiglu_limit": 10.0,
    "hc_mult": 4,
    "hc_eps": 1e-6,
    "hc_sinkhorn_iters": 20,
    "vocab_size": 4096,
    "rope_theta": 10000,
    "rope_scaling": {
        "type": "yarn",
        "factor": 16,
        "beta_fast": 32,
        "beta_slow": 1,
        "original_max_position_embeddings": 65536,
    },
    "quantization_config": {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "scale_fmt": "ue8m0",
        "activation_scheme": "dynamic",
        "weight_block_size": [BLOCK, BLOCK],
    },
}
# Matrices as released, fewer of them.
TRANSPOSE = COMMON | {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "attention_bias": True,
    "rms_norm_eps": 1e-5,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 2,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "num_local_experts": 8,
    "num_experts_per_tok": 4,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "vocab_size": 8192,
    "rope_theta": 150000,
}
CONFIGS = {"transpose": TRANSPOSE, "dense": DENSE, "moe": MOE, "fp8": FP8, "fp4": FP4, "many": MANY}
