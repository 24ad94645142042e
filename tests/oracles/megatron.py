"""Real megatron-core on a CPU: save a GPTModel or a HybridModel, load it, run it.

Everything here runs in a process of oracles.pool, with one process per rank. `spec` is "te" (megatron-core's
TransformerEngine wrappers over oracles.fake_te) or "local" (no TransformerEngine at all); it is fixed per process because
megatron-core decides at import.
"""
import argparse
import dataclasses
import logging
import os
import pathlib
import re
import warnings

warnings.filterwarnings("ignore")

import torch
import torch.distributed as dist

import megatron.core
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.activations import squared_relu
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedObject, ShardedTensorFactory
from megatron.core.dist_checkpointing.optimizer import make_sharded_optimizer_tensor
from megatron.core.fusions.fused_bias_geglu import quick_gelu
from megatron.core.models.gpt import gpt_layer_specs
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer.multi_token_prediction import MTPLossLoggingHelper
from megatron.core.transformer.enums import AttnBackend

from oracles.arch import Hybrid
from oracles.megatron_model import build, hybrid_pattern

logging.disable(logging.WARNING)


def _content_metadata(singleton=False):
    """What Megatron-LM records of the choices that shaped a checkpoint's keys."""
    return {"singleton_local_shards": singleton, "chained_optim_avoid_prefix": True}


def _sharded(model, content, prefix=""):
    """As Megatron-LM's generate_state_dict asks for it. `prefix`: the name of the module a multimodal model has this one in."""
    group = parallel_state.get_data_parallel_group(with_context_parallel=True)
    return model.sharded_state_dict(prefix=prefix, metadata={**content, "dp_cp_group": group})


def _load_into(model, directory, prefix="", retarget=None, **how):
    """`retarget`: changes, in place, where in the checkpoint the tensors of the model are looked for."""
    with torch.no_grad():
        for _, tensor in _tensors(model):
            tensor.fill_(7.0)  # anything the checkpoint does not fill shows
    # as Megatron-LM and Bridge do, the checkpoint says which keys it has
    content = dist_checkpointing.load_content_metadata(directory) or {}
    sharded = _sharded(model, content, prefix)
    if retarget:
        retarget(sharded)
    loaded = dist_checkpointing.load({"model": sharded}, directory, **how)["model"]  # else default strictness
    result = model.load_state_dict({name.removeprefix(prefix): value for name, value in loaded.items()}, strict=False)
    unfilled = [key for key in result.missing_keys if not key.endswith("_extra_state")]
    assert not unfilled and not result.unexpected_keys, (unfilled, result.unexpected_keys)


def _tensors(model):
    """Parameters, and the one kind of buffer a checkpoint holds: the router's bias."""
    yield from model.named_parameters()
    yield from ((name, buffer) for name, buffer in model.named_buffers() if name.endswith("expert_bias"))


# The local spec names its norms as modules; a TransformerEngine layer fuses them into the linear that follows.
_FUSED = {"input_layernorm.weight": "self_attention.linear_qkv.layer_norm_weight", "pre_mlp_layernorm.weight": "mlp.linear_fc1.layer_norm_weight"}
_FUSED_MLA = {"pre_mlp_layernorm.weight": "mlp.linear_fc1.layer_norm_weight",
              "self_attention.q_layernorm.weight": "self_attention.linear_q_up_proj.layer_norm_weight",
              "self_attention.kv_layernorm.weight": "self_attention.linear_kv_up_proj.layer_norm_weight"}
_EXPERT = re.compile(r"mlp\.experts\.(?:local_experts\.(\d+)\.(linear_fc\d\.(?:weight|bias))|(linear_fc\d)\.weight(\d+))")


def _global_inner(inner, arch, moe):
    """The name of a tensor of a layer: SequentialMLP's with the expert's global number, TransformerEngine's norms."""
    expert = _EXPERT.fullmatch(inner)
    if expert:
        local, tensor = int(expert[1] or expert[4]), expert[2] or expert[3] + ".weight"
        first = parallel_state.get_expert_model_parallel_rank() * arch.moe.experts // parallel_state.get_expert_model_parallel_world_size()
        return f"mlp.experts.local_experts.{first + local}.{tensor}"
    if moe and inner == "pre_mlp_layernorm.weight":  # no linear follows it directly, so it is never fused
        return inner
    if arch.index:  # whose attention has no fused norms
        return inner
    return (_FUSED_MLA if arch.mla else _FUSED).get(inner, inner)


