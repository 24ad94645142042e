"""The Hugging Face checkpoints the tests convert."""
import dataclasses
import json
import pathlib

import torch
import transformers

from oracles import fp8, hf_files, hf_models, mxfp4, recorded, sharding
from oracles.arch import Arch, Index, Mla, Moe, awkward
from oracles.hf_files import read_safetensors


@dataclasses.dataclass(frozen=True)
class Fp8:
    block: tuple[int, int]
    scale: torch.dtype
    kept: tuple[str, ...] = ()  # parts of names of linears that stay bf16, besides those of every release


@dataclasses.dataclass(frozen=True)
class Case:
    arch: Arch
    seed: int
    shard_size: str | None = None  # None: one file
    bare: bool = False             # tensors named without `model.`
    files: int = 1                 # written by hand (MTP, FP8, MXFP4): how many, filled in turn
    released: bool = False         # config.json as released, not as transformers 5 writes it
    fp8: Fp8 | None = None
    mxfp4: bool = False


@dataclasses.dataclass
class Source:
    arch: Arch
    folder: pathlib.Path
    state: dict[str, torch.Tensor]  # by names with `model.`, whatever the files call them; codes dequantized
    bare: bool
    fp8: Fp8 | None
    plain: pathlib.Path             # a folder of `state`; `folder` itself unless that is quantized

    def logits(self, ids):
        """[logits, those of each MTP depth], computed by transformers from the files."""
        return hf_models.logits_with_mtp(self.arch, self.plain, ids)


DENSE = {
    "llama": Case(awkward("llama", tied=False, dtype="bfloat16"), 1, shard_size="40KB"),
    "llama_tied_fp32": Case(awkward("llama", tied=True, dtype="float32", rope_base=50000.0), 2),
    "llama_bare": Case(awkward("llama", tied=True, dtype="bfloat16"), 3, bare=True),
    "qwen2": Case(awkward("qwen2", tied=False, dtype="bfloat16", eps=1e-6), 4, shard_size="60KB"),
    "qwen2_tied": Case(awkward("qwen2", tied=True, dtype="bfloat16"), 5),
    "qwen3": Case(awkward("qwen3", tied=False, dtype="bfloat16", eps=1e-6, rope_base=1e6), 6),
    "qwen3_tied_fp32": Case(awkward("qwen3", tied=True, dtype="float32"), 7, shard_size="100KB"),
    "mistral": Case(awkward("mistral", tied=False, dtype="bfloat16", rope_base=1e6, hf=dict(sliding_window=None)), 20),
    "phi3": Case(awkward("phi3", tied=False, dtype="bfloat16", rotary=0.5), 45),
}

MOE = {
    "qwen3_moe": Case(awkward("qwen3_moe", tied=False, dtype="bfloat16", eps=1e-6, rope_base=1e6), 8, shard_size="90KB"),
    "qwen3_moe_tied_fp32": Case(awkward("qwen3_moe", tied=True, dtype="float32"), 9),
    "qwen3_moe_some_dense": Case(awkward("qwen3_moe", tied=False, dtype="bfloat16", moe=Moe(experts=4, topk=2, ffn=36, dense=(1,))), 17),
    "qwen2_moe": Case(awkward("qwen2_moe", tied=False, dtype="bfloat16", eps=1e-6, rope_base=1e6), 21, shard_size="90KB"),
    "mixtral": Case(awkward("mixtral", tied=False, dtype="bfloat16", rope_base=1e6), 10, shard_size="80KB"),
    "deepseek_v3": Case(awkward("deepseek_v3", tied=False, dtype="bfloat16", mtp=1), 11, files=3, released=True),
    "deepseek_v3_mtp2_fp32": Case(awkward("deepseek_v3", tied=False, dtype="float32", mtp=2), 12),
    "deepseek_v3_mtp3": Case(awkward("deepseek_v3", tied=False, dtype="bfloat16", mtp=3), 13, files=2, released=True),
    "deepseek_v3_full_queries": Case(
        awkward("deepseek_v3", tied=False, dtype="bfloat16", mtp=1, mla=Mla(q_rank=None, kv_rank=20, nope=12, rope=8, v_head=10, yarn_factor=None)),
        18, released=True),
    "glm4_moe": Case(awkward("glm4_moe", tied=False, dtype="bfloat16", mtp=1), 70, files=2),
}

