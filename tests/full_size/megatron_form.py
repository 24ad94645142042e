"""DeepSeek-V3 as Megatron-Core holds it, of the values of a Hugging Face folder, without the converter: PyTorch writes it, by the list below.

1. `.metadata` has every tensor and its chunks: gate and up of a first linear are two, each expert has its own.
2. A file a layer holds its items. Those that are wanted are what torch.save writes, of values that torch dequantizes; the others are holes.
   The embedding, of which a pass reads rows, is zeros here and there, in items that can be read.
3. run_config.yaml and the small files are Megatron-Bridge's of a small model (data/bridge_written), with the sizes of the large one.
"""
import io
import math
import os
import pickle
import shutil

import torch
import yaml
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, Metadata, MetadataIndex, TensorProperties, TensorStorageMetadata

from helpers import DATA

SMALL = DATA / "bridge_written" / "deepseek_v3" / "megatron"
BLOCK = 128  # rows and columns of FP8 that share a scale
ZEROS = bytes(1 << 20)
VOCABULARY_PARTS = 16  # chunks of the embedding, as of so many tensor-parallel ranks
ARCHIVE = 2048  # more than what torch.save adds to the bytes of a tensor
ATTENTION = {
    "input_layernorm.weight": ["input_layernorm.weight"],
    "self_attention.linear_q_down_proj.weight": ["self_attn.q_a_proj.weight"],
    "self_attention.linear_q_up_proj.layer_norm_weight": ["self_attn.q_a_layernorm.weight"],
    "self_attention.linear_q_up_proj.weight": ["self_attn.q_b_proj.weight"],
    "self_attention.linear_kv_down_proj.weight": ["self_attn.kv_a_proj_with_mqa.weight"],
    "self_attention.linear_kv_up_proj.layer_norm_weight": ["self_attn.kv_a_layernorm.weight"],
    "self_attention.linear_kv_up_proj.weight": ["self_attn.kv_b_proj.weight"],
    "self_attention.linear_proj.weight": ["self_attn.o_proj.weight"],
}
DENSE = {
    "mlp.linear_fc1.layer_norm_weight": ["post_attention_layernorm.weight"],
    "mlp.linear_fc1.weight": ["mlp.gate_proj.weight", "mlp.up_proj.weight"],
    "mlp.linear_fc2.weight": ["mlp.down_proj.weight"],
}
EXPERTS = {
    "pre_mlp_layernorm.weight": ["post_attention_layernorm.weight"],
    "mlp.router.weight": ["mlp.gate.weight"],
    "mlp.router.expert_bias": ["mlp.gate.e_score_correction_bias"],
    "mlp.shared_experts.linear_fc1.weight": ["mlp.shared_experts.gate_proj.weight", "mlp.shared_experts.up_proj.weight"],
    "mlp.shared_experts.linear_fc2.weight": ["mlp.shared_experts.down_proj.weight"],
}
OF_EACH_EXPERT = {"mlp.experts.experts.linear_fc1.weight": ["gate_proj.weight", "up_proj.weight"], "mlp.experts.experts.linear_fc2.weight": ["down_proj.weight"]}
DEPTH = {"eh_proj.weight": "eh_proj.weight", "enorm.weight": "enorm.weight", "hnorm.weight": "hnorm.weight", "final_layernorm.weight": "shared_head.norm.weight"}
EMBEDDING = "embedding.word_embeddings.weight"
MODEL = {EMBEDDING: "model.embed_tokens.weight", "decoder.final_layernorm.weight": "model.norm.weight", "output_layer.weight": "lm_head.weight"}


def _layer(target, source, config, dense):
    for name, parts in {**ATTENTION, **(DENSE if dense else EXPERTS)}.items():
        yield target + name, [[source + part for part in parts]]
    if not dense:
        for name, parts in OF_EACH_EXPERT.items():
            yield target + name, [[f"{source}mlp.experts.{expert}.{part}" for part in parts] for expert in range(config["n_routed_experts"])]


def tensors(config):
    """(layer or -1, key, Hugging Face's names: a list an expert, of the matrices that lie one below the other)"""
    layers = config["num_hidden_layers"]
    for key, name in MODEL.items():
        yield -1, key, [[name]]
    for layer in range(layers):
        for key, names in _layer(f"decoder.layers.{layer}.", f"model.layers.{layer}.", config, layer < config["first_k_dense_replace"]):
            yield layer, key, names
    for depth in range(config["num_nextn_predict_layers"]):
        source = f"model.layers.{layers + depth}."
        for name, part in DEPTH.items():
            yield layers + depth, f"mtp.layers.{depth}.{name}", [[source + part]]
        for key, names in _layer(f"mtp.layers.{depth}.transformer_layer.", source, config, False):
            yield layers + depth, key, names