def _nemotron_parameters(model, arch):
    """The same of a Nemotron-H: a layer is one block, numbered from the first of all stages; experts by their global number."""
    rank, ranks = parallel_state.get_expert_model_parallel_rank(), parallel_state.get_expert_model_parallel_world_size()
    out = []
    for name, tensor in _tensors(model):
        if name.startswith("decoder.layers."):
            _, _, local, inner = name.split(".", 3)
            name = f"decoder.layers.{model.decoder.layers[int(local)].layer_number - 1}.{inner}"
        expert = re.fullmatch(r"(.*\.mlp\.experts\.linear_fc\d\.weight)(\d+)", name)
        out.append((f"{expert[1]}{rank * arch.experts // ranks + int(expert[2])}" if expert else name, tensor))
    return out


def _global_parameters(model, arch):
    """[(name with global layer and expert numbers and TransformerEngine spelling, tensor)], as GPTModel names them"""
    if isinstance(arch, Hybrid):
        return _nemotron_parameters(model, arch)
    out = []
    blocks = 2 if hasattr(model, "hybrid_layer_pattern") else 1  # that a layer of a GPTModel is
    for name, tensor in _tensors(model):
        name = name.replace(".mtp_model_layer.", ".transformer_layer.")  # its name in memory since megatron-core 0.17, not in keys
        name = name.replace("decoder.final_norm.", "decoder.final_layernorm.")  # HybridModel's
        if name.startswith("decoder.layers."):
            _, _, local, inner = name.split(".", 3)
            layer = (model.decoder.layers[int(local)].layer_number - 1) // blocks
            name = f"decoder.layers.{layer}.{_global_inner(inner, arch, arch.is_moe(layer))}"
        elif ".transformer_layer." in name:
            depth, inner = name.split(".transformer_layer.")
            name = f"{depth}.transformer_layer.{_global_inner(inner, arch, arch.moe is not None)}"
        out.append((name, tensor))
    return out


def _values(model, arch):
    return {name: tensor.detach() for name, tensor in _global_parameters(model, arch)}


def _fill(model, arch, parameters):
    with torch.no_grad():
        for name, tensor in _global_parameters(model, arch):
            # the last pipeline stage of a tied model holds a copy of the embedding
            tensor.copy_(parameters["embedding.word_embeddings.weight" if arch.tied and name == "output_layer.weight" else name])


def _forward(model, tokens):
    """[main logits, logits of each MTP depth]. With MTP megatron-core computes a loss or nothing: the logits are those
    its output layer made, depths first, copied because the cross entropy overwrites them."""
    ids, made = torch.tensor([tokens]), []
    hook = model.output_layer.register_forward_hook(lambda module, inputs, output: made.append(output[0].detach()[:, 0].clone()))
    with torch.no_grad():
        model(ids, torch.arange(len(tokens))[None], attention_mask=None, labels=torch.zeros_like(ids) if model.config.mtp_num_layers else None)
    hook.remove()
    return [made[-1], *made[:-1]]


# ---- jobs: called on every rank by oracles.pool, each returns something picklable ----


def requested_keys(arch, spec, grouped=False, singleton=False, hybrid=False):
    """(keys of the tensors, keys of the other objects) the model asks a checkpoint for."""
    tensors, objects = set(), set()

    def add(entry):
        if isinstance(entry, ShardedObject):
            objects.add(entry.unique_key)
        elif isinstance(entry, ShardedTensorFactory):
            for part in nested_values(entry.build()):
                add(part)
        else:
            tensors.add(entry.key)

    for entry in _sharded(build(arch, spec, arch.vocab, grouped=grouped, hybrid=hybrid), _content_metadata(singleton)).values():
        add(entry)
    return sorted(tensors), sorted(objects)


def load(arch, spec, directory, vocab_rows, grouped=False, prefix=""):
    """{parameter: values} of this rank after a default-strict load."""
    model = build(arch, spec, vocab_rows, grouped=grouped)
    _load_into(model, directory, prefix)
    return _values(model, arch)


