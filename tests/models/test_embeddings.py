"""Textual inversion embeddings on toys of SD 1.5 and SDXL: as plain diffusers has them, gone without a trace."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file

from core.config.loader import PROJECT_ROOT, load_settings
from core.errors import EmbeddingError
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.embedding_library import FOLDER, EmbeddingLibrary, replaced
from core.models.model_paths import ModelPaths, places_of
from core.studio.bootstrap import build_studio
from tests.models import tiny_models

SMALL = {"width": 64, "height": 64, "num_inference_steps": 2}
WIDTH = tiny_models.WIDTH
KINDS = {
    "sd": (tiny_models.stable_diffusion, StableDiffusionPipeline, ("emb_params",)),
    "sdxl": (tiny_models.stable_diffusion_xl, StableDiffusionXLPipeline, ("clip_l", "clip_g")),
}


@pytest.fixture(scope="module", params=KINDS)
def toy(request, tmp_path_factory):
    """A model's folder, plain diffusers over it, a generator, and the folder of its embeddings with three files."""
    build, kind, keys = KINDS[request.param]
    root = tmp_path_factory.mktemp("embeddings")
    folder = build(root / "toy")
    plain = kind.from_pretrained(folder, dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    own = Generator(Catalog(PROJECT_ROOT / "configs", ModelPaths(root)))
    files = own._embeddings.folder
    files.mkdir(parents=True, exist_ok=True)
    dice = torch.Generator().manual_seed(1)
    vectors = {key: torch.randn(3, WIDTH, generator=dice) for key in keys}
    save_file(vectors, files / "Easy-Ink.safetensors")
    save_file({key: tensor[:1].clone() for key, tensor in vectors.items()}, files / "one.safetensors")
    save_file({key: torch.randn(2, WIDTH + 8) for key in keys}, files / "wide.safetensors")
    return SimpleNamespace(folder=folder, plain=plain, own=own, files=files, vectors=vectors)


def generated(toy, request):
    image = toy.own.generate(request).images[0]
    return image, np.asarray(image.image).astype(int)


def by_diffusers(toy, request, prompt, negative):
    """The same embedding by plain diffusers, which is taken out again."""
    pipeline = toy.plain
    encoders = [(pipeline.text_encoder, pipeline.tokenizer)]
    if len(toy.vectors) == 2:
        encoders.append((pipeline.text_encoder_2, pipeline.tokenizer_2))
    names = ["<ink>", "<ink>_1", "<ink>_2"]
    for (encoder, tokenizer), tensor in zip(encoders, toy.vectors.values(), strict=True):
        pipeline.load_textual_inversion(tensor, token="<ink>", text_encoder=encoder, tokenizer=tokenizer)
    image = pipeline(
        prompt=prompt, negative_prompt=negative, width=64, height=64, num_inference_steps=2, guidance_scale=5.0,
        generator=torch.Generator().manual_seed(request.seed),
    ).images[0]  # fmt: skip
    for encoder, tokenizer in encoders:
        pipeline.unload_textual_inversion(tokens=names, text_encoder=encoder, tokenizer=tokenizer)
    return np.asarray(image).astype(int)


@pytest.mark.by_default("sd-easy-ink", "sdxl-embedding:Easy-Ink")
@pytest.mark.parametrize("written", ["easy-ink", "embedding:Easy-Ink"])
def test_embedding_equals_plain_diffusers(toy, request_of, written: str) -> None:
    given = {"model": str(toy.folder), "cfg_scale": 5.0, **SMALL}
    request = request_of(prompt=f"a house, {written}, snow", negative_prompt=f"{written}, grey", **given)
    image, mine = generated(toy, request)
    theirs = by_diffusers(toy, request, "a house, <ink> , snow", "<ink> , grey")
    assert np.array_equal(mine, theirs)
    assert image.request.prompt == request.prompt, "recorded as it was given"
    (said,) = [one for one in image.decisions if one.requested == "Easy-Ink"]
    digest = hashlib.sha256((toy.files / "Easy-Ink.safetensors").read_bytes()).hexdigest()
    assert image.effective["embedding.files"] == [{"name": "Easy-Ink", "sha256": digest}]
    assert said.effective == 3 and "Easy-Ink" in said.reason["en"] and "词元" in said.reason["zh"]


def test_embedding_leaves_no_trace(toy, request_of) -> None:
    given = {"model": str(toy.folder), **SMALL}
    _, before = generated(toy, request_of(prompt="a house", **given))
    _, other = generated(toy, request_of(prompt="a house one Easy-Ink", **given))
    tokenizer, encoder = toy.own.loaded.pipeline.tokenizer, toy.own.loaded.pipeline.text_encoder
    _, after = generated(toy, request_of(prompt="a house", **given))
    assert np.array_equal(before, after) and not np.array_equal(before, other)
    assert len(tokenizer) == encoder.get_input_embeddings().weight.shape[0] == 260


def test_embedding_that_cannot_be_used_is_an_error(toy, request_of) -> None:
    given = {"model": str(toy.folder), **SMALL}
    with pytest.raises(EmbeddingError, match=r"text encoder takes 32"):
        toy.own.generate(request_of(prompt="a house, wide", **given))
    with pytest.raises(EmbeddingError, match=r"nearest is Easy-Ink"):
        toy.own.generate(request_of(prompt="embedding:easy-inc", **given))
    _, plain = generated(toy, request_of(prompt="a house", **given))
    assert plain.shape == (64, 64, 3), "the model is as before"


def test_files_are_judged_by_their_headers(tmp_path) -> None:
    library = EmbeddingLibrary(tmp_path)
    save_file({"emb_params": torch.zeros(4, 768)}, tmp_path / "sd.safetensors")
    save_file({"<cat-toy>": torch.zeros(768)}, tmp_path / "diffusers.safetensors")
    save_file({"clip_l": torch.zeros(2, 768), "clip_g": torch.zeros(2, 1280)}, tmp_path / "xl.safetensors")
    save_file({"clip_l": torch.zeros(2, 768)}, tmp_path / "half.safetensors")
    save_file({"emb_params": torch.zeros(400, 768)}, tmp_path / "long.safetensors")
    torch.save({"string_to_param": {}}, tmp_path / "old.pt")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "sd.safetensors").read_bytes()[:-9])
    assert library.find("SD").vectors == 4 and library.find("diffusers").vectors == 1
    assert library.find("xl").widths == {"text_encoder": 768, "text_encoder_2": 1280}
    for name, words in (("half", "not those"), ("long", "not those"), ("cut", "not those"), ("old", "pickle")):
        with pytest.raises(EmbeddingError, match=words):
            library.find(name)
    with pytest.raises(EmbeddingError, match="made for SDXL"):
        library.named_in(["a house, xl"], "StableDiffusionPipeline")
    assert library.named_in(["a house, xl"], "ZImagePipeline") == ()


def test_an_embedding_that_is_not_there_is_refused_when_a_job_is_submitted(tmp_path) -> None:
    sd = tiny_models.stable_diffusion(tmp_path / "sd")
    settings = load_settings(overrides={"output.directory": str(tmp_path), "model.id": str(sd)})
    studio, files = build_studio(settings), places_of(settings).store / FOLDER
    with pytest.raises(EmbeddingError, match="moody"):
        studio.queue.submit(studio.requests.new({"prompt": "a house, embedding:moody"}))
    assert studio.queue.count_active() == 0
    files.mkdir(parents=True)
    save_file({"emb_params": torch.zeros(4, WIDTH)}, files / "moody.safetensors")
    assert studio.queue.submit(studio.requests.new({"prompt": "a house, embedding:moody"})).request.prompt.endswith("moody")


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("a ink house", "a <1> house"),
        ("inked, pink, ink-print", "inked, pink, <2>"),
        ("(INK:1.2), embedding:ink.safetensors", "( <1> :1.2), <1>"),
        ("a house", "a house"),
    ],
)
def test_names_are_words_of_their_own(prompt: str, wanted: str) -> None:
    assert replaced(prompt, {"ink": "<1>", "ink-print": "<2>"}) == wanted