def _value(folder, name):
    """The values of a tensor of the folder, in BF16 or F32."""
    shape, dtype, data = folder.read(name)
    if dtype != "F8_E4M3":
        return torch.frombuffer(data, dtype={"BF16": torch.bfloat16, "F32": torch.float32}[dtype]).reshape(shape)
    codes = torch.frombuffer(data, dtype=torch.float8_e4m3fn).reshape(shape)
    scale_shape, _, scales = folder.read(name + "_scale_inv")
    scales = torch.frombuffer(scales, dtype=torch.float32).reshape(scale_shape)
    values = torch.empty(shape, dtype=torch.bfloat16)
    for row in range(0, shape[0], BLOCK):
        of_columns = scales[row // BLOCK].repeat_interleave(BLOCK)[: shape[1]]
        values[row : row + BLOCK] = codes[row : row + BLOCK].float() * of_columns
    return values


def _write(path, offset, content):
    """All but zeros, and returns the length."""
    with open(path, "r+b") as file:
        for at in range(0, len(content), len(ZEROS)):
            piece = content[at : at + len(ZEROS)]
            if piece != ZEROS[: len(piece)]:
                file.seek(offset + at)
                file.write(piece)
        file.seek(0, os.SEEK_END)
        if file.tell() < offset + len(content):
            file.truncate(offset + len(content))
    return len(content)


def _archive(value):
    saved = io.BytesIO()
    torch.save(value, saved)
    return saved.getbuffer()


def write_run_config(path, config):
    settings = yaml.safe_load((SMALL / "iter_0000000" / "run_config.yaml").read_text())
    dense, layers = config["first_k_dense_replace"], config["num_hidden_layers"]
    rope = config["rope_scaling"]
    sizes = {
        "num_layers": layers, "hidden_size": config["hidden_size"], "ffn_hidden_size": config["intermediate_size"], "vocab_size": config["vocab_size"],
        "num_attention_heads": config["num_attention_heads"], "num_query_groups": config["num_key_value_heads"], "layernorm_epsilon": config["rms_norm_eps"],
        "q_lora_rank": config["q_lora_rank"], "kv_lora_rank": config["kv_lora_rank"], "qk_head_dim": config["qk_nope_head_dim"],
        "qk_pos_emb_head_dim": config["qk_rope_head_dim"], "v_head_dim": config["v_head_dim"], "seq_length": config["max_position_embeddings"],
        "rotary_base": config["rope_theta"], "rotary_scaling_factor": rope["factor"], "original_max_position_embeddings": rope["original_max_position_embeddings"],
        "beta_fast": rope["beta_fast"], "beta_slow": rope["beta_slow"], "mscale": rope["mscale"], "mscale_all_dim": rope["mscale_all_dim"],
        "moe_layer_freq": [0] * dense + [1] * (layers - dense), "moe_ffn_hidden_size": config["moe_intermediate_size"], "num_moe_experts": config["n_routed_experts"],
        "moe_shared_expert_intermediate_size": config["moe_intermediate_size"] * config["n_shared_experts"], "moe_router_topk": config["num_experts_per_tok"],
        "moe_router_num_groups": config["n_group"], "moe_router_group_topk": config["topk_group"], "moe_router_topk_scaling_factor": config["routed_scaling_factor"],
        "mtp_num_layers": config["num_nextn_predict_layers"],
    }
    assert not sizes.keys() - settings["model"].keys()
    settings["model"].update(sizes)
    path.write_text(yaml.safe_dump(settings))


def write_megatron(root, folder, config, wanted):
    """Writes `root` with the layer `wanted` of the folder, and holes for all others. Returns the bytes of `.metadata` and of that layer's items."""
    iteration = root / "iter_0000000"
    iteration.mkdir(parents=True)
    shutil.copy(SMALL / "latest_checkpointed_iteration.txt", root)
    shutil.copy(SMALL / "iter_0000000" / "metadata.json", iteration)
    write_run_config(iteration / "run_config.yaml", config)
    entries, places, ends, written = {}, {}, {}, 0
    zeros = None  # an item of the embedding, which are all alike
    for layer, key, experts in tensors(config):
        file = f"__{layer + 1}_0.distcp"
        (iteration / file).touch()
        leading = len(experts) > 1  # the axis of experts
        chunks = []
        for expert, names in enumerate(experts):
            rows = 0
            for name in names:
                _, _, dtype, _, shape = folder.tensors[name]
                dtype = torch.float32 if dtype == "F32" else torch.bfloat16
                step = shape[0] // (VOCABULARY_PARTS if key == EMBEDDING else 1)
                for row in range(0, shape[0], step):
                    offsets = torch.Size([expert] * leading + [rows + row] + [0] * (len(shape) - 1))
                    sizes = torch.Size([1] * leading + [step, *shape[1:]])
                    begin = ends.get(file, 0)
                    length = math.prod(sizes) * dtype.itemsize + ARCHIVE
                    if key == EMBEDDING:
                        length = _write(iteration / file, begin, zeros := zeros or _archive(torch.zeros(sizes, dtype=dtype)))
                    elif layer == wanted:
                        length = _write(iteration / file, begin, _archive(_value(folder, name).reshape(sizes)))
                        written += length
                    chunks.append(ChunkStorageMetadata(offsets, sizes))
                    places[MetadataIndex(key, offsets, len(chunks) - 1)] = _StorageInfo(file, begin, length)
                    ends[file] = begin + length
                rows += shape[0]
        whole = torch.Size([len(experts)] * leading + [rows, *shape[1:]])
        entries[key] = TensorStorageMetadata(TensorProperties(dtype=dtype), whole, chunks)
    for file, end in ends.items():
        os.truncate(iteration / file, end)
    (iteration / ".metadata").write_bytes(content := pickle.dumps(Metadata(entries, storage_data=places)))
    return len(content), written
