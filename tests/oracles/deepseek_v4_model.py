"""Makes DeepSeek-V4 checkpoints with random weights as the releases are: names, dtypes, quantization, config.json.

1. Shapes are those of inference/model.py of the release; a config that differs in any dimension gives a model of that size.
2. `form`: "fp8fp4" (Flash, Pro) has FP8 linears, FP4 experts, E8M0 scales; "base" has FP8 experts too and F32 scales;
   "base_e8m0" the same with E8M0 scales; "bf16" nothing quantized.
3. The owner's rule: E8M0 scales are 2^ceil(log2(amax / largest code)), F32 ones amax / 448; FP8 rounds to even, and so does FP4.
   A third of the scales are not of the rule (E8M0 one step coarser, F32 up to 1.6 times as large): they are to come back too.
"""
import torch

from oracles import deepseek_v4

FLOOR = {"fp8": 1e-4, "fp4": 6 * 2.0**-126}
LARGEST = {"fp8": 448.0, "fp4": 6.0}


def config(form="fp8fp4", mtp=1, **other):
    out = dict(
        architectures=["DeepseekV4ForCausalLM"], attention_bias=False, attention_dropout=0.0, bos_token_id=0, eos_token_id=1, hc_eps=1e-6, hc_mult=4,
        hc_sinkhorn_iters=20, head_dim=24, hidden_act="silu", hidden_size=96, index_head_dim=20, index_n_heads=4, index_topk=8, initializer_range=0.02,
        max_position_embeddings=4096, model_type="deepseek_v4", moe_intermediate_size=64, n_routed_experts=4, n_shared_experts=1, norm_topk_prob=True,
        num_attention_heads=6, num_experts_per_tok=2, num_hidden_layers=4, num_hash_layers=2, num_key_value_heads=1, num_nextn_predict_layers=mtp, o_groups=2,
        o_lora_rank=36, q_lora_rank=48, qk_rope_head_dim=8, rms_norm_eps=1e-6,
        rope_scaling=dict(beta_fast=32, beta_slow=1, factor=16, original_max_position_embeddings=64, type="yarn"), rope_theta=10000,
        routed_scaling_factor=1.5, scoring_func="sqrtsoftplus", sliding_window=16, swiglu_limit=10.0, tie_word_embeddings=False, topk_method="noaux_tc",
        torch_dtype="bfloat16", transformers_version="4.57.1", use_cache=True, vocab_size=120, compress_rope_theta=160000, compress_ratios=[0, 4, 128, 4, 0])
    if form != "bf16":
        out["expert_dtype"] = "fp4" if form == "fp8fp4" else "fp8"
        out["quantization_config"] = dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", scale_fmt="float" if form == "base" else "ue8m0",
                                          weight_block_size=[128, 128])
    return {**out, **other}


# ---- shapes: {name: (shape, kind)}, kind one of linear, expert, bf16, norm, fp32, ids ----


def _compressor(prefix, ratio, dim, hidden):
    wide = dim * (2 if ratio == 4 else 1)  # a ratio of 4 has overlapping windows
    return {f"{prefix}.ape": ((ratio, wide), "fp32"), f"{prefix}.wkv.weight": ((wide, hidden), "bf16"), f"{prefix}.wgate.weight": ((wide, hidden), "bf16"),
            f"{prefix}.norm.weight": ((dim,), "norm")}