def load_and_run(arch, spec, directory, tokens, grouped=False, prefix="", hybrid=False):
    """The same in fp32, and the logits of one forward pass."""
    model = build(arch, spec, arch.vocab, dtype="float32", grouped=grouped, hybrid=hybrid)
    _load_into(model, directory, prefix)
    return _values(model, arch), _forward(model, tokens)


def load_gpt_into_hybrid(arch, spec, directory, tokens):
    """The same by a HybridModel from a checkpoint with the keys of a GPTModel, through megatron-core's own translation."""
    from megatron.core.dist_checkpointing import gpt_checkpoint_interop as interop

    maps = interop.gpt_compatible_layer_maps(hybrid_pattern(arch))
    model = build(arch, spec, arch.vocab, dtype="float32", hybrid=True)
    _load_into(model, directory, retarget=lambda sharded: interop.retarget_sharded_state_dict_to_gpt_checkpoint(sharded, maps))
    return _values(model, arch), _forward(model, tokens)


def run(arch, spec, parameters, tokens, grouped=False):
    """Logits of the model filled with given full parameters, no checkpoint involved."""
    model = build(arch, spec, arch.vocab, dtype="float32", grouped=grouped)
    _fill(model, arch, parameters)
    return _forward(model, tokens)


def load_errors(arch, spec, directories):
    """For each directory: None, or the error a default-strict load ended with."""
    model, errors = build(arch, spec, arch.vocab), []
    for directory in directories:
        try:
            _load_into(model, directory)
            errors.append(None)
        except BaseException as error:  # CheckpointException is not an Exception
            errors.append(f"{type(error).__name__}: {error}")
    return errors


def _save(model, directory, iteration, singleton=False, **more):
    content = _content_metadata(singleton)
    quick = model.config.activation_func is quick_gelu
    args = argparse.Namespace(  # the kinds of value a real Megatron-LM args holds
        num_layers=model.config.num_layers, hidden_size=model.config.hidden_size, num_attention_heads=model.config.num_attention_heads,
        params_dtype=model.config.params_dtype, attention_backend=AttnBackend.auto, save=pathlib.PosixPath("checkpoints"), adam_beta1=0.9,
        seed=1234, swiglu=model.config.gated_linear_unit and not quick, quick_geglu=quick, squared_relu=model.config.activation_func is squared_relu,
        num_experts=model.config.num_moe_experts, data_path=["a", "b"], eval_interval=1000, world_size=dist.get_world_size(),
        hybrid_layer_pattern=getattr(model, "hybrid_layer_pattern", None))
    state = {"model": _sharded(model, content), "checkpoint_version": 3.0, "iteration": iteration, "args": args, **more}
    if dist.get_rank() == 0:
        os.makedirs(directory)
    dist.barrier()
    dist_checkpointing.save(state, directory, content_metadata=content)


def load_strictly(arch, spec, directory, grouped=False, hybrid=False):
    """With --dist-ckpt-strictness raise_all: nothing is missing, and nothing is there that the model does not ask for."""
    _load_into(build(arch, spec, arch.vocab, grouped=grouped, hybrid=hybrid), directory, strict="raise_all")


def load_local_spec(arch, spec, directory):
    """A default-strict load by a model with the local spec in a process that has TransformerEngine."""
    assert spec == "te"
    _load_into(build(arch, "local", arch.vocab), directory)


def save(arch, spec, directory, vocab_rows, parameters, iteration, singleton=False, grouped=False):
    """Save a model holding parameters[rank][name]."""
    model = build(arch, spec, vocab_rows, grouped=grouped)
    _fill(model, arch, parameters[dist.get_rank()])
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


def train_step(arch, spec, source, directory, iteration, hybrid=False):
    """Load, take one deterministic SGD step on a next-token loss, save with optimizer state; returns the new parameters."""
    model = build(arch, spec, arch.vocab, hybrid=hybrid)
    _load_into(model, source)
    ids = (torch.arange(24)[None] * 13 + 5) % arch.vocab
    labels = ids.roll(-1, 1)
    model(ids, torch.arange(24)[None], attention_mask=None, labels=labels)[0, :-1].float().mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.5 * parameter.grad
    _save(model, directory, iteration, **_adam_state(model))
    return _values(model, arch)


