"""What the real argument parser of Megatron-LM puts into a checkpoint, for one small model of each architecture.

    PYTHONPATH=MEGATRON_LM python tests/oracles/megatron_args.py data/megatron_args

Run by hand with a checkout of Megatron-LM (core 0.20.0, commit d98e8a64, was used), as it is on no package index. It writes
defaults.json, the plain data among the arguments of a run without any option, and NAME.json for each model: its
config.json, the flags, and the arguments that these change.
"""

import json
import os
import sys
import typing

import typing_extensions

typing.override = typing_extensions.override  # Python 3.11
sys.path.pop(0)  # this folder, whose megatron.py is another module
import torch  # noqa: E402

torch.cuda.is_available = lambda: False
torch.cuda.get_device_capability = lambda *_: (9, 0)
torch.cuda.get_device_properties = lambda *_: type("Device", (), {"major": 9, "minor": 0, "total_memory": 1 << 37, "multi_processor_count": 132})
os.environ.update(WORLD_SIZE="1", RANK="0", CUDA_DEVICE_MAX_CONNECTIONS="1")

RUN = "--micro-batch-size 1 --global-batch-size 1 --train-iters 1 --lr 1e-4 --bf16 --no-gradient-accumulation-fusion --transformer-impl transformer_engine"
# What all of these models are in Megatron's words.
ALIKE = f"{RUN} --position-embedding-type rope --swiglu --normalization RMSNorm --disable-bias-linear --attention-dropout 0.0 --hidden-dropout 0.0"
SIZES = "--num-layers 4 --hidden-size 64 --ffn-hidden-size 96 --num-attention-heads 4 --seq-length 256 --max-position-embeddings 256 --vocab-size 128"
GROUPED = "--group-query-attention --num-query-groups 2 --kv-channels 16"
CONFIG = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=16, vocab_size=128,
              hidden_act="silu", max_position_embeddings=256, rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=False, torch_dtype="bfloat16")
UNTIED = "--untie-embeddings-and-output-weights"
EPS = "--norm-epsilon 1e-6"
MOE = "--moe-ffn-hidden-size 32 --moe-grouped-gemm --moe-token-dispatcher-type alltoall"
LATENT = "--qk-layernorm --multi-latent-attention --q-lora-rank 24 --kv-lora-rank 32 --qk-head-dim 16 --qk-pos-emb-head-dim 8 --v-head-dim 16"
BIASED_ROUTER = "--moe-router-score-function sigmoid --moe-router-enable-expert-bias"
DELTA = ("--experimental-attention-variant gated_delta_net --linear-attention-freq 4 --linear-conv-kernel-dim 4 --linear-key-head-dim 16 "
         "--linear-value-head-dim 16 --linear-num-key-heads 2 --linear-num-value-heads 4 --attention-output-gate --rotary-percent 0.25 --apply-layernorm-1p")
DELTA_CONFIG = dict(linear_conv_kernel_dim=4, linear_key_head_dim=16, linear_value_head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4,
                    partial_rotary_factor=0.25, layer_types=["linear_attention"] * 3 + ["full_attention"])

