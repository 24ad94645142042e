"""Makes what real megatron-core says and writes for data/ again:  python -m oracles.make_data OUT   (from tests/)

OUT/megatron_written/*        torch_dist folders
OUT/requested_keys/*.txt      for each model and layer spec, every key a default-strict load asks a checkpoint for: "tensor KEY" or
                              "object KEY", sorted. `_extra_state` objects are among them; which modules have one is a property
                              of TransformerEngine and megatron-core, found here and nowhere written down.
OUT/mistral/hf                a Mistral with a window of 8 tokens and random weights, as transformers saves it; the tokenizer of the others
OUT/architectures/*/hf        a small model of each architecture that has no other checkpoint in data/, random weights, as transformers saves it
OUT/architectures/*/logits.safetensors
                              what transformers computes of it in F32, for `causeway verify --reference-logits`
OUT/glm4_moe/hf               a GLM-4.5 with a dense layer, two with experts and a multi-token prediction depth, random weights; that tokenizer
"""
import dataclasses
import os
import pathlib
import shutil
import sys

from oracles import fixture_weights, hf_files, hf_models, ling, mimo, nemotron_h, nemotron_h_reference, qwen_vl, recorded
from oracles.arch import Index, Mla, Moe, awkward
from oracles.layout import Layout
from oracles.pool import NEXT_CORE, Pool
from oracles.sharding import shard

DATA = pathlib.Path(__file__).resolve().parents[2] / "data"

# folder: (model, layout, gate and up as keys of their own)
FOLDERS = {
    "dense": (fixture_weights.DENSE, Layout(), False),
    "dense_tp2_resave": (fixture_weights.DENSE, Layout(tp=2), False),
    "dense_pp3_resave": (fixture_weights.DENSE, Layout(pp=3), False),
    "dense_singleton": (fixture_weights.DENSE, Layout(), True),
    "dense_tied_qknorm": (fixture_weights.TIED_QKNORM, Layout(), False),
}

# What te asks for and local does not, in words: extra state of norms that are modules, and of the attention of MTP layers,
# because MultiTokenPredictionBlock.sharded_state_dict starts from a plain state_dict. The local spec calls the norm before
# a mixture mlp.linear_fc1.layer_norm_weight, but with MLA every norm has its own name.
KEYS = {f"{spec}.{name}": (spec, arch) for spec in ("te", "local") for name, arch in {
    "qwen3_moe": awkward("qwen3_moe", tied=False, dtype="bfloat16"),
    "mixtral": awkward("mixtral", tied=False, dtype="bfloat16"),
    "deepseek_v3_mtp2": awkward("deepseek_v3", tied=False, dtype="bfloat16", mtp=2),
    "glm4_moe": awkward("glm4_moe", tied=False, dtype="bfloat16", mtp=1),
}.items()}
# megatron-core has no local spec of GatedDeltaNet
KEYS.update({f"te.{name}": ("te", awkward(name, tied=False, dtype="bfloat16", mtp=1)) for name in ("qwen3_5", "qwen3_5_moe")})
# Of megatron-core 0.19.2, which alone has these models.
NEXT_KEYS = {
    "te.deepseek_v32": awkward("deepseek_v32", tied=False, dtype="bfloat16", mtp=2),
    "te.glm_moe_dsa": awkward("glm_moe_dsa", tied=False, dtype="bfloat16", mtp=1, index=Index(heads=3, dim=14, topk=5, shared=(1,))),
    "te.nemotron_h": nemotron_h_reference.shape("latent"),
}


_SMALL = dict(tied=False, dtype="bfloat16", layers=2, hidden=32, heads=4, groups=2, head_dim=8, ffn=48, vocab=80)
_LATENT = dict(_SMALL, groups=4, eps=1e-6, mla=Mla(q_rank=24, kv_rank=20, nope=12, rope=8, v_head=10))
_PLAIN_LATENT = dict(_LATENT, mla=Mla(q_rank=24, kv_rank=20, nope=12, rope=8, v_head=10, yarn_factor=None))
_SOFTMAX = Moe(experts=4, topk=2, ffn=20)
_SIGMOID = Moe(experts=3, topk=2, ffn=12, dense=(0,), shared=1, score_groups=1, chosen_groups=1, scaling=2.5)
_GROUPS = Moe(experts=8, topk=4, ffn=8, dense=(0,), shared=1, score_groups=4, chosen_groups=2, scaling=2.5)
_ONE_A_TOKEN = Moe(experts=3, topk=1, ffn=20, dense=(0,), shared=1, normalized=False)
_TEXT = dict(_SMALL, vocab=90)  # so that the recorded prompt has none of the tokens that stand for images
_GEMMA = dict(_SMALL, tied=True, eps=1e-6)
_TWO_BASES = dict(full_attention=dict(rope_type="linear", rope_theta=1e6, factor=8.0), sliding_attention=dict(rope_type="default", rope_theta=1e4))

