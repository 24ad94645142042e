"""Loads a converted DeepSeek-V4 checkpoint into the real model of Megatron-LM's dev branch, on a CPU. Run by hand: the
model is not in any megatron-core on PyPI, so it needs a checkout of the branch (confirmed with d48bd6be).

    causeway convert-hf HF_DIR MEGATRON_DIR
    cd tests && MEGATRON_LM=<checkout> python -m oracles.deepseek_v4_dev HF_DIR MEGATRON_DIR [--pp 2] [--ep 2] [--logits FILE]

1. One process per rank builds the GPTModel of config.json and loads the checkpoint with strict=raise_all (one rank) or the default.
2. Every shard the model holds, by its torch_dist key, equals that part of oracles/deepseek_v4.py's statement bit for bit.
3. With --logits (one rank), main and multi-token prediction logits beside recorded ones (input_ids, logits, mtp_logits.K).
What a CPU lacks is stood in for: fake_te, torch.cuda's calls, the Hadamard transform of the indexer.
"""
import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file

from oracles import deepseek_v4, fake_te


def _hadamard(x, scale=1.0):
    matrix = torch.ones(1, 1)
    while len(matrix) < x.size(-1):
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return (x.float() @ matrix * scale).to(x.dtype)


class _RMSNorm(fake_te.RMSNorm):
    def __init__(self, normalized_shape, **options):  # what the branch calls the first argument
        super().__init__(normalized_shape, **options)


class _Stream:
    def __init__(self, *_, **__):
        pass

    def __getattr__(self, name):
        return lambda *_, **__: None


def _stand_in():
    os.environ.update(CUDA_DEVICE_MAX_CONNECTIONS="1", TORCHDYNAMO_DISABLE="1")
    cuda = torch.cuda
    cuda.current_device = lambda: "cpu"
    cuda.synchronize = cuda.nvtx.range_push = cuda.nvtx.range_pop = lambda *_, **__: None
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_, **__: self
    cuda.Stream = cuda.Event = _Stream
    cuda.current_stream = lambda *_, **__: _Stream()
    cuda.stream = cuda.nvtx.range = lambda *_, **__: contextlib.nullcontext()
    fake_te.install()
    sys.modules["transformer_engine.pytorch"].RMSNorm = _RMSNorm
    fake_te._module("fast_hadamard_transform", hadamard_transform=_hadamard)
    sys.path.insert(0, os.environ["MEGATRON_LM"])


def _init(args):
    torch.distributed.init_process_group("gloo", rank=args.rank, world_size=args.pp * args.ep, init_method=f"file://{args.rendezvous}")
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel.random import CudaRNGStatesTracker

    parallel_state.initialize_model_parallel(pipeline_model_parallel_size=args.pp, expert_model_parallel_size=args.ep)
    CudaRNGStatesTracker.fork = lambda self, *_, **__: contextlib.nullcontext()


