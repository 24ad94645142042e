"""A model that takes long enough to convert for a signal to come in between."""
import json
import random

HIDDEN, FFN, VOCAB = 1024, 4096, 32000
LAYERS = 8


def make(folder):
    """Writes a Llama of 400 MB, whose bytes are a random block again and again."""
    folder.mkdir()
    shapes = {"model.embed_tokens.weight": [VOCAB, HIDDEN], "model.norm.weight": [HIDDEN], "lm_head.weight": [VOCAB, HIDDEN]}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{p}_proj.weight": [HIDDEN, HIDDEN] for p in "qkvo"}
        shapes |= {f"{at}.mlp.{p}_proj.weight": [FFN, HIDDEN] for p in ("gate", "up")} | {f"{at}.mlp.down_proj.weight": [HIDDEN, FFN]}
        shapes |= {f"{at}.{p}_layernorm.weight": [HIDDEN] for p in ("input", "post_attention")}
    header, size = {}, 0
    for name, shape in shapes.items():
        bytes_of_tensor = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [size, size + bytes_of_tensor]}
        size += bytes_of_tensor
    text = json.dumps(header).encode()
    block = random.Random(1).randbytes(1 << 20)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for begin in range(0, size, len(block)):
            file.write(block[: size - begin])
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": LAYERS,
              "num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": VOCAB, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    assert size > 399_000_000
    return folder