# Kin of the others, whose rows they share: not in every layout.
KIN = {
    "deepseek_v2": Case(awkward("deepseek_v2", tied=False, dtype="bfloat16"), 74),
    "glm4_moe_lite": Case(awkward("glm4_moe_lite", tied=False, dtype="bfloat16", mtp=1), 72),
    "hy_v3": Case(awkward("hy_v3", tied=False, dtype="bfloat16", mtp=1), 73),
}

# Several blocks and partial ones both ways: 3 x 2 of them in embedding-sized matrices, fewer in the experts'.
_MLA = Mla(q_rank=136, kv_rank=132, nope=44, rope=8, v_head=52)
_LARGE = awkward("deepseek_v3", tied=False, dtype="bfloat16", mtp=1, hidden=264, ffn=272, mla=_MLA,
                 moe=Moe(experts=4, topk=2, ffn=140, dense=(0,), shared=1, score_groups=2, chosen_groups=1, scaling=2.5))

FP8 = {
    "fp8": Case(_LARGE, 14, files=3, released=True, fp8=Fp8((128, 128), torch.float32)),
    "fp8_bf16_scales": Case(dataclasses.replace(_LARGE, mtp=2, hidden=184), 15, files=2, released=True,
                            fp8=Fp8((48, 80), torch.bfloat16, kept=("mlp.shared_experts.", "layers.1.self_attn.q_b_proj."))),
    "qwen3_fp8": Case(awkward("qwen3", tied=False, dtype="bfloat16", hidden=144), 19, files=2, fp8=Fp8((128, 128), torch.bfloat16)),
    "qwen3_moe_fp8": Case(awkward("qwen3_moe", tied=False, dtype="bfloat16", hidden=144), 16, files=2, fp8=Fp8((128, 128), torch.bfloat16)),
}

# Their modules in Megatron-Core are those of the ones above, or it has none: converted once each (test_convert_more).
MORE = {
    "seed_oss": Case(awkward("seed_oss", tied=False, dtype="bfloat16", eps=1e-6, rope_base=1e7), 22),
    "ministral": Case(awkward("ministral", tied=False, dtype="bfloat16", rope_base=1e6), 25),
    "olmoe": Case(awkward("olmoe", tied=False, dtype="bfloat16"), 23),
    "minimax_m2": Case(awkward("minimax_m2", tied=False, dtype="bfloat16", rope_base=5e6), 24),
}

CASES = {**DENSE, **MOE, **KIN, **FP8, **MORE}

# Latent attention with an index: megatron-core 0.16.1 refuses it (dsa), so that these are met by transformers alone.
_GLM = dict(tied=False, dtype="bfloat16", mla=Mla(q_rank=24, kv_rank=20, nope=12, rope=8, v_head=10, yarn_factor=None))
INDEXED = {
    "deepseek_v32": Case(awkward("deepseek_v32", tied=False, dtype="bfloat16", mtp=2), 80, files=2),
    "deepseek_v32_released": Case(awkward("deepseek_v32", tied=False, dtype="bfloat16", mtp=1), 81, files=2, released=True,
                                  fp8=Fp8((48, 32), torch.float32, kept=("indexer.weights_proj.",))),
    "glm_moe_dsa": Case(awkward("glm_moe_dsa", mtp=1, **_GLM), 82, files=2),
    "glm_moe_dsa_shared": Case(awkward("glm_moe_dsa", mtp=1, index=Index(heads=3, dim=14, topk=5, shared=(1,)), **_GLM), 83),
}

# Choices that change no tensor, or only which tensors there are: for the forward pass. Positions are few enough for the
# 24 tokens to feel every scaling of them.
_YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)
_LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)

# The limit and the window are small enough to count.
_GPT_OSS = dict(rope_parameters=dict(_YARN, truncate=False), sliding_window=5, swiglu_limit=0.2)


def _variant(family, seed, **hf):
    return Case(awkward(family, tied=False, dtype="bfloat16", hf=hf), seed)


# Four layers, so that windows come and go; the caps are low enough to be felt, and scores have a divisor of their own.
_GEMMA = dict(tied=True, dtype="bfloat16", layers=4, eps=1e-6)
_GEMMA3_ROPE = dict(full_attention=dict(rope_type="linear", rope_theta=1e5, factor=4.0), sliding_attention=dict(rope_type="default", rope_theta=1e4))