MODELS = {
    "llama": (dict(CONFIG, architectures=["LlamaForCausalLM"], model_type="llama", rms_norm_eps=1e-5, rope_theta=500000.0, tie_word_embeddings=True,
                   rope_scaling=dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)),
              f"{ALIKE} {SIZES} {GROUPED} --norm-epsilon 1e-5 --rotary-base 500000 --use-rope-scaling --rope-scaling-factor 32"),
    "llama_one_group_a_head": (dict(CONFIG, architectures=["LlamaForCausalLM"], model_type="llama", num_key_value_heads=4, rms_norm_eps=1e-5),
                               f"{ALIKE} {SIZES} --norm-epsilon 1e-5 --rotary-base 1000000 {UNTIED}"),
    "qwen2": (dict(CONFIG, architectures=["Qwen2ForCausalLM"], model_type="qwen2"),
              f"{ALIKE} {SIZES} {GROUPED} {EPS} --rotary-base 1000000 {UNTIED} --add-qkv-bias"),
    "qwen3": (dict(CONFIG, architectures=["Qwen3ForCausalLM"], model_type="qwen3"),
              f"{ALIKE} {SIZES} {GROUPED} {EPS} --rotary-base 1000000 {UNTIED} --qk-layernorm"),
    "seed_oss": (dict(CONFIG, architectures=["SeedOssForCausalLM"], model_type="seed_oss", attention_bias=True, attention_dropout=0.0, residual_dropout=0.0),
                 f"{ALIKE} {SIZES} {GROUPED} {EPS} --rotary-base 1000000 {UNTIED} --add-qkv-bias"),
    "ministral": (dict(CONFIG, architectures=["MinistralForCausalLM"], model_type="ministral", sliding_window=8, rms_norm_eps=1e-5,
                       layer_types=["sliding_attention", "full_attention"] * 2),
                  f"{ALIKE} {SIZES} {GROUPED} --norm-epsilon 1e-5 --rotary-base 1000000 {UNTIED} --window-size 7,0 --window-attn-skip-freq ([1,0]*2)"),
    "olmoe": (dict(CONFIG, architectures=["OlmoeForCausalLM"], model_type="olmoe", intermediate_size=32, num_key_value_heads=4, num_experts=4, num_experts_per_tok=2,
                   norm_topk_prob=False, router_aux_loss_coef=0.01),
              f"{ALIKE} {SIZES.replace('96', '32')} --kv-channels 16 {EPS} --rotary-base 1000000 {UNTIED} --qk-layernorm --num-experts 4 --moe-router-topk 2 {MOE} "
              "--moe-router-pre-softmax --moe-aux-loss-coeff 0.01"),
    "minimax_m2": (dict(CONFIG, architectures=["MiniMaxM2ForCausalLM"], model_type="minimax_m2", intermediate_size=32, num_local_experts=4, num_experts_per_tok=2,
                        rotary_dim=8, router_aux_loss_coef=0.001),
                   f"{ALIKE} {SIZES.replace('96', '32')} {GROUPED} {EPS} --rotary-base 1000000 {UNTIED} --rotary-percent 0.5 --num-experts 4 --moe-router-topk 2 {MOE} "
                   "--moe-router-score-function sigmoid --moe-router-enable-expert-bias"),
    "mistral": (dict(CONFIG, architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=8, rms_norm_eps=1e-5),
                f"{ALIKE} {SIZES} {GROUPED} --norm-epsilon 1e-5 --rotary-base 1000000 {UNTIED} --window-size 7,0"),
    "mixtral": (dict(CONFIG, architectures=["MixtralForCausalLM"], model_type="mixtral", num_local_experts=4, num_experts_per_tok=2, sliding_window=None, rms_norm_eps=1e-5),
                f"{ALIKE} {SIZES} {GROUPED} --norm-epsilon 1e-5 --rotary-base 1000000 {UNTIED} --num-experts 4 --moe-router-topk 2 --moe-grouped-gemm --moe-token-dispatcher-type alltoall"),
    "qwen3_moe": (dict(CONFIG, architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                       norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], router_aux_loss_coef=0.001),
                  f"{ALIKE} {SIZES} {GROUPED} {EPS} --rotary-base 1000000 {UNTIED} --qk-layernorm --num-experts 4 --moe-router-topk 2 {MOE}"),
    "qwen2_moe": (dict(CONFIG, architectures=["Qwen2MoeForCausalLM"], model_type="qwen2_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                       shared_expert_intermediate_size=48, norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[], router_aux_loss_coef=0.001),
                  f"{ALIKE} {SIZES} {GROUPED} {EPS} --rotary-base 1000000 {UNTIED} --add-qkv-bias --num-experts 4 --moe-router-topk 2 --moe-router-pre-softmax {MOE} "
                  "--moe-shared-expert-intermediate-size 48 --moe-shared-expert-gate"),
    "qwen3_next": (dict(CONFIG, **DELTA_CONFIG, architectures=["Qwen3NextForCausalLM"], model_type="qwen3_next", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                        shared_expert_intermediate_size=32, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[]),
                   f"{ALIKE} {SIZES} {GROUPED} {EPS} --rotary-base 1000000 {UNTIED} --qk-layernorm {DELTA} --num-experts 4 --moe-router-topk 2 {MOE} "
                   "--moe-shared-expert-intermediate-size 32 --moe-shared-expert-gate"),
    "qwen3_5": (dict(CONFIG, **DELTA_CONFIG, architectures=["Qwen3_5ForCausalLM"], model_type="qwen3_5_text"),
                f"{ALIKE} {SIZES} {GROUPED} {EPS} --rotary-base 1000000 {UNTIED} --qk-layernorm {DELTA}"),
    "deepseek_v3": (dict(CONFIG, architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", num_key_value_heads=4, q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=16,
                         qk_rope_head_dim=8, v_head_dim=16, first_k_dense_replace=1, n_routed_experts=8, n_shared_experts=1, moe_intermediate_size=32, num_experts_per_tok=2,
                         n_group=4, topk_group=2, routed_scaling_factor=2.5, num_nextn_predict_layers=1, rope_theta=10000.0,
                         rope_scaling=dict(type="yarn", factor=40, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0)),
                    f"{ALIKE} {SIZES} {EPS} --rotary-base 10000 {UNTIED} {LATENT} "
                    f"--rotary-scaling-factor 40 --mscale 1.0 --mscale-all-dim 1.0 --num-experts 8 --moe-layer-freq ([0]*1+[1]*3) "
                    f"--moe-router-topk 2 {MOE} --moe-shared-expert-intermediate-size 32 {BIASED_ROUTER} "
                    "--moe-router-num-groups 4 --moe-router-group-topk 2 --moe-router-topk-scaling-factor 2.5 --moe-router-load-balancing-type seq_aux_loss "
                    "--moe-aux-loss-coeff 0.0001 --mtp-num-layers 1"),
    "glm4_moe": (dict(CONFIG, architectures=["Glm4MoeForCausalLM"], model_type="glm4_moe", rms_norm_eps=1e-5, partial_rotary_factor=0.5, attention_bias=True,
                      use_qk_norm=True, first_k_dense_replace=1, n_routed_experts=8, n_shared_experts=1, moe_intermediate_size=32, num_experts_per_tok=2, n_group=1,
                      topk_group=1, routed_scaling_factor=2.5, norm_topk_prob=True, num_nextn_predict_layers=1),
                 f"{ALIKE} {SIZES} {GROUPED} --norm-epsilon 1e-5 --rotary-base 1000000 --rotary-percent 0.5 {UNTIED} --add-qkv-bias --qk-layernorm --num-experts 8 "
                 f"--moe-layer-freq ([0]*1+[1]*3) --moe-router-topk 2 {MOE} --moe-shared-expert-intermediate-size 32 {BIASED_ROUTER} --moe-router-topk-scaling-factor 2.5 "
                 "--moe-router-load-balancing-type seq_aux_loss --moe-aux-loss-coeff 0.001 --mtp-num-layers 1"),
    "glm4_moe_lite": (dict(CONFIG, architectures=["Glm4MoeLiteForCausalLM"], model_type="glm4_moe_lite", num_key_value_heads=4, q_lora_rank=24, kv_lora_rank=32,
                           qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, first_k_dense_replace=1, n_routed_experts=8, n_shared_experts=1, moe_intermediate_size=32,
                           num_experts_per_tok=2, n_group=1, topk_group=1, routed_scaling_factor=1.8, norm_topk_prob=True, num_nextn_predict_layers=1),
                      f"{ALIKE} {SIZES} {EPS} --rotary-base 1000000 {UNTIED} {LATENT} --rotary-scaling-factor 1.0 --mscale 1.0 --mscale-all-dim 1.0 "
                      f"--num-experts 8 --moe-layer-freq ([0]*1+[1]*3) --moe-router-topk 2 {MOE} --moe-shared-expert-intermediate-size 32 {BIASED_ROUTER} "
                      "--moe-router-topk-scaling-factor 1.8 --moe-router-load-balancing-type seq_aux_loss --moe-aux-loss-coeff 0.001 --mtp-num-layers 1"),
    "hy_v3": (dict(CONFIG, architectures=["HYV3ForCausalLM"], model_type="hy_v3", rms_norm_eps=1e-5, first_k_dense_replace=1, num_experts=8, num_shared_experts=1,
                   moe_intermediate_size=32, num_experts_per_tok=2, router_scaling_factor=2.826, num_nextn_predict_layers=1,
                   router_aux_loss_coef=0.001),
              f"{ALIKE} {SIZES} {GROUPED} --norm-epsilon 1e-5 --rotary-base 1000000 {UNTIED} --qk-layernorm --num-experts 8 --moe-layer-freq ([0]*1+[1]*3) "
              f"--moe-router-topk 2 {MOE} --moe-shared-expert-intermediate-size 32 {BIASED_ROUTER} --moe-router-topk-scaling-factor 2.826 "
              "--moe-router-load-balancing-type seq_aux_loss --moe-aux-loss-coeff 0.001 --mtp-num-layers 1"),
    "deepseek_v2": (dict(CONFIG, architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", num_key_value_heads=4, q_lora_rank=24, kv_lora_rank=32,
                         qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, first_k_dense_replace=1, n_routed_experts=8, n_shared_experts=2, moe_intermediate_size=32,
                         num_experts_per_tok=2, topk_method="group_limited_greedy", n_group=4, topk_group=2, routed_scaling_factor=16.0, norm_topk_prob=False,
                         scoring_func="softmax", aux_loss_alpha=0.001, rope_theta=10000.0,
                         rope_scaling=dict(type="yarn", factor=40, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1, mscale=0.707, mscale_all_dim=0.707)),
                    f"{ALIKE} {SIZES} {EPS} --rotary-base 10000 {UNTIED} {LATENT} --rotary-scaling-factor 40 --mscale 0.707 --mscale-all-dim 0.707 --num-experts 8 "
                    f"--moe-layer-freq ([0]*1+[1]*3) --moe-router-topk 2 {MOE} --moe-shared-expert-intermediate-size 64 --moe-router-pre-softmax --moe-router-num-groups 4 "
                    "--moe-router-group-topk 2 --moe-router-topk-scaling-factor 16.0 --moe-router-load-balancing-type seq_aux_loss --moe-aux-loss-coeff 0.001"),
}
# The release's own configuration class has it; the one of transformers does not.
MODELS["deepseek_v3"][0]["aux_loss_alpha"] = 0.0001


def is_plain(value):
    if isinstance(value, (list, tuple)):
        return all(is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))


def arguments(flags):
    from megatron.training import arguments as megatron

    sys.argv = ["pretrain_gpt.py", *flags.split()]
    args = megatron.parse_args()
    megatron.validate_args(args)
    return {name: value for name, value in sorted(vars(args).items()) if is_plain(value) and name != "rank"}


def write(path, value):
    with open(path, "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    # Sizes are needed for the check of the arguments; every model gives its own.
    defaults = arguments(f"{RUN} --num-layers 1 --hidden-size 8 --num-attention-heads 1 --seq-length 8 --max-position-embeddings 8")
    write(os.path.join(folder, "defaults.json"), defaults)
    for name, (config, flags) in MODELS.items():
        own = arguments(flags)
        changed = {key: value for key, value in own.items() if key not in defaults or defaults[key] != value}
        write(os.path.join(folder, name + ".json"), dict(flags=flags, config=config, arguments=changed))