# Architectures without another checkpoint in data/: {folder: model}. The place of a model is its seed, so that a new one comes last.
ARCHITECTURES = {
    "deepseek_v2": awkward("deepseek_v2", **dict(_LATENT, mla=Mla(q_rank=24, kv_rank=20, nope=12, rope=8, v_head=10, mscale=0.707, mscale_all_dim=0.707)),
                           moe=Moe(experts=8, topk=2, ffn=12, dense=(0,), shared=1, score_groups=4, chosen_groups=2, scaling=3.0, greedy=True)),
    "deepseek_v32": awkward("deepseek_v32", **_LATENT, mtp=1, moe=_GROUPS, index=Index(heads=3, dim=14, topk=5)),
    "gemma2": awkward("gemma2", **_GEMMA, hf=dict(sliding_window=8, query_pre_attn_scalar=24)),
    "gemma3": awkward("gemma3_text", **_GEMMA, hf=dict(sliding_window=8, query_pre_attn_scalar=24, rope_parameters=_TWO_BASES,
                                                        layer_types=["sliding_attention", "full_attention"])),
    "glm4": awkward("glm4", **_SMALL),
    "glm4_moe_lite": awkward("glm4_moe_lite", **_PLAIN_LATENT, mtp=1, moe=_SIGMOID),
    "glm_moe_dsa": awkward("glm_moe_dsa", **dict(_PLAIN_LATENT, layers=3, ffn=16), mtp=1, moe=_SIGMOID, index=Index(heads=2, dim=12, topk=5, shared=(1,))),
    "gpt_oss": awkward("gpt_oss", **_SMALL, moe=_SOFTMAX, hf=dict(sliding_window=8)),
    "hy_v3": awkward("hy_v3", **_SMALL, mtp=1, moe=_SIGMOID),
    "mimo": awkward("qwen2", **_SMALL, mtp=1),
    "minimax_m2": awkward("minimax_m2", **_SMALL, eps=1e-6, rotary=0.5, moe=Moe(experts=4, topk=2, ffn=20, score_groups=1, chosen_groups=1)),
    "ministral": awkward("ministral", **_SMALL, window=8, sliding=(True, False)),
    "nemotron": awkward("nemotron", **_SMALL),
    "olmoe": awkward("olmoe", **dict(_SMALL, groups=4), moe=Moe(experts=4, topk=2, ffn=20, normalized=False)),
    "phi3": awkward("phi3", **_SMALL, rotary=0.5),
    "qwen2_moe": awkward("qwen2_moe", **_SMALL, moe=Moe(experts=4, topk=2, ffn=20, gated_ffn=28, normalized=False)),
    "seed_oss": awkward("seed_oss", **_SMALL, eps=1e-6, rope_base=1e7),
    "starcoder2": awkward("starcoder2", **dict(_SMALL, tied=True)),
    "bailing_moe_v2": awkward("glm4_moe", **_SMALL, mtp=1, moe=_GROUPS),
    "llama4": awkward("llama4_text", **dict(_SMALL, layers=4, ffn=24), rope_base=5e5, moe=_ONE_A_TOKEN),
    "nemotron_h": dict(pattern="ME*-", latent=16, kinds="*E", depths=1),
    "qwen2_5_vl": qwen_vl.Case("qwen2_5_vl", awkward("qwen2", **_TEXT, rope_base=1e6), (2, 1, 1), width=12),
    "qwen3_vl": qwen_vl.Case("qwen3_vl", awkward("qwen3", **_TEXT, rope_base=5e6), (2, 1, 1), width=12),
    "qwen3_vl_moe": qwen_vl.Case("qwen3_vl_moe", awkward("qwen3_moe", **_TEXT, rope_base=5e6, moe=_SOFTMAX), (2, 1, 1), width=12),
}
# Those that transformers does not have: made of another class, whose tensors then get their own names.
RENAMED = {"bailing_moe_v2": ling, "mimo": mimo}