def _config(c, args):
    from megatron.core.transformer.pipeline_parallel_layer_layout import PipelineParallelLayerLayout
    from megatron.core.transformer.transformer_config import MLATransformerConfig

    rope, layers, depths = c["rope_scaling"], c["num_hidden_layers"], c["num_nextn_predict_layers"]
    stages = {}
    if args.pp == 2:
        first = ["embedding"] + ["decoder"] * (layers // 2)
        last = ["decoder"] * (layers - layers // 2) + ["mtp"] * depths + ["loss"]
        stages = dict(pipeline_model_parallel_size=2, pipeline_dtype=torch.float32, pipeline_model_parallel_layout=PipelineParallelLayerLayout([first, last], 2))
    return MLATransformerConfig(
        num_layers=layers, hidden_size=c["hidden_size"], num_attention_heads=c["num_attention_heads"], ffn_hidden_size=c["moe_intermediate_size"],
        layernorm_epsilon=c["rms_norm_eps"], normalization="RMSNorm", gated_linear_unit=True, add_bias_linear=False,
        activation_func=torch.nn.functional.silu, hidden_dropout=0.0, attention_dropout=0.0, use_cpu_initialization=True, params_dtype=torch.float32,
        deterministic_mode=True, bias_dropout_fusion=False, bias_activation_fusion=False, masked_softmax_fusion=False, gradient_accumulation_fusion=False,
        persist_layer_norm=False, apply_rope_fusion=False, qk_layernorm=True, transformer_impl="transformer_engine", attention_softmax_in_fp32=True,
        multi_latent_attention=True, experimental_attention_variant="dsv4_hybrid", q_lora_rank=c["q_lora_rank"], qk_pos_emb_head_dim=c["qk_rope_head_dim"],
        v_head_dim=c["head_dim"], o_groups=c["o_groups"], o_lora_rank=c["o_lora_rank"], rope_type="yarn", rotary_base=float(c["rope_theta"]),
        rotary_percent=1.0, csa_compress_rotary_base=float(c["compress_rope_theta"]), rotary_scaling_factor=float(rope["factor"]),
        original_max_position_embeddings=rope["original_max_position_embeddings"], beta_fast=float(rope["beta_fast"]), beta_slow=float(rope["beta_slow"]),
        mscale=1.0, mscale_all_dim=1.0, csa_compress_ratios=list(c["compress_ratios"]), csa_window_size=c["sliding_window"],
        dsa_indexer_n_heads=c["index_n_heads"], dsa_indexer_head_dim=c["index_head_dim"], dsa_indexer_topk=c["index_topk"], dsa_kernel_backend="none",
        enable_hyper_connections=True, use_fused_mhc=False, num_residual_streams=c["hc_mult"], mhc_sinkhorn_iterations=c["hc_sinkhorn_iters"],
        num_moe_experts=c["n_routed_experts"], moe_ffn_hidden_size=c["moe_intermediate_size"], moe_router_topk=c["num_experts_per_tok"],
        moe_grouped_gemm=True, moe_router_pre_softmax=False, moe_token_dispatcher_type="allgather", moe_router_load_balancing_type="none",
        moe_router_score_function=c["scoring_func"], moe_router_enable_expert_bias=True, moe_router_dtype="fp32", moe_aux_loss_coeff=0.0,
        moe_router_topk_scaling_factor=c["routed_scaling_factor"], moe_n_hash_layers=c["num_hash_layers"], actual_vocab_size=c["vocab_size"],
        activation_func_clamp_value=c["swiglu_limit"], moe_layer_freq=[1] * layers,
        moe_shared_expert_intermediate_size=c["moe_intermediate_size"] * c["n_shared_experts"], mtp_num_layers=depths or None,
        expert_model_parallel_size=args.ep, **stages)


def _model(c, config):
    from megatron.core import parallel_state
    from megatron.core.models.gpt import experimental_attention_variant_module_specs as variants, gpt_layer_specs
    from megatron.core.models.gpt.gpt_model import GPTModel

    layers = variants.get_transformer_block_with_experimental_attention_variant_spec(config)
    mtp = gpt_layer_specs.get_gpt_mtp_block_spec(config, layers, use_transformer_engine=True) if config.mtp_num_layers else None
    return GPTModel(
        config=config, transformer_layer_spec=layers, mtp_block_spec=mtp, vocab_size=c["vocab_size"], max_sequence_length=c["max_position_embeddings"],
        parallel_output=False, pre_process=parallel_state.is_pipeline_first_stage(), post_process=parallel_state.is_pipeline_last_stage(),
        position_embedding_type="rope", rotary_base=c["rope_theta"], share_embeddings_and_output_weights=c["tie_word_embeddings"]).eval()


def _shards(model):
    """(key, slice of the whole, tensor) of everything the model saves."""
    from megatron.core import parallel_state
    from megatron.core.dist_checkpointing.dict_utils import nested_values
    from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory

    metadata = {"dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True)}
    state = model.sharded_state_dict(metadata=metadata)
    for value in state.values():
        for shard in nested_values(value.build()) if isinstance(value, ShardedTensorFactory) else [value]:
            if isinstance(shard, ShardedTensor):
                leading = shard.prepend_axis_num
                box = tuple(slice(begin, begin + size) for begin, size in zip(shard.global_offset, (1,) * leading + tuple(shard.data.shape)))
                yield shard.key, box, shard.data.reshape([1] * leading + list(shard.data.shape))


def _load(model, directory, strict):
    from megatron.core import dist_checkpointing, parallel_state

    metadata = {"dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True)}
    state = {"model": model.sharded_state_dict(metadata=metadata)}
    loaded = dist_checkpointing.load(state, directory, strict=strict)
    model.load_state_dict((loaded[0] if isinstance(loaded, tuple) else loaded)["model"], strict=False)


def _compare(model, expected):
    seen = set()
    for key, box, tensor in _shards(model):
        whole = expected[key][box]
        assert torch.equal(tensor.to(whole.dtype), whole) and torch.equal(tensor, whole.to(tensor.dtype)), key
        seen.add(key)
    return seen


def _logits(model, c, recorded):
    from megatron.core.transformer.experimental_attention_variant import csa

    csa.rotate_activation = lambda x: _hadamard(x, x.size(-1) ** -0.5)  # the real one refuses fp32
    ids, depths = recorded["input_ids"].view(1, -1), c["num_nextn_predict_layers"]
    hidden = []
    if depths:
        model.mtp.register_forward_hook(lambda module, inputs, output: hidden.append(output))
    with torch.inference_mode():
        heads = [model(ids, torch.arange(ids.shape[1])[None], None)[0]]
        for depth in range(depths):
            heads.append(model.output_layer(hidden[0].chunk(1 + depths)[depth + 1])[0][:, 0])
    for number, head in enumerate(heads):
        rows = ids.shape[1] - number  # a depth's last rows had no next token
        theirs = recorded["logits" if number == 0 else f"mtp_logits.{number - 1}"].view(ids.shape[1], -1)[:rows]
        largest = (head[:rows] - theirs).abs().max().item()
        print(f"{'main' if number == 0 else f'MTP {number}'}: max|d| {largest:.2e} (std {theirs.std():.2f})")
        assert largest <= 1e-4 * max(1.0, theirs.std().item())


def _rank(args):
    _stand_in()
    _init(args)
    c = json.load(open(os.path.join(args.hf, "config.json")))
    model = _model(c, _config(c, args))
    _load(model, os.path.join(args.megatron, "release"), "raise_all" if args.pp * args.ep == 1 else "assume_ok_unexpected")
    state = {}
    for file in sorted(os.listdir(args.hf)):
        if file.endswith(".safetensors"):
            state.update(load_file(os.path.join(args.hf, file)))
    expected = deepseek_v4.to_dist(state, c)
    seen = _compare(model, expected)
    if args.pp == 1:
        assert seen == expected.keys(), seen ^ expected.keys()
    print(f"rank {args.rank} of {args.pp * args.ep} (PP {args.pp}, EP {args.ep}): {len(seen)} of {len(expected)} keys bit-equal")
    if args.logits and args.pp * args.ep == 1:
        _logits(model, c, load_file(args.logits))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("hf")
    parser.add_argument("megatron")
    parser.add_argument("--pp", type=int, default=1, choices=(1, 2))
    parser.add_argument("--ep", type=int, default=1)
    parser.add_argument("--logits")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rendezvous", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank is not None:
        return _rank(args)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "oracles.deepseek_v4_dev", *sys.argv[1:], "--rendezvous", os.path.join(folder, "rendezvous"), "--rank"]
        ranks = [subprocess.Popen([*command, str(rank)]) for rank in range(args.pp * args.ep)]
        return max(rank.wait() for rank in ranks)


if __name__ == "__main__":
    sys.exit(main())
