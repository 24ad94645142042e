"""Qwen2.5-VL and Qwen3-VL in miniature, dense and with experts: what transformers saves, and the releases' spellings of it."""
import dataclasses
import json
import pathlib

import torch
import transformers

from oracles import hf_files, recorded
from oracles.arch import Arch

CLASSES = {"qwen2_5_vl": transformers.Qwen2_5_VLForConditionalGeneration, "qwen3_vl": transformers.Qwen3VLForConditionalGeneration,
           "qwen3_vl_moe": transformers.Qwen3VLMoeForConditionalGeneration}
BLOCKS, HEADS = 3, 3  # of the vision tower


@dataclasses.dataclass(frozen=True)
class Case:
    model: str
    arch: Arch
    sections: tuple[int, int, int]
    form: str = "saved"  # as transformers saves it; "released"; "modules": under the names of transformers 5's modules
    width: int = 24      # of the vision tower


@dataclasses.dataclass
class Source:
    case: Case
    folder: pathlib.Path
    state: dict[str, torch.Tensor]  # as transformers saves it
    logits: torch.Tensor            # of recorded.tokens, [tokens, vocab] in F32

    @property
    def files(self):
        return {file.name: file.read_bytes() for file in self.folder.iterdir()}


def config(case):
    arch = case.arch
    rope = dict(rope_type="default", rope_theta=arch.rope_base, mrope_section=list(case.sections))
    text = dict(hidden_size=arch.hidden, num_hidden_layers=arch.layers, num_attention_heads=arch.heads, num_key_value_heads=arch.groups,
                intermediate_size=arch.ffn, vocab_size=arch.vocab, max_position_embeddings=arch.positions, rms_norm_eps=arch.eps, rope_parameters=rope,
                bos_token_id=1, eos_token_id=2, dtype=arch.dtype)
    tower = dict(depth=BLOCKS, hidden_size=case.width, num_heads=HEADS, intermediate_size=40, patch_size=2, out_hidden_size=arch.hidden)
    if case.model == "qwen2_5_vl":
        tower.update(fullatt_block_indexes=[1], window_size=8)
    else:
        text.update(head_dim=arch.head_dim)
        rope.update(mrope_interleaved=True)
        tower.update(num_position_embeddings=16, deepstack_visual_indexes=[0, 2])
    if arch.moe:
        text.update(num_experts=arch.moe.experts, num_experts_per_tok=arch.moe.topk, moe_intermediate_size=arch.moe.ffn)
    ids = dict(image_token_id=arch.vocab - 2, video_token_id=arch.vocab - 3, vision_start_token_id=arch.vocab - 4, vision_end_token_id=arch.vocab - 5)
    return CLASSES[case.model].config_class(text_config=text, vision_config=tower, tie_word_embeddings=arch.tied, dtype=arch.dtype, **ids)


def _release(case, folder, state):
    """Rewrites what transformers saved as releases have it."""
    if case.arch.moe:
        hf_files.write_safetensors(folder, {name: tensor.transpose(1, 2).contiguous() if ".mlp.experts." in name else tensor for name, tensor in state.items()}, 2)
        return
    written = json.loads((folder / "config.json").read_text())
    text = written.pop("text_config")
    sections = text.pop("rope_parameters")["mrope_section"]
    for key in ("model_type", "layer_types"):
        del text[key]
    written = text | written | dict(rope_theta=case.arch.rope_base, rope_scaling={"type": "mrope", "mrope_section": sections})
    (folder / "config.json").write_text(json.dumps(written))


def _under_the_names_of_modules(folder, state):
    prefixes = {"model.": "model.language_model.", "visual.": "model.visual."}
    names = {name: next((new + name.removeprefix(old) for old, new in prefixes.items() if name.startswith(old)), name) for name in state}
    hf_files.write_safetensors(folder, {names[name]: tensor for name, tensor in state.items()}, 2)


def make(case, folder, seed):
    """Random weights, norms and biases too."""
    made, folder = CLASSES[case.model](config(case)).eval(), pathlib.Path(folder)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in made.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            is_norm = "norm" in name and name.endswith("weight")
            tensor.copy_(1 + 0.2 * noise if is_norm else 0.1 * noise)
    made.to(getattr(torch, case.arch.dtype)).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    fresh = CLASSES[case.model].from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = fresh(input_ids=torch.tensor([recorded.tokens(case.arch.vocab)])).logits[0]
    state = hf_files.read_safetensors(folder)
    if case.form == "released":
        _release(case, folder, state)
    if case.form == "modules":
        _under_the_names_of_modules(folder, state)
    return Source(case, folder, state, logits)