FORWARD = {
    "llama_biased": _variant("llama", 31, attention_bias=True, mlp_bias=True),
    "llama_linear_rope": _variant("llama", 32, rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.5)),
    "llama_llama3_rope": _variant("llama", 33, rope_parameters=_LLAMA3),
    "qwen3_yarn": _variant("qwen3", 34, rope_parameters=_YARN),
    "qwen3_yarn_mscales": _variant("qwen3", 35, rope_parameters=dict(_YARN, mscale=1.2, mscale_all_dim=0.7, beta_fast=8.0, beta_slow=2.0)),
    "qwen2_window": _variant("qwen2", 36, use_sliding_window=True, sliding_window=5, max_window_layers=1),
    "seed_oss_unbiased": _variant("seed_oss", 45, attention_bias=False),
    "ministral_alike": Case(awkward("ministral", tied=False, dtype="bfloat16", window=7, sliding=(True,) * 3), 46),
    "mixtral_window": _variant("mixtral", 37, sliding_window=5),
    "mistral_window": _variant("mistral", 42, sliding_window=5),
    "phi3_window": _variant("phi3", 46, sliding_window=5),
    "mistral_bare": Case(dataclasses.replace(awkward("mistral", tied=True, dtype="bfloat16"), head_dim=12), 43, bare=True),
    "gpt_oss": Case(awkward("gpt_oss", tied=False, dtype="float32", hf=_GPT_OSS), 47),
    # As the releases, where a matrix and its transpose have one shape.
    "gpt_oss_square": Case(awkward("gpt_oss", tied=False, dtype="bfloat16", hf=_GPT_OSS, ffn=72, moe=Moe(experts=4, topk=2, ffn=72)), 48),
    "llama4": Case(awkward("llama4_text", tied=False, dtype="float32", rope_base=5e5), 92, shard_size="200KB"),
    # Every token but the first few is in another chunk than some before it, and sharpened.
    "llama4_long": _variant("llama4_text", 93, attention_chunk_size=7, floor_scale=5, attn_scale=0.4),
    "gpt_oss_mxfp4": Case(awkward("gpt_oss", tied=False, dtype="bfloat16", hf=_GPT_OSS, hidden=64, ffn=96, moe=Moe(experts=4, topk=2, ffn=96)), 49,
                          files=2, mxfp4=True),
    "qwen3_moe_not_normalized": _variant("qwen3_moe", 38, norm_topk_prob=False),
    "deepseek_v3_one_group": _variant("deepseek_v3", 39, n_group=1, topk_group=1),
    # DeepSeek-V2-Lite.
    "deepseek_v2_greedy": _variant("deepseek_v2", 75, topk_method="greedy", n_group=1, topk_group=1, q_lora_rank=None),
    # GLM-4.5-Air has no norms of queries and keys.
    "glm4_moe_plain": _variant("glm4_moe", 71, attention_bias=False, use_qk_norm=False),
    "glm4": _variant("glm4", 60),
    "glm4_plain": Case(awkward("glm4", tied=True, dtype="float32", eps=1e-6, hf=dict(attention_bias=False)), 61, bare=True),
    "gemma2": Case(awkward("gemma2", **_GEMMA, hf=dict(sliding_window=5, query_pre_attn_scalar=24, attn_logit_softcapping=2.0,
                                                       final_logit_softcapping=3.0)), 62, shard_size="60KB"),
    "gemma3": Case(awkward("gemma3_text", **_GEMMA, hf=dict(sliding_window=5, query_pre_attn_scalar=20, rope_parameters=_GEMMA3_ROPE,
                                                            layer_types=["sliding_attention", "full_attention"] * 2)), 63),
    "nemotron": Case(awkward("nemotron", tied=False, dtype="bfloat16"), 64),
    "starcoder2": Case(awkward("starcoder2", tied=True, dtype="bfloat16", head_dim=12), 65),
    "starcoder2_window": Case(awkward("starcoder2", tied=False, dtype="bfloat16", head_dim=12, hf=dict(sliding_window=5)), 66),
    "deepseek_v3_eps": Case(awkward("deepseek_v3", tied=False, dtype="bfloat16", mtp=1, eps=1e-3), 40),
}
# Of these, architectures that are not above. megatron-core has the modules of the last three only.
OTHERS = ["glm4", "glm4_plain", "gemma2", "gemma3", "nemotron", "starcoder2", "starcoder2_window"]
SPECS = ["te", "local"]


