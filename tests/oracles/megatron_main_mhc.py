"""One training step of Megatron-LM main's hyper-connections (pull request 4531) by the real code, and the checkpoint it started from.

    PYTHONPATH=MEGATRON_LM:tests python tests/oracles/megatron_main_mhc.py data/megatron_main_mhc

Run by hand with a checkout of Megatron-LM main (d98e8a64, which calls itself core 0.20.0, was used): no release on a package index has
them. It writes
  checkpoint/           a dense model of 3 layers, as its own sharded_state_dict and dist_checkpointing save it, with arguments
  step.safetensors      input_ids, labels, loss_mask, loss [sum, count]; grad.KEY, the gradients saved as if they were the weights, so
                        with the keys and the layout of the checkpoint; discarded.N, the bytes that recomputation in blocks of N layers
                        discarded, with gradients that were bit for bit the same
  module.safetensors    one site of a layer alone: x and y of two sequences, what it computed, and its gradients for `upstream` of the
                        merged streams and 2 * input of the input; sinkhorn.*: the iteration alone, in float64
"""
import argparse
import contextlib
import pathlib
import shutil
import sys
import tempfile

sys.path.pop(0)  # this folder, whose megatron.py is another module

import torch

from oracles import fake_te

fake_te.install()
fake_te._module("fla.modules.convolution", causal_conv1d=None, causal_conv1d_update=None)
for name in ("synchronize", "set_rng_state"):
    setattr(torch.cuda, name, lambda *_, **__: None)
torch.cuda.current_device = lambda: "cpu"
torch.cuda.get_rng_state = lambda *_, **__: torch.zeros(1, dtype=torch.uint8)
torch.cuda.nvtx.range = lambda *_, **__: contextlib.nullcontext()
torch.cuda.nvtx.range_push = torch.cuda.nvtx.range_pop = lambda *_, **__: None
torch.Tensor.cuda = lambda self, *_, **__: self
torch.compile = lambda function=None, **_: function if function else lambda decorated: decorated

import torch.distributed as dist
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.models.gpt import gpt_layer_specs
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.tensor_parallel import random as tp_random
from megatron.core.transformer.hyper_connection import HyperConnectionModule, SinkhornKnopp
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import HyperConnectionTransformerLayer
from safetensors.torch import save_file

from oracles import dcp

VOCAB, HIDDEN, TOKENS = 37, 16, 29
FIELDS = dict(num_layers=3, hidden_size=HIDDEN, ffn_hidden_size=24, num_attention_heads=4, num_query_groups=2, kv_channels=8, qk_layernorm=True, layernorm_epsilon=1e-6,
              normalization="RMSNorm", add_bias_linear=False, hidden_dropout=0.0, attention_dropout=0.0, init_method_std=0.1, enable_mhc_connections=True,
              mhc_num_residual_streams=4, mhc_sinkhorn_iterations=20, mhc_init_gating_factor=0.5)
CPU = dict(gated_linear_unit=True, activation_func=torch.nn.functional.silu, bias_activation_fusion=False, bias_dropout_fusion=False, apply_rope_fusion=False,
           gradient_accumulation_fusion=False, persist_layer_norm=False, masked_softmax_fusion=False, use_cpu_initialization=True, params_dtype=torch.float32)
# As Megatron-LM's argument parser names them.
ARGUMENTS = dict(swiglu=True, group_query_attention=True, untie_embeddings_and_output_weights=True, position_embedding_type="rope", rotary_base=10000,
                 rotary_percent=1.0, padded_vocab_size=VOCAB, norm_epsilon=1e-6)


def start():
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=0, world_size=1, init_method=f"file://{tempfile.mkdtemp()}/rendezvous")
    parallel_state.initialize_model_parallel(create_gloo_process_groups=False)
    tp_random.CudaRNGStatesTracker.fork = lambda self, *_, **__: contextlib.nullcontext()
    tp_random._get_cuda_rng_state = lambda *_, **__: torch.zeros(1, dtype=torch.uint8)
    tp_random._set_cuda_rng_state = lambda *_, **__: None


