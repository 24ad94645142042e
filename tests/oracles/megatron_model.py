"""Real megatron-core 0.16.1 on a CPU: process groups and GPTModel. Runs in a process of oracles.pool, one per rank.

What has to be stood in for, and why:
1. torch.cuda functions megatron-core calls although no tensor is on a GPU.
2. megatron-core 0.16.1 cannot build MLA with its own local spec: DotProductAttention does not take the channel counts that
   MLA passes, and without TransformerEngine MLA asks isinstance() of a mock. A subclass takes the counts, an
   empty class answers the question.
3. moe_utils names te_general_gemm without TransformerEngine: None is what its own fallback means.
4. GatedDeltaNet wants FLA, whose kernels need a GPU. Its deterministic mode, which TransformerEngine wants to hear of in the
   environment, is plain torch but for FLA's l2norm: oracles.fake_te has that one.
5. torch.compile, which megatron-core decorates small functions with, would start a C++ compiler for each.
"""
import contextlib
import os
import queue

os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")
os.environ.setdefault("NVTE_ALLOW_NONDETERMINISTIC_ALGO", "0")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the ranks are on one machine, whose name need not resolve

import torch
import torch._dynamo
import torch.distributed as dist

from megatron.core import parallel_state
from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.models import backends
from megatron.core.models.gpt import experimental_attention_variant_module_specs, gpt_layer_specs
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.tensor_parallel.random import CudaRNGStatesTracker
from megatron.core.transformer import multi_latent_attention, utils as transformer_utils
from megatron.core.transformer.dot_product_attention import DotProductAttention
from megatron.core.transformer.moe import moe_utils
from megatron.core.transformer.transformer_config import MLATransformerConfig, TransformerConfig
import megatron.core.fusions.fused_softmax as fused_softmax


class _MlaDotProductAttention(DotProductAttention):
    def __init__(self, config, *args, k_channels=None, v_channels=None, **kwargs):
        super().__init__(config, *args, **kwargs)
        if v_channels:
            self.hidden_size_per_partition = v_channels * self.num_attention_heads_per_partition


def _adapt():
    # megatron-core uses these even when no tensor is on a GPU
    torch.cuda.synchronize = lambda *_, **__: None
    torch.cuda.current_device = lambda: "cpu"
    torch.Tensor.cuda = lambda self, *_, **__: self  # tied embeddings across pipeline stages
    CudaRNGStatesTracker.fork = lambda self, *_, **__: contextlib.nullcontext()
    torch._dynamo.config.disable = True
    causal = lambda size: torch.ones(size, size, dtype=torch.bool).triu(1)
    transformer_utils.get_default_causal_mask = fused_softmax.get_default_causal_mask = causal
    # For this queue it would spawn a manager process that outlives the rank; a save that is not asynchronous reads the queue
    # in the process that filled it.
    filesystem_async._results_queue = queue.Queue()
    backends.DotProductAttention = _MlaDotProductAttention
    if not isinstance(multi_latent_attention.TELinear, type):
        multi_latent_attention.TELinear = type("TELinear", (), {})
    if not hasattr(moe_utils, "te_general_gemm"):
        moe_utils.te_general_gemm = None


def init(rank, rendezvous, layout):
    _adapt()
    dist.init_process_group("gloo", rank=rank, world_size=layout.world, init_method=f"file://{rendezvous}")
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=layout.tp, pipeline_model_parallel_size=layout.pp, expert_model_parallel_size=layout.ep,
        expert_tensor_parallel_size=layout.expert_tp, create_gloo_process_groups=False)


def _moe_settings(arch, grouped):
    if arch.moe is None:
        return {}
    moe = arch.moe
    settings = dict(
        num_moe_experts=moe.experts, moe_router_topk=moe.topk, moe_ffn_hidden_size=moe.ffn, moe_grouped_gemm=grouped,
        moe_router_load_balancing_type="none", moe_aux_loss_coeff=0.0, moe_token_dispatcher_type="allgather",
        # softmax over the chosen logits only: the same as normalizing the chosen probabilities
        moe_router_pre_softmax=False,
    )
    if moe.shared:
        settings["moe_shared_expert_intermediate_size"] = moe.shared * moe.ffn
    if moe.gated_ffn:
        settings.update(moe_shared_expert_intermediate_size=moe.gated_ffn, moe_shared_expert_gate=True)
    if not arch.stacked:
        settings["moe_layer_freq"] = [int(arch.is_moe(layer)) for layer in range(arch.layers)]
    if moe.score_groups:
        settings.update(
            moe_router_num_groups=moe.score_groups, moe_router_group_topk=moe.chosen_groups, moe_router_score_function="sigmoid",
            moe_router_enable_expert_bias=True, moe_router_topk_scaling_factor=moe.scaling, moe_router_dtype="fp32", moe_router_pre_softmax=True)
    return settings


