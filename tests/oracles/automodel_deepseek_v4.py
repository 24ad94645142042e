"""One training step of a tiny DeepSeek-V4, multi-token prediction and hyper-connections included, by NeMo Automodel (pull request 2191).

    pip install --no-deps nemo-automodel==0.7.0 pillow
    PYTHONPATH=tests python -m oracles.automodel_deepseek_v4 data/automodel_deepseek_v4.safetensors

Run by hand, as Automodel is not among the requirements of the tests. The model is that of source(), with weights from a seed, so that a
test can make it again. It writes
  input_ids          a prompt in which no choice of a router or an indexer is nearly a tie
  loss.main, loss.mtp.0   [sum, count]; count is of the tokens that have a label (Automodel divides both sums by the main one)
  grad.NAME          the gradient of main / count + 0.1 * mtp / its own count, under the release's names
  contracted.mtp.0   the sum of the depth's loss where it is fed the mean of the streams in the place of each: another step
"""
import sys

import torch
from safetensors.torch import save_file

from oracles import deepseek_v4_model, deepseek_v4_reference

SCALE = 0.1
_OF_FILES = ("quantization_config", "architectures", "model_type", "transformers_version", "torch_dtype", "expert_dtype")


def source():
    """(config, state) of the model."""
    config = deepseek_v4_model.config(
        "bf16", hidden_size=24, hc_mult=3, head_dim=16, num_attention_heads=4, o_lora_rank=8, q_lora_rank=12, index_head_dim=8, index_n_heads=16, index_topk=2,
        moe_intermediate_size=16, n_routed_experts=3, num_hidden_layers=2, num_hash_layers=1, compress_ratios=[4, 0, 0], sliding_window=8, vocab_size=41)
    return config, deepseek_v4_model.state_dict(config, "bf16", 61)


def _automodel(config, state):
    from nemo_automodel.components.models.common import BackendConfig
    from nemo_automodel.components.models.deepseek_v4.config import DeepseekV4Config
    from nemo_automodel.components.models.deepseek_v4.model import DeepseekV4ForCausalLM
    backend = BackendConfig(attn="eager", linear="torch", rms_norm="torch", experts="torch", dispatcher="torch", rope_fusion=False, enable_hf_state_dict_adapter=True)
    model = DeepseekV4ForCausalLM(DeepseekV4Config(**{key: value for key, value in config.items() if key not in _OF_FILES}, torch_dtype="float32"), backend=backend).float()
    model.state_dict_adapter.dtype = torch.float32
    weights = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    result = model.load_state_dict(model.state_dict_adapter.from_hf(weights), strict=False)
    assert not result.unexpected_keys, result.unexpected_keys
    print("not in the checkpoint:", result.missing_keys)
    return model.train()


def _losses(model, ids):
    """Sums of the main loss and of the depth's."""
    from nemo_automodel.components.loss.masked_ce import MaskedCrossEntropy
    from nemo_automodel.components.loss.mtp import calculate_mtp_loss
    from nemo_automodel.components.loss.utils import calculate_loss
    labels, loss = torch.cat([ids[1:], torch.tensor([-100])])[None], MaskedCrossEntropy()
    out = model(ids[None])
    main = calculate_loss(loss, logits=out.logits, labels=labels, model=model, num_label_tokens=1)
    depth = calculate_mtp_loss(loss, mtp_per_depth_h=out.mtp_per_depth_h, labels=labels, model=model, scaling_factor=1.0, num_label_tokens=1)
    return main, depth


def _fed_the_mean(model):
    plain = model.mtp.forward
    model.mtp.forward = lambda hidden_states, *arguments, **options: plain(hidden_states.mean(2, keepdim=True).expand_as(hidden_states), *arguments, **options)


def main():
    torch.set_num_threads(1)
    config, state = source()
    tokens, _, _ = deepseek_v4_reference.Reference(config, state).prompt(37, seed=3)
    ids, model = torch.tensor(tokens), _automodel(config, state)
    main_sum, depth_sum = _losses(model, ids)
    counts = len(tokens) - 1, len(tokens) - 2
    (main_sum / counts[0] + SCALE * depth_sum / counts[1]).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    out = {f"grad.{name}": tensor for name, tensor in model.state_dict_adapter.to_hf(gradients).items()}
    out |= {"input_ids": ids, "loss.main": torch.tensor([main_sum, counts[0]]), "loss.mtp.0": torch.tensor([depth_sum, counts[1]])}
    _fed_the_mean(model)
    out["contracted.mtp.0"] = _losses(model, ids)[1].reshape(1)
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in out.items()}, sys.argv[1])
    print(out["loss.main"], out["loss.mtp.0"], out["contracted.mtp.0"])


if __name__ == "__main__":
    main()