def _attention(c, ratio):
    hidden, rank, width = c["hidden_size"], c["q_lora_rank"], c["num_attention_heads"] * c["head_dim"]
    groups = c["o_groups"] * c["o_lora_rank"]
    out = {"attn_sink": ((c["num_attention_heads"],), "fp32"), "wq_a.weight": ((rank, hidden), "linear"), "q_norm.weight": ((rank,), "norm"),
           "wq_b.weight": ((width, rank), "linear"), "wkv.weight": ((c["head_dim"], hidden), "linear"), "kv_norm.weight": ((c["head_dim"],), "norm"),
           "wo_a.weight": ((groups, width // c["o_groups"]), "linear"), "wo_b.weight": ((hidden, groups), "linear")}
    if ratio:
        out.update(_compressor("compressor", ratio, c["head_dim"], hidden))
    if ratio == 4:
        out["indexer.wq_b.weight"] = ((c["index_n_heads"] * c["index_head_dim"], rank), "linear")
        out["indexer.weights_proj.weight"] = ((c["index_n_heads"], hidden), "bf16")
        out.update(_compressor("indexer.compressor", ratio, c["index_head_dim"], hidden))
    return out


def _block(c, prefix, ratio, hashed):
    hidden, streams, ffn, experts = c["hidden_size"], c["hc_mult"], c["moe_intermediate_size"], c["n_routed_experts"]
    out = {}
    for part in ("attn", "ffn"):
        mixed = (2 + streams) * streams
        out |= {f"hc_{part}_fn": ((mixed, streams * hidden), "fp32"), f"hc_{part}_base": ((mixed,), "fp32"), f"hc_{part}_scale": ((3,), "fp32"),
                f"{part}_norm.weight": ((hidden,), "norm")}
    out |= {f"attn.{name}": entry for name, entry in _attention(c, ratio).items()}
    out["ffn.gate.weight"] = ((experts, hidden), "bf16")
    if hashed:
        out["ffn.gate.tid2eid"] = ((c["vocab_size"], c["num_experts_per_tok"]), "ids")
    else:
        out["ffn.gate.bias"] = ((experts,), "fp32")
    for owner, kind, rows in [(f"experts.{e}", "expert", ffn) for e in range(experts)] + [("shared_experts", "linear", ffn * c["n_shared_experts"])]:
        out |= {f"ffn.{owner}.w1.weight": ((rows, hidden), kind), f"ffn.{owner}.w2.weight": ((hidden, rows), kind), f"ffn.{owner}.w3.weight": ((rows, hidden), kind)}
    return {f"{prefix}.{name}": entry for name, entry in out.items()}


def _head(c, prefix=""):
    streams = c["hc_mult"]
    return {f"{prefix}hc_head_fn": ((streams, streams * c["hidden_size"]), "fp32"), f"{prefix}hc_head_base": ((streams,), "fp32"),
            f"{prefix}hc_head_scale": ((1,), "fp32")}


def shapes(c):
    hidden, layers, ratios = c["hidden_size"], c["num_hidden_layers"], c["compress_ratios"]
    out = {"embed.weight": ((c["vocab_size"], hidden), "bf16")}
    for layer in range(layers):
        out |= _block(c, f"layers.{layer}", ratios[layer], layer < c["num_hash_layers"])
    out |= {"norm.weight": ((hidden,), "norm"), "head.weight": ((c["vocab_size"], hidden), "bf16"), **_head(c)}
    for depth in range(c["num_nextn_predict_layers"]):
        mtp, at = f"mtp.{depth}", layers + depth
        out |= _block(c, mtp, ratios[at] if at < len(ratios) else 0, False)
        out |= {f"{mtp}.e_proj.weight": ((hidden, hidden), "linear"), f"{mtp}.h_proj.weight": ((hidden, hidden), "linear")}
        out |= {f"{mtp}.{name}.weight": ((hidden,), "norm") for name in ("enorm", "hnorm", "norm")} | _head(c, mtp + ".")
    return out


# ---- the owner's rule ----


def _blocks(weight, block):
    rows, columns = (-(-size // step) for size, step in zip(weight.shape, block))
    padded = torch.zeros(rows * block[0], columns * block[1])
    padded[: weight.shape[0], : weight.shape[1]] = weight.float()
    return padded.view(rows, block[0], columns, block[1])


def owner_scales(weight, kind, scale_dtype):
    """kind: fp8 or fp4"""
    block = deepseek_v4.FP4_BLOCK if kind == "fp4" else deepseek_v4.FP8_BLOCK
    amax = _blocks(weight, block).abs().amax(dim=(1, 3)).clamp(min=FLOOR[kind]) / LARGEST[kind]
    if scale_dtype == torch.float32:
        return amax
    mantissa, exponent = torch.frexp(amax)  # amax = mantissa * 2^exponent, mantissa in [1/2, 1)
    return (exponent - (mantissa == 0.5).int() + 127).to(torch.uint8).view(torch.float8_e8m0fnu)


def e2m1_codes(values):
    """The nearest; of two the even one. The sign of zero is kept."""
    table = torch.tensor(deepseek_v4.E2M1)
    distance = (values.abs().unsqueeze(-1) - table).abs()
    even_first = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
    codes = even_first[distance[..., even_first].argmin(dim=-1)].to(torch.uint8)
    return codes | torch.signbit(values).to(torch.uint8) << 3


def codes(weight, scales, kind):
    block = deepseek_v4.FP4_BLOCK if kind == "fp4" else deepseek_v4.FP8_BLOCK
    scaled = (weight.float() / deepseek_v4._per_element(scales, weight.shape, block)).clamp(-LARGEST[kind], LARGEST[kind])
    if kind == "fp8":
        return scaled.to(torch.float8_e4m3fn)
    return _packed(e2m1_codes(scaled), torch.int8)


def _packed(elements, dtype):
    return (elements[:, 0::2] | elements[:, 1::2] << 4).contiguous().view(torch.int8) if dtype == torch.int8 else elements.view(dtype)


def _nibbles(stored):
    """One byte an element."""
    raw = stored.view(torch.uint8)
    return torch.stack([raw & 15, raw >> 4], dim=-1).flatten(-2) if stored.dtype == torch.int8 else raw


def requantized(weight, stored, scales):
    """(codes, scales, blocks that got a new scale) of a weight whose codes and scales were (stored, scales). A block keeps its
    scale where every value is a code by it, and the code of each value that did not change."""
    kind = "fp4" if stored.dtype == torch.int8 else "fp8"
    block = deepseek_v4.block_of(stored)

    def whole_blocks(equal):
        return _blocks(~equal, block).amax(dim=(1, 3)) == 0

    def same(values):
        return values.view(torch.int16) == weight.view(torch.int16)

    by_old = codes(weight, scales, kind)
    kept = whole_blocks(same(deepseek_v4.dequantize(stored, scales)) | same(deepseek_v4.dequantize(by_old, scales)))
    bits = torch.int32 if scales.dtype == torch.float32 else torch.uint8
    new_scales = torch.where(kept, scales.view(bits), owner_scales(weight, kind, scales.dtype).view(bits)).view(scales.dtype)
    out, old = _nibbles(codes(weight, new_scales, kind)), _nibbles(stored)
    in_kept = kept.repeat_interleave(block[0], 0)[: weight.shape[0]].repeat_interleave(block[1], 1)[:, : weight.shape[1]]
    out = torch.where(in_kept & same(deepseek_v4.dequantize(stored, scales)), old, out)
    return _packed(out, stored.dtype), new_scales, int((~kept).sum())


# ---- weights ----


def _values(shape, kind, experts, generator):
    noise = torch.randn(shape, generator=generator)
    if kind == "ids":
        return torch.stack([torch.randperm(experts, generator=generator)[: shape[1]] for _ in range(shape[0])])
    if kind == "norm":
        return 1 + 0.1 * noise
    return 0.3 * noise if kind == "fp32" else noise * 1.5 / shape[1] ** 0.5


def _coarser(scales, generator):
    some = torch.rand(scales.shape, generator=generator) < 0.33
    if scales.dtype == torch.float32:
        return torch.where(some, scales * (1.05 + 0.55 * torch.rand(scales.shape, generator=generator)), scales)
    return (scales.view(torch.uint8) + some).to(torch.uint8).view(torch.float8_e8m0fnu)


def state_dict(c, form, seed):
    generator = torch.Generator().manual_seed(seed)
    dtypes = {"bf16": torch.bfloat16, "norm": torch.bfloat16, "fp32": torch.float32, "ids": torch.int64}
    out = {}
    for name, (shape, kind) in shapes(c).items():
        value = _values(shape, kind, c["n_routed_experts"], generator)
        if kind in dtypes or form == "bf16":
            out[name] = value.to(dtypes.get(kind, torch.bfloat16))
            continue
        quantized = "fp4" if kind == "expert" and form == "fp8fp4" else "fp8"
        scales = _coarser(owner_scales(value, quantized, torch.float32 if form == "base" else torch.float8_e8m0fnu), generator)
        out[name], out[deepseek_v4.scale_name(name)] = codes(value, scales, quantized), scales
    return out
