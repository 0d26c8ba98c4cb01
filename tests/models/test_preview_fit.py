"""Live preview for models that ship none: a map fitted to their own VAE, or a tiny decoder; and why there is none."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionPipeline
from PIL import Image

from core.config.loader import PROJECT_ROOT
from core.inference import latent_preview
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.families import backend_of
from core.models.model_paths import EMBEDDED, ModelPaths
from tests.models import tiny_models
from tests.options import measured

SMALL = {"width": 64, "height": 64, "num_inference_steps": 2}


@pytest.fixture
def own(tmp_path):
    return Generator(Catalog(PROJECT_ROOT / "configs", ModelPaths(tmp_path)))


def said(generator):
    (found,) = [one for one in generator.loaded.capabilities if one.option == "preview.enabled"]
    return found


def previews(generator, request, monkeypatch):
    monkeypatch.setattr(latent_preview, "SHARE", float("inf"))  # however fast its steps are
    seen = []
    generator.generate(request, lambda progress: seen.append(progress.preview))
    return [np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in seen if one]


def test_fit_to_the_embedded_vae():
    weight, bias, share = latent_preview.fit_map(AutoencoderKL.from_pretrained(EMBEDDED / "vae"))
    assert weight.shape == (16, 3) and bias.shape == (3,) and share > 0.9


def test_model_without_a_map_gets_one_that_is_kept(own, tmp_path, request_of, monkeypatch):
    folder = tiny_models.z_image(tmp_path / "toy", layers=2)
    assert not (folder / "preview.safetensors").exists()
    made = previews(own, request_of(model=str(folder), **SMALL), monkeypatch)
    assert [one.shape for one in made] == [(16, 16, 3)] * 2 and said(own).usable
    assert "correlation" in said(own).reason["en"] and "相关系数" in said(own).reason["zh"]
    assert len(list((tmp_path / "previews").glob("*.safetensors"))) == 1
    monkeypatch.setattr(latent_preview, "fit_map", lambda vae: pytest.fail("it is fitted once"))
    own.unload()
    assert len(previews(own, request_of(model=str(folder), **SMALL), monkeypatch)) == 2


def test_random_vae_has_none_and_says_why(own, tmp_path, request_of, monkeypatch):
    folder = tiny_models.stable_diffusion(tmp_path / "toy")
    assert previews(own, request_of(model=str(folder), **SMALL), monkeypatch) == [] and not said(own).usable
    assert "less than 0.60" in said(own).reason["en"] and "taesd" in said(own).reason["en"]


@pytest.mark.parametrize(("channels", "used"), [(4, True), (16, False)])
def test_tiny_decoder_of_the_models_folder(own, tmp_path, request_of, monkeypatch, channels, used):
    """Its file is read where it fits the model's latents, else the reason names it."""
    decoder = AutoencoderTiny(
        latent_channels=channels, encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4,
    )  # fmt: skip
    decoder.save_pretrained(tmp_path / "previews" / "taesd")
    folder = tiny_models.stable_diffusion(tmp_path / "toy")
    assert bool(previews(own, request_of(model=str(folder), **SMALL), monkeypatch)) is used is said(own).usable
    assert "taesd" in said(own).reason["en"]


@pytest.mark.option("vae.decoder")
def test_the_embedded_model_is_decoded_by_its_tiny_decoder_when_asked(generator, request_of):
    """Its image is near the VAE's, and the record says which decoder it was."""
    sides = {"width": 128, "height": 128, "num_inference_steps": 4}
    made = {}
    for decoder in ("full", "tiny", "full"):
        image = generator.generate(request_of("a red house", changed={"vae.decoder": decoder}, **sides)).images[0]
        assert image.effective["vae.decoder"] == decoder
        assert np.array_equal(np.asarray(image.image), made.setdefault(decoder, np.asarray(image.image)))
    gap = np.abs(made["full"].astype(int) - made["tiny"])
    assert 0 < gap.mean() < 12, gap.mean()
    measured("vae.decoder", f"tiny moves pixels by {gap.mean():.1f}/255 on average, {gap.max()} at most (embedded model)")