def _mla_settings(arch):
    mla = arch.mla
    return dict(
        q_lora_rank=mla.q_rank, kv_lora_rank=mla.kv_rank, qk_head_dim=mla.nope, qk_pos_emb_head_dim=mla.rope, v_head_dim=mla.v_head,
        rope_type="yarn" if mla.yarn_factor else "rope", rotary_base=arch.rope_base, rotary_scaling_factor=mla.yarn_factor or 1.0,
        original_max_position_embeddings=mla.yarn_positions, beta_fast=32, beta_slow=1, mscale=mla.mscale, mscale_all_dim=mla.mscale_all_dim)


def _gdn_settings(arch):
    gdn = arch.gdn
    if gdn is None:
        return {}
    return dict(
        experimental_attention_variant="gated_delta_net", linear_attention_freq=[int(linear) for linear in gdn.linear], linear_conv_kernel_dim=4,
        linear_num_key_heads=gdn.key_heads, linear_num_value_heads=gdn.value_heads, linear_key_head_dim=gdn.key_dim,
        linear_value_head_dim=gdn.value_dim, attention_output_gate=gdn.gated, layernorm_zero_centered_gamma=True, deterministic_mode=True)


def _config(arch, grouped, dtype):
    tp, pp = parallel_state.get_tensor_model_parallel_world_size(), parallel_state.get_pipeline_model_parallel_world_size()
    settings = dict(
        num_layers=arch.layers, hidden_size=arch.hidden, num_attention_heads=arch.heads, num_query_groups=arch.groups,
        kv_channels=arch.head_dim, ffn_hidden_size=arch.ffn, layernorm_epsilon=arch.eps, normalization="RMSNorm",
        gated_linear_unit=True, activation_func=torch.nn.functional.silu, add_bias_linear=False, add_qkv_bias=arch.qkv_bias,
        qk_layernorm=arch.qk_norm or arch.mla is not None, hidden_dropout=0.0, attention_dropout=0.0, bias_activation_fusion=False,
        bias_dropout_fusion=False, apply_rope_fusion=False, gradient_accumulation_fusion=False, persist_layer_norm=False,
        masked_softmax_fusion=False, use_cpu_initialization=True, params_dtype=dtype, pipeline_dtype=dtype, bf16=dtype == torch.bfloat16,
        tensor_model_parallel_size=tp, pipeline_model_parallel_size=pp, expert_model_parallel_size=parallel_state.get_expert_model_parallel_world_size(),
        expert_tensor_parallel_size=parallel_state.get_expert_tensor_parallel_world_size(), mtp_num_layers=arch.mtp or None,
        # pipeline stages of unequal depth, when the layers do not divide
        num_layers_in_last_pipeline_stage=1 if pp == 2 and arch.layers % 2 else None,
        **_moe_settings(arch, grouped), **_gdn_settings(arch),
    )
    return MLATransformerConfig(**settings, **_mla_settings(arch)) if arch.mla else TransformerConfig(**settings)


def build(arch, spec, vocab_rows, dtype=None, grouped=False):
    """`grouped`: the experts of a layer are one TEGroupedMLP instead of a SequentialMLP (TransformerEngine only)."""
    dtype = getattr(torch, dtype or arch.dtype)
    config, te = _config(arch, grouped, dtype), spec == "te"
    if arch.gdn:  # as pretrain_gpt.py chooses; megatron-core has no local spec of it
        layers = experimental_attention_variant_module_specs.get_transformer_block_with_experimental_attention_variant_spec(config)
    elif arch.moe:
        layers = gpt_layer_specs.get_gpt_decoder_block_spec(config, use_transformer_engine=te, normalization=None if te else "RMSNorm")
    elif te:
        layers = gpt_layer_specs.get_gpt_layer_with_transformer_engine_spec(qk_layernorm=arch.qk_norm)
    else:
        layers = gpt_layer_specs.get_gpt_layer_local_spec(qk_layernorm=arch.qk_norm, normalization="RMSNorm")
    mtp = gpt_layer_specs.get_gpt_mtp_block_spec(config, layers, use_transformer_engine=te) if arch.mtp else None
    model = GPTModel(
        config=config, transformer_layer_spec=layers, mtp_block_spec=mtp, vocab_size=vocab_rows, max_sequence_length=arch.positions,
        pre_process=parallel_state.is_pipeline_first_stage(), post_process=parallel_state.is_pipeline_last_stage(),
        share_embeddings_and_output_weights=arch.tied, position_embedding_type="rope", rotary_base=arch.rope_base,
        rotary_percent=arch.gdn.rotary if arch.gdn else arch.rotary, parallel_output=True,
    )
    model = model.to(dtype).eval()
    for module in model.modules():  # as Float16Module does: the router's bias stays in fp32
        if hasattr(module, "_maintain_float32_expert_bias"):
            module._maintain_float32_expert_bias()
    return model
