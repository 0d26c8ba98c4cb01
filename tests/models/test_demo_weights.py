"""The shipped folder: plain diffusers opens it, it is small, and it draws what it is asked."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny, ZImagePipeline
from safetensors.torch import load_file

from core.demo import evaluate
from core.demo.training import export, tiny_decoder
from core.demo.training.text_encoder import template

FOLDER = export.WEIGHTS


@pytest.fixture(scope="module")
def pipeline():
    loaded = ZImagePipeline.from_pretrained(FOLDER, torch_dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_at_most_40_mb_and_only_safetensors():
    files = [p for p in FOLDER.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 40_000_000
    assert {p.suffix for p in files} <= {".safetensors", ".json", ".jinja", ".txt"}


@pytest.mark.parametrize("prompt", ["a red house", "红色的房子，日落", "🚀🌙 hello", "שלום עולם", "two\nlines", ""])
def test_any_text_becomes_tokens_and_text_again(pipeline, prompt):
    tokenizer = pipeline.tokenizer
    said = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    assert said == template([prompt])[0]
    assert tokenizer.decode(tokenizer(said).input_ids) == said


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.by_default("dtype0")
def test_plain_diffusers_draws_at_several_ratios(dtype):
    loaded = ZImagePipeline.from_pretrained(FOLDER, torch_dtype=dtype)
    loaded.set_progress_bar_config(disable=True)
    for width, height in ((256, 256), (256, 144), (144, 256)):
        image = loaded("a red house", width=width, height=height, num_inference_steps=2, guidance_scale=0.0).images[0]
        assert image.size == (width, height)


def test_preview_projection_shows_the_image(pipeline):
    projection = load_file(FOLDER / "preview.safetensors")
    assert projection["weight"].shape == (16, 3)
    options = {"width": 128, "height": 128, "num_inference_steps": 4, "guidance_scale": 0.0}
    latent = pipeline("夜晚", generator=torch.Generator().manual_seed(1), output_type="latent", **options).images[0]
    real = pipeline("夜晚", generator=torch.Generator().manual_seed(1), output_type="pt", **options).images[0]
    shown = torch.einsum("chw,cd->dhw", latent, projection["weight"]) + projection["bias"][:, None, None]
    pooled = torch.nn.functional.avg_pool2d(real, 8)
    assert (shown - pooled).abs().mean() < 0.06


@pytest.mark.slow
def test_the_tiny_decoder_is_trained_and_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_decoder, "POOL", 2)
    monkeypatch.setattr(tiny_decoder, "MEASURED", 1)
    assert tiny_decoder.main(["--out", str(tmp_path), "--minutes", "0.05"]) == 0
    made = AutoencoderTiny.from_pretrained(tmp_path)
    assert {value.dtype for value in load_file(tmp_path / "diffusion_pytorch_model.safetensors").values()} == {torch.float16}
    assert made.config.latent_channels == 16


def test_the_tiny_decoder_draws_what_the_vae_draws():
    tiny = AutoencoderTiny.from_pretrained(FOLDER / "tiny_decoder", torch_dtype=torch.float32)
    assert tiny_decoder.measure(tiny, 2)["tiny and vae"] > 28


@pytest.mark.parametrize("prompts", [3, pytest.param(16, marks=pytest.mark.slow)])
def test_it_draws_what_held_out_prompts_name(prompts):
    report = evaluate.evaluate(evaluate.plain_pipeline(Path(FOLDER)), prompts=prompts, seed=3)
    assert report.rate() >= 0.9, report.table()
