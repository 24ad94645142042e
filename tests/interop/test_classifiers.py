"""Classifiers and reward models of transformers: the head, score.weight, is the output layer of the Megatron checkpoint; both views
give transformers' scores of every token, and the way back its files."""
import pytest
import torch
import transformers
from safetensors.torch import save_file

from interop import cases
from oracles import dcp, hf_files, hf_models
from oracles.arch import awkward

CLASSES = {"llama": transformers.LlamaForSequenceClassification, "mistral": transformers.MistralForSequenceClassification,
           "qwen2": transformers.Qwen2ForSequenceClassification, "qwen3": transformers.Qwen3ForSequenceClassification}
# A reward model; a classifier whose number of labels transformers takes for granted; one with more. Embeddings are tied in some
# configurations, the head never is.
MODELS = {"llama": (1, False), "mistral": (2, False), "qwen2": (7, True), "qwen3": (1, True)}


@pytest.fixture(scope="module", params=MODELS)
def model(request, causeway, tmp_path_factory):
    """(Hugging Face folder, root of the conversion, reference scores, transformers' model)"""
    family, folder = request.param, tmp_path_factory.mktemp(f"classifier-{request.param}")
    labels, tied = MODELS[family]
    arch = awkward(family, tied=tied, dtype="float32")
    config = hf_models.config(arch)
    config.num_labels = labels
    torch.manual_seed(91)
    made = CLASSES[family](config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        ids = torch.tensor([cases.tokens(arch)])
        scores = made.score(made.model(ids).last_hidden_state)
    made.save_pretrained(folder / "hf")
    save_file({"input_ids": ids, "logits": scores.contiguous()}, folder / "reference.safetensors")
    done = causeway("convert-hf", folder / "hf", folder / "root")
    assert f"a head of {labels} labels" in done.stderr
    return folder / "hf", folder / "root", folder / "reference.safetensors", made


def test_both_views(model, forward):
    hf, root, reference, _ = model
    for folder in (hf, root):
        forward(folder, reference)


def test_head_is_the_output_layer(model):
    _, root, _, made = model
    tensors = dcp.read_tensors(root / "iter_0000000")
    assert torch.equal(tensors["output_layer.weight"], made.score.weight)
    assert torch.equal(tensors["embedding.word_embeddings.weight"], made.model.embed_tokens.weight)
    assert "share_embeddings_and_output_weights: false" in (root / "iter_0000000" / "run_config.yaml").read_text()


def test_round_trip(model, causeway, tmp_path):
    hf, root, _, _ = model
    causeway("export-to-hf", root, tmp_path / "hf")
    for file in hf.iterdir():
        assert (tmp_path / "hf" / file.name).read_bytes() == file.read_bytes()
    causeway("verify", hf, root)
    # What was trained and knows its source only by name.
    causeway("export-to-hf", root / "iter_0000000", tmp_path / "again", "--reference", hf)
    assert hf_files.read_safetensors(tmp_path / "again").keys() == hf_files.read_safetensors(hf).keys()


def test_a_head_of_another_size(model, causeway, tmp_path):
    """config.json says how many labels there are."""
    hf, _, _, _ = model
    other = hf_files.copy_with_tensors(hf, tmp_path / "other", {
        name: torch.cat([tensor, tensor]) if name == "score.weight" else tensor for name, tensor in hf_files.read_safetensors(hf).items()})
    done = causeway("convert-hf", other, tmp_path / "root", expect=3)
    assert "score.weight" in done.stderr


def test_no_training_step(model, causeway):
    hf, _, _, _ = model
    done = causeway("verify", hf, "--mode", "train-step", expect=5)
    assert "a classifier has no next token" in done.stderr
