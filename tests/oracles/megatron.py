"""Real megatron-core 0.16.1 on a CPU: build a GPTModel, save it, load it, run it.

Everything here runs in a process of oracles.pool, with one process per rank. `spec` is "te" (megatron-core's
TransformerEngine wrappers over oracles.fake_te) or "local" (no TransformerEngine at all); it is fixed per process because
megatron-core decides at import.
"""
import argparse
import contextlib
import logging
import os
import pathlib
import queue
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the ranks are on one machine, whose name need not resolve

import torch
import torch.distributed as dist

import megatron.core
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.mapping import ShardedObject
from megatron.core.dist_checkpointing.optimizer import make_sharded_optimizer_tensor
from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.models.gpt import gpt_layer_specs
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.tensor_parallel.random import CudaRNGStatesTracker
from megatron.core.transformer import utils as transformer_utils
from megatron.core.transformer.enums import AttnBackend
from megatron.core.transformer.transformer_config import TransformerConfig
import megatron.core.fusions.fused_softmax as fused_softmax

logging.disable(logging.WARNING)


def _adapt():
    # megatron-core uses these even when no tensor is on a GPU
    torch.cuda.synchronize = lambda *_, **__: None
    torch.cuda.current_device = lambda: "cpu"
    torch.Tensor.cuda = lambda self, *_, **__: self  # tied embeddings across pipeline stages
    CudaRNGStatesTracker.fork = lambda self, *_, **__: contextlib.nullcontext()
    causal = lambda size: torch.ones(size, size, dtype=torch.bool).triu(1)
    transformer_utils.get_default_causal_mask = fused_softmax.get_default_causal_mask = causal
    # For this queue it would spawn a manager process that outlives the rank; a save that is not asynchronous reads the queue
    # in the process that filled it.
    filesystem_async._results_queue = queue.Queue()


def init(rank, world, rendezvous, tp, pp):
    _adapt()
    dist.init_process_group("gloo", rank=rank, world_size=world, init_method=f"file://{rendezvous}")
    parallel_state.initialize_model_parallel(tensor_model_parallel_size=tp, pipeline_model_parallel_size=pp, create_gloo_process_groups=False)


def _build(arch, spec, vocab_rows, dtype=None):
    dtype = getattr(torch, dtype or arch.dtype)
    tp, pp = parallel_state.get_tensor_model_parallel_world_size(), parallel_state.get_pipeline_model_parallel_world_size()
    config = TransformerConfig(
        num_layers=arch.layers, hidden_size=arch.hidden, num_attention_heads=arch.heads, num_query_groups=arch.groups,
        kv_channels=arch.head_dim, ffn_hidden_size=arch.ffn, layernorm_epsilon=arch.eps, normalization="RMSNorm",
        gated_linear_unit=True, activation_func=torch.nn.functional.silu, add_bias_linear=False, add_qkv_bias=arch.qkv_bias,
        qk_layernorm=arch.qk_norm, hidden_dropout=0.0, attention_dropout=0.0, bias_activation_fusion=False, bias_dropout_fusion=False,
        apply_rope_fusion=False, gradient_accumulation_fusion=False, persist_layer_norm=False, masked_softmax_fusion=False,
        use_cpu_initialization=True, params_dtype=dtype, pipeline_dtype=dtype, bf16=dtype == torch.bfloat16,
        tensor_model_parallel_size=tp, pipeline_model_parallel_size=pp,
        # pipeline stages of unequal depth, when the layers do not divide
        num_layers_in_last_pipeline_stage=1 if pp == 2 and arch.layers % 2 else None,
    )
    if spec == "te":
        layer = gpt_layer_specs.get_gpt_layer_with_transformer_engine_spec(qk_layernorm=arch.qk_norm)
    else:
        layer = gpt_layer_specs.get_gpt_layer_local_spec(qk_layernorm=arch.qk_norm, normalization="RMSNorm")
    model = GPTModel(
        config=config, transformer_layer_spec=layer, vocab_size=vocab_rows, max_sequence_length=arch.positions,
        pre_process=parallel_state.is_pipeline_first_stage(), post_process=parallel_state.is_pipeline_last_stage(),
        share_embeddings_and_output_weights=arch.tied, position_embedding_type="rope", rotary_base=arch.rope_base, parallel_output=True,
    )
    return model.to(dtype).eval()


def _content_metadata(singleton=False):
    """What Megatron-LM records of the choices that shaped a checkpoint's keys."""
    return {"singleton_local_shards": singleton, "chained_optim_avoid_prefix": True}


def _sharded(model, content):
    """As Megatron-LM's generate_state_dict asks for it."""
    group = parallel_state.get_data_parallel_group(with_context_parallel=True)
    return model.sharded_state_dict(metadata={**content, "dp_cp_group": group})


def _load_into(model, directory):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)  # anything the checkpoint does not fill shows
    # as Megatron-LM and Bridge do, the checkpoint says which keys it has
    content = dist_checkpointing.load_content_metadata(directory) or {}
    loaded = dist_checkpointing.load({"model": _sharded(model, content)}, directory)  # default strictness
    result = model.load_state_dict(loaded["model"], strict=False)
    unfilled = [key for key in result.missing_keys if not key.endswith("_extra_state")]
    assert not unfilled and not result.unexpected_keys, (unfilled, result.unexpected_keys)


# The local spec names its norms as modules; a TransformerEngine layer fuses them into the linear that follows.
_FUSED = {"input_layernorm.weight": "self_attention.linear_qkv.layer_norm_weight", "pre_mlp_layernorm.weight": "mlp.linear_fc1.layer_norm_weight"}