def build(**more):
    """Biases are random: with the class's own start the streams hardly depend on the tokens."""
    torch.manual_seed(1)
    layers = gpt_layer_specs.get_gpt_layer_with_transformer_engine_spec(qk_layernorm=True)
    layers.module = HyperConnectionTransformerLayer
    layers.submodules.self_attention_hyper_connection = layers.submodules.mlp_hyper_connection = HyperConnectionModule
    model = GPTModel(config=TransformerConfig(**FIELDS, **CPU, **more), transformer_layer_spec=layers, vocab_size=VOCAB, max_sequence_length=64,
                     position_embedding_type="rope", rotary_base=10000, share_embeddings_and_output_weights=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("hyper_connection.bias"):
                parameter.normal_(0, 0.7)
    return model.train()


def step(model, batch):
    losses = model(batch["input_ids"][None], torch.arange(TOKENS)[None], None, labels=batch["labels"][None], loss_mask=batch["loss_mask"][None])
    total = (losses[0].float() * batch["loss_mask"]).sum()
    (total / batch["loss_mask"].sum()).backward()
    return torch.stack([total.detach(), batch["loss_mask"].sum()])


def save(model, folder):
    folder.mkdir(parents=True)
    group = parallel_state.get_data_parallel_group(with_context_parallel=True)
    sharded = model.sharded_state_dict(metadata={"singleton_local_shards": False, "dp_cp_group": group})
    state = {"model": sharded, "checkpoint_version": 3.0, "iteration": 1, "args": argparse.Namespace(**FIELDS, **ARGUMENTS)}
    dist_checkpointing.save(state, str(folder), content_metadata={"singleton_local_shards": False})


def discarded_bytes(layers, batch, expected):
    sizes, kept = [], tp_random.CheckpointWithoutOutput._discard_outputs

    def counting(self):
        sizes.append(sum(output.untyped_storage().size() for output in self.outputs))
        return kept(self)

    model = build(recompute_granularity="selective", recompute_modules=["mhc"], mhc_recompute_layer_num=layers)
    tp_random.CheckpointWithoutOutput._discard_outputs = counting
    step(model, batch)
    tp_random.CheckpointWithoutOutput._discard_outputs = kept
    assert all(torch.equal(parameter.grad, expected[name]) for name, parameter in model.named_parameters())
    return sum(sizes)


def site(model):
    module = model.decoder.layers[1].self_attention_hyper_connection
    torch.manual_seed(3)
    x, y = torch.randn(7, 2, 4 * HIDDEN).requires_grad_(True), torch.randn(7, 2, HIDDEN).requires_grad_(True)
    taken, mix, post = module(x)
    merged = module.fused_h_res_h_post_bda(mix, x, post, (y, None), 0.0, True, False)
    upstream = torch.randn_like(merged)
    parameters = dict(module.named_parameters())
    gradients = torch.autograd.grad((merged * upstream).sum() + taken.square().sum(), [x, y, *parameters.values()])
    out = dict(zip(["grad.x", "grad.y", *(f"grad.{name}" for name in parameters)], gradients)) | {f"parameter.{name}": value for name, value in parameters.items()}
    return out | {"x": x, "y": y, "upstream": upstream, "input": taken, "mix": mix, "post": post, "merged": merged}


def sinkhorn():
    logits = (torch.randn(5, 2, 4, 4, dtype=torch.float64) * 2).requires_grad_(True)
    upstream = torch.randn(5, 2, 4, 4, dtype=torch.float64)
    out = SinkhornKnopp.apply(logits, 20)
    (gradient,) = torch.autograd.grad((out * upstream).sum(), logits)
    return {"sinkhorn.logits": logits, "sinkhorn.out": out, "sinkhorn.upstream": upstream, "sinkhorn.grad": gradient}


def write(path, tensors):
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path)


def main():
    folder = pathlib.Path(sys.argv[1])
    start()
    ids, mask = (torch.arange(TOKENS) * 13 + 5) % VOCAB, torch.ones(TOKENS)
    mask[-1] = mask[7] = 0
    batch = {"input_ids": ids, "labels": ids.roll(-1), "loss_mask": mask}
    model = build()
    root = folder / "checkpoint"
    shutil.rmtree(root, ignore_errors=True)
    save(model, root / "iter_0000001")
    (root / "latest_checkpointed_iteration.txt").write_text("1")
    expected = {**batch, "loss": step(model, batch)}
    of_model = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    expected |= {f"discarded.{layers}": torch.tensor([discarded_bytes(layers, batch, of_model)]) for layers in (1, 2, 3)}
    write(folder / "module.safetensors", site(build()) | sinkhorn())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(of_model[name])
    with tempfile.TemporaryDirectory() as scratch:
        gradients = pathlib.Path(scratch, "iter_0000001")
        save(model, gradients)
        expected |= {f"grad.{key}": tensor for key, tensor in dcp.read_tensors(str(gradients)).items()}
    write(folder / "step.safetensors", expected)


if __name__ == "__main__":
    main()