def _set_router_loss(model, kind, weight):
    """Of every router, as the configuration would have it."""
    for module in model.modules():
        if hasattr(module, "routing_type"):
            module.routing_type, module.config.moe_aux_loss_coeff = kind, weight


def _leave_counts(model):
    """With a padding mask 0.19.2 takes a mask of tokens from a map of tokens and experts where a router has a bias, and ends. The counts of
    tokens, which move that bias, are no part of a step."""
    for module in model.modules():
        if hasattr(module, "_apply_expert_bias"):
            module._apply_expert_bias = lambda *_, **__: None


def gradients(arch, spec, source, directory, batch, recompute=None, router_loss=None):
    """Load in fp32, compute one step of `batch`, and save the gradients as if they were the weights: so they have the keys and the
    layout that megatron-core gives the tensors of a checkpoint. Returns the main loss and those of the MTP depths, each per counted
    token. batch: ids, labels, mask [tokens]; cu_seqlens of packed sequences or None; perhaps padding [tokens], true for tokens that losses
    of routers leave out. recompute: (method, layers) of full recomputation. router_loss: (type, weight)."""
    model = build(arch, spec, arch.vocab, dtype="float32").train()
    if recompute:
        model.config.recompute_granularity, model.config.recompute_method, model.config.recompute_num_layers = "full", *recompute
    if router_loss:
        _set_router_loss(model, *router_loss)
    _load_into(model, source)
    ids, labels, mask, starts = batch["ids"], batch["labels"], batch["mask"], batch["cu_seqlens"]
    packed = None
    if starts is not None:
        longest = int((starts[1:] - starts[:-1]).max())
        packed = PackedSeqParams(qkv_format="thd", cu_seqlens_q=starts, cu_seqlens_kv=starts, max_seqlen_q=longest, max_seqlen_kv=longest)
    positions = torch.arange(len(ids)) if starts is None else torch.cat([torch.arange(b - a) for a, b in zip(starts.tolist(), starts[1:].tolist())])
    more = {}
    if "padding" in batch:
        _leave_counts(model)
        more["padding_mask"] = batch["padding"][None]
    losses = model(ids[None], positions[None], None, labels=labels[None], loss_mask=mask[None], packed_seq_params=packed, **more)
    main = (losses[0].float() * mask).sum() / mask.sum()
    main.backward()
    tracker = MTPLossLoggingHelper.tracker
    depths = tracker["loss_values" if "loss_values" in tracker else "values"].tolist() if arch.mtp else []
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    _save(model, directory, 1)
    return float(main.detach()), depths


def change(arch, spec, source, directory, iteration, changes, grouped=False):
    """Load, replace some tensors by {name: full tensor}, save with optimizer state: what training did to those alone."""
    model = build(arch, spec, arch.vocab, grouped=grouped)
    _load_into(model, source)
    tensors = dict(_global_parameters(model, arch))
    with torch.no_grad():
        for name, value in changes.items():
            tensors[name].copy_(value)
    _save(model, directory, iteration, **_adam_state(model))


def settings(arch, spec, grouped=False):
    """The configuration as Megatron-Bridge's run_config.yaml has it: the plain fields of the TransformerConfig that is run, and the
    arguments of GPTModel or HybridModel."""
    plain = (bool, int, float, str, list, type(None))
    model = build(arch, spec, arch.vocab, grouped=grouped)
    fields = {field.name: getattr(model.config, field.name) for field in dataclasses.fields(model.config)}
    out = {name: value for name, value in fields.items() if isinstance(value, plain)}
    function = fields["activation_func"]
    module = "torch.nn.functional" if function in (torch.nn.functional.silu, torch.nn.functional.gelu) else function.__module__
    out["activation_func"] = {"_target_": f"{module}.{function.__name__}", "_call_": False}
    out.update(vocab_size=arch.vocab, share_embeddings_and_output_weights=model.share_embeddings_and_output_weights,
               position_embedding_type=model.position_embedding_type)
    if isinstance(arch, Hybrid):
        return out | dict(hybrid_layer_pattern=model.hybrid_layer_pattern)
    return out | dict(rotary_percent=arch.rotary_percent, rotary_base=arch.rope_base)


def common_state(spec, directory):
    """common.pt with weights_only and the classes megatron-core allows."""
    return torch.load(os.path.join(directory, "common.pt"), weights_only=True)