def make(case, folder):
    """The Source of a case, its files in `folder`/model."""
    arch, path = case.arch, hf_models.save(hf_models.model(case.arch, seed=case.seed), folder / "model", shard_size=case.shard_size, bare=case.bare)
    state = read_safetensors(path)
    if case.bare:
        state = {"model." + name: tensor for name, tensor in state.items()}
    plain = path
    if arch.mtp or case.fp8:
        state.update(hf_files.mtp_tensors(arch, state, seed=case.seed))
        stored = fp8.quantized(state, case.fp8.block, case.fp8.scale, fp8.KEPT + case.fp8.kept) if case.fp8 else state
        hf_files.write_safetensors(path, stored, case.files)
    if case.released:
        hf_files.released_config(path, arch)
    if case.fp8:
        state = fp8.plain(stored, case.fp8.block)
        plain = hf_files.copy_with_tensors(path, folder / "plain", state)
        kept = [name.removesuffix(".weight") for name in stored if any(part in name for part in case.fp8.kept)]
        hf_files.add_quantization_config(path, case.fp8.block, kept)
    if case.mxfp4:
        stored = mxfp4.quantized(state)
        hf_files.write_safetensors(path, stored, case.files)
        state = mxfp4.plain(stored)
        plain = hf_files.copy_with_tensors(path, folder / "plain", state)
        hf_files.set_quantization_config(path, mxfp4.CONFIG)
    return Source(arch, path, state, case.bare, case.fp8, plain)


def tokens(arch):
    return recorded.tokens(arch.vocab)


def save_by_ranks(pool, arch, full, root, layout, rows, spec="te", **choices):
    """root/iter_0000005, as the ranks of a layout write these full parameters; the vocabulary has `rows` rows, filled with what training
    may leave in those that pad it."""
    padded = dict(full)
    for key in full.keys() & sharding.VOCABULARY:
        padded[key] = torch.cat([full[key], torch.full((rows - arch.vocab, arch.hidden), 3.0, dtype=full[key].dtype)])
    parts = [{key: sharding.shard(key, value, layout, rank, rows, spec, arch) for key, value in padded.items()} for rank in range(layout.world)]
    pool.run("save", layout=layout, arch=arch, directory=str(root / "iter_0000005"), vocab_rows=rows, parameters=parts, iteration=5, **choices)
    (root / "latest_checkpointed_iteration.txt").write_text("5")


def distance(logits, reference):
    """How far [main, MTP depth 1, ...] are apart, each in units of what the rule for two fp32 implementations allows."""
    assert len(logits) == len(reference)
    return [float((a - b).abs().max()) / (1e-4 * max(1.0, float(b.std()))) for a, b in zip(logits, reference)]


def close(logits, reference):
    worst = max(distance(logits, reference))
    assert worst <= 1, f"logits differ by {worst:g} times what is allowed"


def _bridge_moe(config):
    if config["model_type"] == "qwen3_moe":
        return Moe(experts=config["num_experts"], topk=config["num_experts_per_tok"], ffn=config["moe_intermediate_size"])
    if config["model_type"] == "deepseek_v3":
        return Moe(experts=config["n_routed_experts"], topk=config["num_experts_per_tok"], ffn=config["moe_intermediate_size"],
                   dense=tuple(range(config["first_k_dense_replace"])), shared=config["n_shared_experts"], score_groups=config["n_group"],
                   chosen_groups=config["topk_group"], scaling=config["routed_scaling_factor"])
    return None


def _bridge_mla(config):
    if "kv_lora_rank" not in config:
        return None
    yarn = config["rope_scaling"]
    return Mla(q_rank=config["q_lora_rank"], kv_rank=config["kv_lora_rank"], nope=config["qk_nope_head_dim"], rope=config["qk_rope_head_dim"],
               v_head=config["v_head_dim"], yarn_factor=yarn["factor"], yarn_positions=yarn["original_max_position_embeddings"])


def bridge_source(folder):
    """The Arch and the tensors of one of data/bridge_written/*/hf, codes dequantized."""
    with open(folder / "config.json") as file:
        config = json.load(file)
    arch = Arch(family=config["model_type"], layers=config["num_hidden_layers"], hidden=config["hidden_size"], heads=config["num_attention_heads"],
                groups=config["num_key_value_heads"], head_dim=config.get("head_dim", 0), ffn=config["intermediate_size"], vocab=config["vocab_size"],
                tied=config["tie_word_embeddings"], dtype=config["torch_dtype"], eps=config["rms_norm_eps"], rope_base=config["rope_theta"],
                moe=_bridge_moe(config), mla=_bridge_mla(config), mtp=config.get("num_nextn_predict_layers", 0))
    return arch, fp8.plain(read_safetensors(folder), (128, 128))