def _global_parameters(model):
    """[(name with the global layer number and TransformerEngine spelling, parameter)]"""
    out = []
    for name, parameter in model.named_parameters():
        if name.startswith("decoder.layers."):
            _, _, local, inner = name.split(".", 3)
            layer = model.decoder.layers[int(local)].layer_number - 1
            name = f"decoder.layers.{layer}.{_FUSED.get(inner, inner)}"
        out.append((name, parameter))
    return out


def _forward(model, tokens):
    ids = torch.tensor([tokens])
    with torch.no_grad():
        return model(ids, torch.arange(len(tokens))[None], attention_mask=None)[0]


# ---- jobs: called on every rank by oracles.pool, each returns something picklable ----


def requested_objects(arch, spec):
    """The keys of the non-tensor objects the model requires of a checkpoint."""
    entries = _sharded(_build(arch, spec, arch.vocab), _content_metadata()).values()
    return sorted(entry.unique_key for entry in entries if isinstance(entry, ShardedObject))


def load(arch, spec, directory, vocab_rows):
    """{parameter: values} of this rank after a default-strict load."""
    model = _build(arch, spec, vocab_rows)
    _load_into(model, directory)
    return {name: parameter.detach() for name, parameter in _global_parameters(model)}


def load_and_run(arch, spec, directory, tokens):
    """The same in fp32, and the logits of one forward pass."""
    model = _build(arch, spec, arch.vocab, dtype="float32")
    _load_into(model, directory)
    return {name: parameter.detach() for name, parameter in _global_parameters(model)}, _forward(model, tokens)


def run(arch, spec, parameters, tokens):
    """Logits of the model filled with given full parameters, no checkpoint involved."""
    model = _build(arch, spec, arch.vocab, dtype="float32")
    with torch.no_grad():
        for name, parameter in _global_parameters(model):
            parameter.copy_(parameters[name])
    return _forward(model, tokens)


def load_errors(arch, spec, directories):
    """For each directory: None, or the error a default-strict load ended with."""
    model, errors = _build(arch, spec, arch.vocab), []
    for directory in directories:
        try:
            _load_into(model, directory)
            errors.append(None)
        except BaseException as error:  # CheckpointException is not an Exception
            errors.append(f"{type(error).__name__}: {error}")
    return errors


def _save(model, directory, iteration, singleton=False, **more):
    content = _content_metadata(singleton)
    args = argparse.Namespace(  # the kinds of value a real Megatron-LM args holds
        num_layers=model.config.num_layers, hidden_size=model.config.hidden_size, num_attention_heads=model.config.num_attention_heads,
        params_dtype=model.config.params_dtype, attention_backend=AttnBackend.auto, save=pathlib.PosixPath("checkpoints"), adam_beta1=0.9,
        seed=1234, swiglu=True, num_experts=None, data_path=["a", "b"], eval_interval=1000, world_size=dist.get_world_size())
    state = {"model": _sharded(model, content), "checkpoint_version": 3.0, "iteration": iteration, "args": args, **more}
    if dist.get_rank() == 0:
        os.makedirs(directory)
    dist.barrier()
    dist_checkpointing.save(state, directory, content_metadata=content)


def load_local_spec(arch, spec, directory):
    """A default-strict load by a model with the local spec in a process that has TransformerEngine."""
    assert spec == "te"
    _load_into(_build(arch, "local", arch.vocab), directory)


def save(arch, spec, directory, vocab_rows, parameters, iteration, singleton=False):
    """Save a model holding parameters[tensor-parallel rank][name]."""
    model = _build(arch, spec, vocab_rows)
    mine = parameters[parallel_state.get_tensor_model_parallel_rank()]
    with torch.no_grad():
        for name, parameter in _global_parameters(model):
            # the last pipeline stage of a tied model holds a copy of the embedding
            parameter.copy_(mine["embedding.word_embeddings.weight" if arch.tied and name == "output_layer.weight" else name])
    _save(model, directory, iteration, singleton)


def _adam_state(model):
    """The optimizer's share of a training checkpoint: fp32 copies and moments under `optimizer.state.*`, and per-rank objects."""
    sharded = _sharded(model, _content_metadata())
    by_parameter = {id(entry.data): entry for entry in sharded.values() if not isinstance(entry, ShardedObject)}
    state = {kind: {} for kind in ("fp32_param", "exp_avg", "exp_avg_sq")}
    for index, parameter in enumerate(model.parameters()):
        for kind, values in state.items():
            values[index] = make_sharded_optimizer_tensor(by_parameter[id(parameter)], torch.full_like(parameter, 0.25).float(), f"optimizer.state.{kind}")
    rng = ShardedObject("rng_state", [{"random_rng_state": (3, (1, 2, 3), None), "torch_rng_state": torch.get_rng_state()}], (1, 1), (0, 0))
    return {"optimizer": {"state": state, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.95), "step": 10}]}, "rng_state": [rng],
            "opt_param_scheduler": {"max_lr": 1e-4, "num_steps": 10}, "num_floating_point_operations_so_far": 1.5}


def train_step(arch, spec, source, directory, iteration):
    """Load, take one deterministic SGD step on a next-token loss, save with optimizer state; returns the new parameters."""
    model = _build(arch, spec, arch.vocab)
    _load_into(model, source)
    ids = (torch.arange(24)[None] * 13 + 5) % arch.vocab
    logits = model(ids, torch.arange(24)[None], attention_mask=None)[0]
    torch.nn.functional.cross_entropy(logits[:-1].float(), ids[0, 1:]).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.5 * parameter.grad
    _save(model, directory, iteration, **_adam_state(model))
    return {name: parameter.detach() for name, parameter in _global_parameters(model)}


def common_state(spec, directory):
    """common.pt with weights_only and the classes megatron-core allows."""
    return torch.load(os.path.join(directory, "common.pt"), weights_only=True)
