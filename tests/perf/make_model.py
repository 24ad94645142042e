"""Writes a random BF16 Hugging Face checkpoint of GB size: the names and shapes of Qwen3 or Qwen3-MoE.

    python3 tests/perf/make_model.py OUT [--kind dense|moe] [--layers N] [--seed S]

The same arguments give the same bytes. Memory stays at one tensor: the safetensors files are written by hand.
The values look like weights (2^-7 <= |w| < 2^-5, both signs), so that no run profits from zeros.
"""

import argparse
import json
import math
import pathlib
import struct

import numpy

SHARD_BYTES = 600_000_000


def shapes(c):
    """Tensor name -> shape, in the order of the files."""
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


def config(kind, layers):
    common = {
        "num_attention_heads": 16,
        "num_hidden_layers": layers,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
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
    if kind == "dense":
        return common | {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 65536,
        }
    return common | {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "vocab_size": 32768,
        "num_experts": 128,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 256,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "router_aux_loss_coef": 0.001,
        "output_router_logits": False,
    }


def random_bf16(generator, count):
    bits = numpy.frombuffer(generator.bytes(2 * count), dtype=numpy.uint16)
    return (bits & 0x80FF) | 0x3C00


def write_shard(path, tensors, generator):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for _, shape in tensors:
            random_bf16(generator, math.prod(shape)).tofile(file)


def make(out, kind="dense", layers=20, seed=0):
    """Returns the bytes of all tensors."""
    out.mkdir(parents=True)
    c = config(kind, layers)
    shards, room = [], 0
    for name, shape in shapes(c):
        size = 2 * math.prod(shape)
        if size > room:
            shards.append([])
            room = SHARD_BYTES
        shards[-1].append((name, shape))
        room -= size
    generator = numpy.random.default_rng(seed)
    weight_map, total = {}, 0
    for number, tensors in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_shard(out / file, tensors, generator)
        weight_map |= {name: file for name, _ in tensors}
        total += sum(2 * math.prod(shape) for _, shape in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (out / "config.json").write_text(json.dumps(c, indent=2) + "\n")
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--kind", choices=("dense", "moe"), default="dense")
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    total = make(args.out, args.kind, args.layers, args.seed)
    print(f"{args.out}: {total / 1e9:.2f} GB, {args.kind}, {args.layers} layers")


if __name__ == "__main__":
    main()