def make_folder(pool, root, name):
    arch, layout, singleton = FOLDERS[name]
    full = fixture_weights.parameters(arch)
    parts = [{key: shard(key, value, layout, rank, arch.vocab) for key, value in full.items()} for rank in range(layout.world)]
    pool.run("save", layout=layout, arch=arch, directory=os.path.join(root, "iter_0000000"), vocab_rows=arch.vocab, parameters=parts, iteration=0,
             singleton=singleton)
    with open(os.path.join(root, "latest_checkpointed_iteration.txt"), "w") as tracker:
        tracker.write("0")


def make_mistral(folder):
    arch = awkward("mistral", tied=False, dtype="bfloat16", eps=1e-5, rope_base=1e6, hf=dict(sliding_window=8))
    hf_models.save(hf_models.model(arch, seed=50), folder, shard_size="90KB")
    copy_tokenizer(folder)


def make_glm4_moe(folder):
    arch = awkward("glm4_moe", tied=False, dtype="bfloat16", hidden=32, heads=4, head_dim=8, ffn=48, mtp=1,
                   moe=Moe(experts=4, topk=2, ffn=12, dense=(0,), shared=1, score_groups=1, chosen_groups=1, scaling=2.5))
    state = hf_files.read_safetensors(hf_models.save(hf_models.model(arch, seed=51), folder))
    hf_files.write_safetensors(folder, {**state, **hf_files.mtp_tensors(arch, state, seed=51)}, files=3)
    copy_tokenizer(folder)


def make_decoder(name, arch, folder, seed):
    """Returns the recorded prompt's logits, those of each MTP depth included where transformers' MtpModel knows the layer."""
    state = hf_files.read_safetensors(hf_models.save(hf_models.model(arch, seed=seed), folder))
    mtp = hf_files.mtp_tensors(arch, state, seed=seed)
    if mtp:
        hf_files.write_safetensors(folder, {**state, **mtp}, files=2)
    known = dataclasses.replace(arch, mtp=0) if arch.family == "qwen2" else arch
    logits = hf_models.logits_with_mtp(known, folder, recorded.tokens(arch.vocab))
    if name in RENAMED:
        RENAMED[name].make(folder, arch, state, mtp, files=2)
    return logits


def make_architecture(name, folder):
    model, seed, hf = ARCHITECTURES[name], 60 + list(ARCHITECTURES).index(name), os.path.join(folder, "hf")
    if isinstance(model, qwen_vl.Case):
        vocab, logits = model.arch.vocab, [qwen_vl.make(model, hf, seed).logits]
    elif name == "nemotron_h":
        nemotron_h.make(hf, seed=seed, **model)
        vocab = nemotron_h.CONFIG["vocab_size"]
        logits = nemotron_h.logits(hf, recorded.tokens(vocab))[:1]
    else:
        vocab, logits = model.vocab, make_decoder(name, model, hf, seed)
    recorded.write(os.path.join(folder, "logits.safetensors"), recorded.tokens(vocab), logits)


def copy_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(DATA / "bridge_written" / "llama_tied" / "hf" / name, os.path.join(folder, name))


def requested_keys(pool, arch, grouped=False):
    ((tensors, objects),) = pool.run("requested_keys", arch=arch, grouped=grouped)
    return "".join(f"{kind} {key}\n" for kind, keys in (("tensor", tensors), ("object", objects)) for key in keys)


if __name__ == "__main__":
    pools = {spec: Pool(spec) for spec in ("te", "local")}
    for folder in FOLDERS:
        make_folder(pools["local"], os.path.join(sys.argv[1], "megatron_written", folder), folder)
    os.makedirs(os.path.join(sys.argv[1], "requested_keys"))
    pools["next"] = Pool("te", NEXT_CORE)
    for which, (which_pool, which_arch) in (KEYS | {name: ("next", arch) for name, arch in NEXT_KEYS.items()}).items():
        with open(os.path.join(sys.argv[1], "requested_keys", which + ".txt"), "w") as keys_file:
            keys_file.write(requested_keys(pools[which_pool], which_arch))
    for pool in pools.values():
        pool.close()
    make_mistral(os.path.join(sys.argv[1], "mistral", "hf"))
    for architecture in ARCHITECTURES:
        make_architecture(architecture, os.path.join(sys.argv[1], "architectures", architecture))
    make_glm4_moe(os.path.join(sys.argv[1], "glm4_moe", "hf"))
