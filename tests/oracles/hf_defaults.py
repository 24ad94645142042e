"""What transformers' configuration classes take for keys that config.json lacks:  python -m oracles.hf_defaults OUT.json  (from tests/)

{name: {"config": a config.json with every key, "defaults": the keys of it that may be absent}}: sizes that no shape does without
are given (SIZES), all else is the class's. Read by the unit tests of the tables and of the forward pass.
"""
import dataclasses
import json
import sys

import transformers

CLASSES = {
    "gpt_oss": ("GptOssForCausalLM", transformers.GptOssConfig),
    "llama": ("LlamaForCausalLM", transformers.LlamaConfig),
    "mistral": ("MistralForCausalLM", transformers.MistralConfig),
    "ministral": ("MinistralForCausalLM", transformers.MinistralConfig),
    "mixtral": ("MixtralForCausalLM", transformers.MixtralConfig),
    "phi3": ("Phi3ForCausalLM", transformers.Phi3Config),
    "qwen2": ("Qwen2ForCausalLM", transformers.Qwen2Config),
    "qwen3": ("Qwen3ForCausalLM", transformers.Qwen3Config),
    "qwen3_moe": ("Qwen3MoeForCausalLM", transformers.Qwen3MoeConfig),
    "qwen2_moe": ("Qwen2MoeForCausalLM", transformers.Qwen2MoeConfig),
    "qwen3_next": ("Qwen3NextForCausalLM", transformers.Qwen3NextConfig),
    "qwen3_5": ("Qwen3_5ForCausalLM", transformers.Qwen3_5TextConfig),
    "qwen3_5_moe": ("Qwen3_5MoeForCausalLM", transformers.Qwen3_5MoeTextConfig),
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", transformers.Qwen2_5_VLTextConfig),
    "qwen3_vl": ("Qwen3VLForConditionalGeneration", transformers.Qwen3VLTextConfig),
    "qwen3_vl_moe": ("Qwen3VLMoeForConditionalGeneration", transformers.Qwen3VLMoeTextConfig),
    "glm4": ("Glm4ForCausalLM", transformers.Glm4Config),
    "gemma2": ("Gemma2ForCausalLM", transformers.Gemma2Config),
    "gemma3": ("Gemma3ForCausalLM", transformers.Gemma3TextConfig),
    "nemotron": ("NemotronForCausalLM", transformers.NemotronConfig),
    "nemotron_h": ("NemotronHForCausalLM", transformers.NemotronHConfig),
    "starcoder2": ("Starcoder2ForCausalLM", transformers.Starcoder2Config),
    "deepseek_v2": ("DeepseekV2ForCausalLM", transformers.DeepseekV2Config),
    "seed_oss": ("SeedOssForCausalLM", transformers.SeedOssConfig),
    "olmoe": ("OlmoeForCausalLM", transformers.OlmoeConfig),
    "minimax_m2": ("MiniMaxM2ForCausalLM", transformers.MiniMaxM2Config),
    "deepseek_v3": ("DeepseekV3ForCausalLM", transformers.DeepseekV3Config),
    "deepseek_v32": ("DeepseekV32ForCausalLM", transformers.DeepseekV32Config),
    "glm4_moe": ("Glm4MoeForCausalLM", transformers.Glm4MoeConfig),
    "glm4_moe_lite": ("Glm4MoeLiteForCausalLM", transformers.Glm4MoeLiteConfig),
    "hy_v3": ("HYV3ForCausalLM", transformers.HYV3Config),
    "glm_moe_dsa": ("GlmMoeDsaForCausalLM", transformers.GlmMoeDsaConfig),
    "llama4": ("Llama4ForCausalLM", transformers.Llama4TextConfig),
    "deepseek_v4": ("DeepseekV4ForCausalLM", transformers.DeepseekV4Config),
}
SIZES = dict(vocab_size=128, hidden_size=4096, intermediate_size=96, num_hidden_layers=4, num_attention_heads=64)
# What a class has no number for.
GIVEN = {"deepseek_v2": dict(num_experts_per_tok=6)}
# Every config.json has the sizes. The depths of multi-token prediction are those that are there, and no class has them as modules; how each
# layer of DeepSeek-V4 compresses, and what each of Nemotron-H is, must be said. num_key_value_heads means nothing in DeepSeek-V3's attention.
# Of a model of images and text the flag of tied embeddings is that of the whole, whose class has another default than that of Qwen3-VL-MoE's
# text.
NEVER_ABSENT = {"deepseek_v2": ["num_key_value_heads"], "deepseek_v3": ["num_nextn_predict_layers", "num_key_value_heads"], "deepseek_v32": ["num_key_value_heads"],
                "glm4_moe": ["num_nextn_predict_layers"], "glm4_moe_lite": ["num_key_value_heads"], "glm_moe_dsa": ["num_key_value_heads"],
                "qwen3_vl_moe": ["tie_word_embeddings"],
                "deepseek_v4": ["num_nextn_predict_layers", "layer_types"], "nemotron_h": ["num_nextn_predict_layers", "layers_block_type"]}


def of(name):
    architecture, cls = CLASSES[name]
    own = {field.name for field in dataclasses.fields(cls)} - {field.name for field in dataclasses.fields(transformers.PreTrainedConfig)}
    own = {cls.attribute_map.get(key, key) for key in own} | {"tie_word_embeddings"}
    sizes = {key: value for key, value in SIZES.items() if key in own}
    sizes.update(GIVEN.get(name, {}))
    values = json.loads(cls(**sizes).to_json_string(use_diff=False))  # infinity is no number in a file
    config = {key: values[key] for key in sorted(own) if key in values}
    config.update(architectures=[architecture], model_type=cls.model_type, dtype="bfloat16")
    absent = own - sizes.keys() - set(NEVER_ABSENT.get(name, []))
    return dict(config=config, defaults=[key for key in sorted(absent) if key in values])


def all_of_them():
    return {name: of(name) for name in CLASSES}


if __name__ == "__main__":
    with open(sys.argv[1], "w") as file:
        json.dump(all_of_them(), file, indent=1)
        file.write("\n")