@pytest.mark.option("vae.decoder")
def test_a_tiny_decoder_of_the_models_folder_decodes_and_without_one_it_is_said(own, tmp_path, request_of):
    folder = tiny_models.stable_diffusion(tmp_path / "toy")
    tiny, full = (request_of(model=str(folder), changed={"vae.decoder": one}, **SMALL) for one in ("tiny", "full"))
    without, plain = (own.generate(one).images[0] for one in (tiny, full))
    assert without.image.tobytes() == plain.image.tobytes() and without.effective["vae.decoder"] == "full"
    (decision,) = [one for one in without.decisions if one.option == "vae.decoder"]
    assert "models taesd" in decision.reason["en"] and "models taesd" in decision.reason["zh"]
    decoder = AutoencoderTiny(
        latent_channels=4, encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4,
    )  # fmt: skip
    decoder.save_pretrained(tmp_path / "taesd")
    other = Generator(Catalog(PROJECT_ROOT / "configs", ModelPaths(tmp_path)))
    made = other.generate(tiny).images[0]
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.vae = decoder.eval()
    generator = torch.Generator().manual_seed(tiny.seed)
    expected = pipeline(
        tiny.prompt, width=64, height=64, num_inference_steps=2, guidance_scale=tiny.cfg_scale, generator=generator
    ).images[0]
    assert made.image.tobytes() == expected.tobytes() != plain.image.tobytes()
    assert made.effective["vae.decoder"] == "tiny" and not [one for one in made.decisions if one.option == "vae.decoder"]


@pytest.mark.slow
def test_packed_latents_are_arranged_for_the_map(own, tmp_path, request_of, monkeypatch):
    """FLUX.2's tokens become channels again as its pipeline does it before the VAE."""
    monkeypatch.setattr(latent_preview, "LEAST_CORRELATION", -1.0)  # of a random VAE
    folder = tiny_models.flux2_klein(tmp_path / "toy")
    request = request_of(model=str(folder), width=96, height=64, num_inference_steps=2)
    made = previews(own, request, monkeypatch)
    assert [one.shape for one in made] == [(16, 24, 3)] * 2 and said(own).usable
    pipeline, grid = own.loaded.pipeline, torch.randn(1, 16, 4, 6)
    bn, eps = pipeline.vae.bn, pipeline.vae.config.batch_norm_eps
    spread, mean = torch.sqrt(bn.running_var + eps).view(1, -1, 1, 1), bn.running_mean.view(1, -1, 1, 1)
    shown = backend_of(pipeline.__class__.__name__).preview_latents(pipeline.vae, pipeline._pack_latents(grid), request)
    assert torch.equal(shown, pipeline._unpatchify_latents(grid * spread + mean))


@pytest.mark.slow
def test_random_vae_of_packed_latents_says_why_there_is_none(own, tmp_path, request_of, monkeypatch):
    folder = tiny_models.flux2_klein(tmp_path / "toy")
    assert previews(own, request_of(model=str(folder), **SMALL), monkeypatch) == [] and not said(own).usable
    assert "less than 0.60" in said(own).reason["en"] and "get" not in said(own).reason["en"]


def test_downloaded_tiny_decoder_is_used(own, tmp_path, request_of, monkeypatch):
    """`models get taesd` puts it into the store, like any entry of the catalogue."""
    sizes = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    counts = {"num_encoder_blocks": (1,) * 4, "num_decoder_blocks": (1,) * 4}
    AutoencoderTiny(latent_channels=4, **sizes, **counts).save_pretrained(tmp_path / "taesd")
    catalog = Catalog(PROJECT_ROOT / "configs", ModelPaths(tmp_path))
    assert catalog.find("taesd").problem is None and "taesd" not in catalog.ids()
    folder = tiny_models.stable_diffusion(tmp_path / "toy")
    assert previews(own, request_of(model=str(folder), **SMALL), monkeypatch) and said(own).usable
    AutoencoderKL(block_out_channels=(8,), norm_num_groups=4).save_pretrained(tmp_path / "taesdxl")
    assert "AutoencoderTiny" in catalog.find("taesdxl").problem.message("en")
