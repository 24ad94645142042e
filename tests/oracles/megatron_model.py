"""Real megatron-core on a CPU: process groups, GPTModel and HybridModel. Runs in a process of oracles.pool, one per rank.

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
import copy
import os
import queue

os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")
os.environ.setdefault("NVTE_ALLOW_NONDETERMINISTIC_ALGO", "0")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the ranks are on one machine, whose name need not resolve

import torch
import torch._dynamo
import torch.distributed as dist

from megatron.core import parallel_state
from megatron.core.activations import squared_relu
from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.models import backends
from megatron.core.models.gpt import experimental_attention_variant_module_specs, gpt_layer_specs
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.tensor_parallel import random as tp_random
from megatron.core.tensor_parallel.random import CudaRNGStatesTracker
from megatron.core.transformer import multi_latent_attention, utils as transformer_utils
from megatron.core.transformer.dot_product_attention import DotProductAttention
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.moe import moe_utils
from megatron.core.transformer.transformer_config import MLATransformerConfig, TransformerConfig
import megatron.core.fusions.fused_softmax as fused_softmax
from megatron.core.fusions.fused_bias_geglu import quick_gelu

from oracles.arch import Hybrid


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
    # recomputation restores what a GPU's generator was at; nothing here is random
    torch.cuda.get_rng_state = tp_random._get_cuda_rng_state = lambda *_, **__: torch.zeros(1, dtype=torch.uint8)
    torch.cuda.set_rng_state = tp_random._set_cuda_rng_state = lambda *_, **__: None
    torch._dynamo.config.disable = True
    causal = lambda size: torch.ones(size, size, dtype=torch.bool).triu(1)
    transformer_utils.get_default_causal_mask = fused_softmax.get_default_causal_mask = causal
    fused_softmax.get_sliding_window_causal_mask = lambda sq, sk, size: ~torch.ones(sq, sk, dtype=torch.bool).triu(sk - sq - size[0]).tril(sk - sq + size[1])
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
        # after the choice, the softmax is over the chosen logits only: the same as normalizing the chosen probabilities
        moe_router_pre_softmax=not moe.normalized,
    )
    if arch.family == "llama4_text":
        settings.update(moe_router_score_function="sigmoid", moe_router_pre_softmax=False, moe_apply_probs_on_input=True)
    if moe.shared:
        settings["moe_shared_expert_intermediate_size"] = moe.shared * moe.ffn
    if moe.gated_ffn:
        settings.update(moe_shared_expert_intermediate_size=moe.gated_ffn, moe_shared_expert_gate=True)
    if not arch.stacked:
        settings["moe_layer_freq"] = [int(arch.is_moe(layer)) for layer in range(arch.layers)]
    if moe.score_groups:
        settings.update(
            moe_router_num_groups=moe.score_groups, moe_router_group_topk=moe.chosen_groups, moe_router_score_function="sigmoid" if moe.biased else "softmax",
            moe_router_enable_expert_bias=moe.biased, moe_router_topk_scaling_factor=moe.scaling, moe_router_dtype="fp32", moe_router_pre_softmax=True)
    return settings


def _mla_settings(arch):
    mla = arch.mla
    return dict(
        q_lora_rank=mla.q_rank, kv_lora_rank=mla.kv_rank, qk_head_dim=mla.nope, qk_pos_emb_head_dim=mla.rope, v_head_dim=mla.v_head,
        rope_type="yarn" if mla.yarn_factor else "rope", rotary_base=arch.rope_base, rotary_scaling_factor=mla.yarn_factor or 1.0,
        original_max_position_embeddings=mla.yarn_positions, beta_fast=32, beta_slow=1, mscale=mla.mscale, mscale_all_dim=mla.mscale_all_dim)


def _index_settings(arch):
    """shared: the last layer of every run of them takes over what the one before the run chose, counted from one."""
    index = arch.index
    if index is None:
        return {}
    settings = dict(
        experimental_attention_variant="dsa", dsa_indexer_n_heads=index.heads, dsa_indexer_head_dim=index.dim, dsa_indexer_topk=index.topk,
        dsa_indexer_rope_interleaved=arch.family == "glm_moe_dsa", dsa_indexer_rotate_activation=False, dsa_indexer_k_norm_epsilon=1e-6,
        # its attention asks for it
        sequence_parallel=parallel_state.get_tensor_model_parallel_world_size() > 1)
    if index.shared:
        first, last = min(index.shared), max(index.shared)
        assert index.shared == tuple(range(first, last + 1)), "one run of layers"
        settings.update(dsa_indexer_skip_topk_offset=first, dsa_indexer_topk_freq=last - first + 2)
    return settings


def _gdn_settings(arch):
    gdn = arch.gdn
    if gdn is None:
        return {}
    return dict(
        experimental_attention_variant="gated_delta_net", linear_attention_freq=[int(linear) for linear in gdn.linear], linear_conv_kernel_dim=4,
        linear_num_key_heads=gdn.key_heads, linear_num_value_heads=gdn.value_heads, linear_key_head_dim=gdn.key_dim,
        linear_value_head_dim=gdn.value_dim, attention_output_gate=gdn.gated, layernorm_zero_centered_gamma=True, deterministic_mode=True)


def _mlp_settings(arch):
    """GELU is the one with tanh where megatron-core fuses it with a bias."""
    if not arch.layer_norm:
        return dict(normalization="RMSNorm", gated_linear_unit=True, activation_func=torch.nn.functional.silu, bias_activation_fusion=False)
    if arch.family == "nemotron":
        return dict(normalization="LayerNorm", gated_linear_unit=False, activation_func=squared_relu, bias_activation_fusion=False,
                    layernorm_zero_centered_gamma=True)
    return dict(normalization="LayerNorm", gated_linear_unit=False, activation_func=torch.nn.functional.gelu, bias_activation_fusion=True)


def _sinks_settings(arch):
    if not arch.sinks:
        return {}
    return dict(
        add_bias_linear=True, softmax_type="learnable", window_size=(arch.hf["sliding_window"] - 1, 0), window_attn_skip_freq=2, activation_func=quick_gelu,
        activation_func_clamp_value=arch.hf["swiglu_limit"], glu_linear_offset=1.0)


def _llama4_settings(arch):
    if arch.family != "llama4_text":
        return {}
    return dict(qk_l2_norm=True, rotary_interleaved=True, no_rope_freq=[int(not turned) for turned in arch.turned])


def _without_norm(layer):
    """As mcore-bridge makes a layer of Llama-4 that has no positions."""
    layer = copy.deepcopy(layer)
    attention = layer.submodules.self_attention.submodules
    attention.q_layernorm = attention.k_layernorm = IdentityOp
    return layer


def _set_yarn(arch, config):
    """GPTModel reads these of its configuration, whose class does not have them."""
    rope = arch.hf["rope_parameters"]
    config.yarn_rotary_scaling_factor, config.yarn_original_max_position_embeddings = rope["factor"], rope["original_max_position_embeddings"]
    config.yarn_beta_fast, config.yarn_beta_slow, config.yarn_mscale, config.yarn_mscale_all_dim = 32.0, 1.0, 1.0, 0.0
    config.yarn_correction_range_round_to_int = rope["truncate"]


def _common_settings(dtype):
    """Of every model: how it is spread, and no fusion that would need a kernel."""
    return dict(
        hidden_dropout=0.0, attention_dropout=0.0, bias_dropout_fusion=False, apply_rope_fusion=False, gradient_accumulation_fusion=False,
        persist_layer_norm=False, masked_softmax_fusion=False, use_cpu_initialization=True, params_dtype=dtype, pipeline_dtype=dtype, bf16=dtype == torch.bfloat16,
        tensor_model_parallel_size=parallel_state.get_tensor_model_parallel_world_size(),
        pipeline_model_parallel_size=parallel_state.get_pipeline_model_parallel_world_size(),
        expert_model_parallel_size=parallel_state.get_expert_model_parallel_world_size(),
        expert_tensor_parallel_size=parallel_state.get_expert_tensor_parallel_world_size())


def _config(arch, grouped, dtype, blocks):
    pp = parallel_state.get_pipeline_model_parallel_world_size()
    settings = dict(
        num_layers=blocks, hidden_size=arch.hidden, num_attention_heads=arch.heads, num_query_groups=arch.groups,
        kv_channels=arch.head_dim, ffn_hidden_size=arch.ffn, layernorm_epsilon=arch.eps,
        add_bias_linear=arch.linear_bias, add_qkv_bias=arch.qkv_bias,
        qk_layernorm=arch.qk_norm or arch.mla is not None, mtp_num_layers=arch.mtp or None,
        # pipeline stages of unequal depth, when the layers do not divide
        num_layers_in_last_pipeline_stage=1 if pp == 2 and arch.layers % 2 else None,
        window_size=(arch.window - 1, 0) if arch.sliding else None, window_attn_skip_freq=[int(slides) for slides in arch.sliding] or None,
        **_common_settings(dtype), **_mlp_settings(arch), **_moe_settings(arch, grouped), **_gdn_settings(arch), **_index_settings(arch), **_llama4_settings(arch),
    )
    settings.update(_sinks_settings(arch))
    return MLATransformerConfig(**settings, **_mla_settings(arch)) if arch.mla else TransformerConfig(**settings)


def _model_settings(arch, vocab_rows):
    return dict(
        vocab_size=vocab_rows, max_sequence_length=arch.positions, pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(), share_embeddings_and_output_weights=arch.tied,
        position_embedding_type="yarn" if arch.sinks else "rope", rotary_base=arch.rope_base, rotary_percent=arch.rotary_percent, parallel_output=True)


def hybrid_pattern(arch):
    return "".join("*" + ("E" if arch.is_moe(layer) else "-") for layer in range(arch.layers))


def _gpt(arch, spec, vocab_rows, dtype, grouped):
    config, te = _config(arch, grouped, dtype, arch.layers), spec == "te"
    if arch.sinks:
        _set_yarn(arch, config)
    if arch.gdn or arch.index:  # as pretrain_gpt.py chooses; megatron-core has no local spec of them
        layers = experimental_attention_variant_module_specs.get_transformer_block_with_experimental_attention_variant_spec(config)
    elif arch.moe:
        unit = arch.family == "llama4_text"
        layers = gpt_layer_specs.get_gpt_decoder_block_spec(config, use_transformer_engine=te, normalization=None if te else "RMSNorm", qk_l2_norm=unit)
        if unit:
            layers.layer_specs = [spec if turned else _without_norm(spec) for spec, turned in zip(layers.layer_specs, arch.turned)]
    elif te:
        layers = gpt_layer_specs.get_gpt_layer_with_transformer_engine_spec(qk_layernorm=arch.qk_norm)
    else:
        layers = gpt_layer_specs.get_gpt_layer_local_spec(qk_layernorm=arch.qk_norm, normalization="RMSNorm")
    mtp = gpt_layer_specs.get_gpt_mtp_block_spec(config, layers, use_transformer_engine=te) if arch.mtp else None
    return GPTModel(config=config, transformer_layer_spec=layers, mtp_block_spec=mtp, **_model_settings(arch, vocab_rows))


def _hybrid(arch, vocab_rows, dtype):
    """Each layer as two blocks of their own: attention, and an ordinary MLP ('-') or a mixture ('E'). Not in 0.16.1."""
    from megatron.core.models.hybrid.hybrid_layer_specs import hybrid_stack_spec
    from megatron.core.models.hybrid.hybrid_model import HybridModel

    config = _config(arch, arch.moe is not None, dtype, 2 * arch.layers)
    return HybridModel(config=config, hybrid_stack_spec=hybrid_stack_spec, hybrid_layer_pattern=hybrid_pattern(arch), **_model_settings(arch, vocab_rows))


def nemotron_pattern(arch):
    """Two pipeline stages have half of the layers each; a depth of multi-token prediction is written once for each."""
    half = len(arch.pattern) // 2
    stages = [arch.pattern[:half], arch.pattern[half:]] if parallel_state.get_pipeline_model_parallel_world_size() == 2 else [arch.pattern]
    return "/".join(["|".join(stages), *[arch.mtp_pattern] * arch.mtp])


def _nemotron(arch, vocab_rows, dtype):
    """Mamba-2 by oracles.fake_mamba. Not in 0.16.1, whose MambaModel has no multi-token prediction."""
    from megatron.core.models.hybrid.hybrid_layer_specs import hybrid_stack_spec
    from megatron.core.models.hybrid.hybrid_model import HybridModel

    config = TransformerConfig(
        num_layers=len(arch.pattern), hidden_size=arch.hidden, num_attention_heads=arch.heads, num_query_groups=arch.groups, kv_channels=arch.head_dim,
        ffn_hidden_size=arch.ffn, layernorm_epsilon=arch.eps, add_bias_linear=False, normalization="RMSNorm", gated_linear_unit=False,
        activation_func=squared_relu, bias_activation_fusion=False, mamba_num_heads=arch.mamba_heads, mamba_head_dim=arch.mamba_head_dim,
        mamba_num_groups=arch.mamba_groups, mamba_state_dim=arch.mamba_states, is_hybrid_model=True, mtp_num_layers=arch.mtp or None,
        num_moe_experts=arch.experts, moe_router_topk=arch.topk, moe_ffn_hidden_size=arch.expert_ffn, moe_grouped_gemm=True,
        moe_shared_expert_intermediate_size=arch.shared_ffn, moe_latent_size=arch.latent, moe_router_load_balancing_type="none", moe_aux_loss_coeff=0.0,
        moe_token_dispatcher_type="allgather", moe_router_score_function="sigmoid", moe_router_enable_expert_bias=True, moe_router_pre_softmax=True,
        moe_router_topk_scaling_factor=arch.scaling, moe_router_dtype="fp32", moe_router_num_groups=1, moe_router_group_topk=1,
        # its experts ask for it beside tensor parallelism
        sequence_parallel=parallel_state.get_tensor_model_parallel_world_size() > 1, **_common_settings(dtype))
    return HybridModel(
        config=config, hybrid_stack_spec=hybrid_stack_spec, hybrid_layer_pattern=nemotron_pattern(arch), vocab_size=vocab_rows,
        max_sequence_length=arch.positions, pre_process=parallel_state.is_pipeline_first_stage(), post_process=parallel_state.is_pipeline_last_stage(),
        share_embeddings_and_output_weights=arch.tied, position_embedding_type="none", parallel_output=True)


def build(arch, spec, vocab_rows, dtype=None, grouped=False, hybrid=False):
    """`grouped`: the experts of a layer are one TEGroupedMLP instead of a SequentialMLP (TransformerEngine only). `hybrid`: a
    HybridModel, whose experts always are, of what a GPTModel can be as well."""
    dtype = getattr(torch, dtype or arch.dtype)
    if isinstance(arch, Hybrid):
        model = _nemotron(arch, vocab_rows, dtype)
    else:
        model = _hybrid(arch, vocab_rows, dtype) if hybrid else _gpt(arch, spec, vocab_rows, dtype, grouped)
    model = model.to(dtype).eval()
    for module in model.modules():  # as Float16Module does: the router's bias stays in fp32
        if hasattr(module, "_maintain_float32_expert_bias"):
            module._maintain_float32_expert_bias()
    return model
