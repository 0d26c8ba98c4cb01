"""Weights, chunks, BREAK and CLIP skip on toys of SD 1.5 and SDXL, against plain diffusers and the published formulas."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from core.config.loader import PROJECT_ROOT
from core.errors import OptionError
from core.inference import clip_encoding
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.model_paths import ModelPaths
from core.models.token_counter import count_tokens
from tests.models import tiny_models
from tests.options import measured

KINDS = {
    "sd": (tiny_models.stable_diffusion, StableDiffusionPipeline),
    "sdxl": (tiny_models.stable_diffusion_xl, StableDiffusionXLPipeline),
}
SMALL = {"width": 64, "height": 64, "num_inference_steps": 2, "cfg_scale": 5.0}
LONG = "ab " * 30 + ", " + "cda " * 27  # a token a letter: 61 and 81


@pytest.fixture(scope="module", params=KINDS)
def toy(request, tmp_path_factory):
    build, kind = KINDS[request.param]
    root = tmp_path_factory.mktemp("syntax")
    folder = build(root / "toy")
    plain = kind.from_pretrained(folder, dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    own = Generator(Catalog(PROJECT_ROOT / "configs", ModelPaths(root)))
    return SimpleNamespace(folder=folder, plain=plain, own=own, xl=request.param == "sdxl")


def options(syntax="a1111", skip=1):
    return {"generation.prompt_syntax": syntax, "generation.clip_skip": skip}


def encoded(toy, prompt, negative=None, **wanted):
    with torch.inference_mode():
        return clip_encoding.encode(toy.plain, prompt, negative, options(**wanted))


def by_diffusers(toy, prompt, negative=None, **more):
    """[prompt, negative, and for SDXL both pooled]."""
    with torch.inference_mode():
        return toy.plain.encode_prompt(
            prompt=prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=negative is not None,
            negative_prompt=negative or None, **more,
        )  # fmt: skip


def test_own_encoding_of_plain_text_is_diffusers(toy):
    for negative in ("grey, rain", ""):
        positive, other = encoded(toy, "a house", negative)
        theirs = by_diffusers(toy, "a house", negative)
        assert all(torch.equal(*pair) for pair in zip(positive, theirs[0::2], strict=True))
        assert all(torch.equal(*pair) for pair in zip(other, theirs[1::2], strict=True))


@pytest.mark.option("generation.clip_skip")
def test_clip_skip_counts_layers_from_the_end(toy):
    mine, neutral = encoded(toy, "a house", skip=2)[0][0], by_diffusers(toy, "a house")[0]
    if toy.xl:
        assert torch.equal(mine, neutral), "SDXL's own layer is the last but one"
    else:  # as diffusers' clip_skip 1, which fails with transformers 5
        encoder, ids = toy.plain.text_encoder, toy.plain.tokenizer("a house", padding="max_length", return_tensors="pt")
        with torch.inference_mode():
            layer = encoder(ids.input_ids, output_hidden_states=True).hidden_states[-2]
            assert torch.equal(mine, encoder.final_layer_norm(layer)) and not torch.equal(mine, neutral)
    measured("generation.clip_skip", "2 on SD 1.5: the last but one layer through the final norm, bit for bit; on SDXL its own")
    with pytest.raises(OptionError, match="1 - 2"):
        encoded(toy, "a house", skip=3)


def weights_of(toy, text, weighted, weight):
    """(1, 77, 1): the weight at the tokens of `weighted`, by its bytes."""
    scale, start = torch.ones(1, 77, 1), 1 + len(text[: text.index(weighted)].replace(" ", ""))
    scale[:, start : start + len(weighted)] = weight
    return scale


@pytest.mark.option("generation.prompt_syntax")
def test_weights_as_a1111_and_comfyui(toy):
    plain, empty = by_diffusers(toy, "a red house")[0], by_diffusers(toy, "")[0]
    scale = weights_of(toy, "a red house", "red", 1.5)
    widths = (tiny_models.WIDTH, tiny_models.WIDTH) if toy.xl else (tiny_models.WIDTH,)
    a1111 = torch.cat(
        [part * scale * (part.mean() / (part * scale).mean()) for part in plain.split(widths, dim=-1)], dim=-1
    )
    comfyui = empty + (plain - empty) * scale
    mine = encoded(toy, "a (red:1.5) house")[0]
    assert torch.allclose(mine[0], a1111, atol=1e-6) and not torch.allclose(mine[0], plain, atol=1e-3)
    assert torch.allclose(encoded(toy, "a (red:1.5) house", syntax="comfyui")[0][0], comfyui, atol=1e-6)
    if toy.xl:
        assert torch.equal(mine[1], by_diffusers(toy, "a red house")[2]), "the pooled embeds have no weights"


def test_chunks_and_break(toy):
    assert torch.equal(encoded(toy, "a house BREAK snow")[0][0], torch.cat(
        [by_diffusers(toy, part)[0] for part in ("a house", "snow")], dim=1))  # fmt: skip
    assert encoded(toy, "a house BREAK snow", syntax="comfyui")[0][0].shape[1] == 77
    halves = by_diffusers(toy, "ab " * 30 + ",")[0], by_diffusers(toy, "cda " * 25)[0], by_diffusers(toy, "cda cda")[0]
    assert torch.equal(encoded(toy, LONG)[0][0], torch.cat(halves, dim=1)), "the first chunk ends at the comma"
    straight = encoded(toy, LONG, syntax="comfyui")[0][0]
    assert straight.shape[1] == 2 * 77 and torch.equal(straight[:, :77], by_diffusers(toy, LONG)[0])


def test_prompts_of_different_lengths(toy):
    """Repeated embeds: attention gives the same for them as for one."""
    positive, negative = encoded(toy, "a BREAK b", "c BREAK d BREAK e")
    assert positive[0].shape == negative[0].shape and positive[0].shape[1] == 6 * 77
    unet, latents, one = toy.plain.unet, torch.randn(1, 4, 8, 8), encoded(toy, "a BREAK b")[0]
    added = {"text_embeds": one[-1], "time_ids": torch.zeros(1, 6)} if toy.xl else None
    with torch.inference_mode():
        many, few = (unet(latents, 10, tokens, added_cond_kwargs=added).sample for tokens in (positive[0], one[0]))
    assert torch.allclose(many, few, atol=1e-4)


def test_pixels(toy, request_of):
    def made(prompt, **changed):
        request = request_of(prompt=prompt, negative_prompt=LONG, model=str(toy.folder), changed=changed, **SMALL)
        image = toy.own.generate(request).images[0]
        said = [one for one in image.decisions if one.option.startswith("generation.")]
        return np.asarray(image.image).astype(int), said

    weighted, said = made("a (red:1.6) house")
    assert not np.array_equal(weighted, made("a red house")[0]) and not said, "nothing is cut"
    (edited,) = made("a [red:blue:0.5] house")[1]
    assert (edited.option, edited.requested) == ("generation.prompt", "[red:blue:0.5]") and "not done" in edited.reason["en"]
    off, said = made("a (red:1.6) house", **options("off"))
    theirs = toy.plain(
        prompt="a (red:1.6) house", negative_prompt=LONG, width=64, height=64, num_inference_steps=2, guidance_scale=5.0,
        generator=torch.Generator().manual_seed(7),
    ).images[0]  # fmt: skip
    assert np.array_equal(off, np.asarray(theirs))
    (cut,) = said
    assert cut.option == "generation.negative_prompt" and cut.effective == 77
    assert "the negative prompt has" in cut.reason["en"] and cut.reason["en"].endswith('a cda cda cda "')
    measured("generation.prompt_syntax", "(red:1.6): the embeds of A1111's formula; off: plain diffusers, bit for bit")


def test_counter(toy):
    info = toy.own._catalog.find(str(toy.folder))
    counted = count_tokens(info, "a (red:1.5) house BREAK b", options())
    assert counted is None or (counted.used, counted.limit, counted.cut) == (10, 150, "")
