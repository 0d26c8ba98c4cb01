"""The training's forward and sampler are the class's and the pipeline's own, only leaner."""

import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline

from core.demo.training import fast_transformer, text_encoder


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    model = fast_transformer.new_transformer(dim=96, layers=2).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model


# 16x16 fills its tokens, 12x20 (60 tokens) needs four of padding; captions below and above 32 tokens.
@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
@pytest.mark.parametrize("lengths", [(20, 32, 9), (40, 33, 64)])
@torch.no_grad()
def test_forward_equals_the_class(transformer, size, lengths):
    latents, t = torch.randn(3, 16, *size), torch.rand(3)
    captions = torch.randn(3, fast_transformer.padded(max(lengths)), text_encoder.WIDTH)
    official = transformer(
        [x[:, None] for x in latents], t, [c[:n] for c, n in zip(captions, lengths, strict=True)], return_dict=False
    )[0]
    ours = fast_transformer.forward(transformer, latents, t, captions, torch.tensor(lengths))
    assert torch.allclose(torch.stack(official)[:, :, 0], ours, atol=1e-4)


@torch.no_grad()
def test_sampler_equals_the_pipeline(transformer):
    tokenizer = text_encoder.new_tokenizer()
    encoder = text_encoder.new_encoder(len(tokenizer)).eval()
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=False),
        vae=AutoencoderKL(block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=16,
                          down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4),
        text_encoder=encoder,
        tokenizer=tokenizer,
        transformer=transformer,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    prompt = "红色的房子，日落，雪山"
    noise = torch.randn(1, 16, 16, 16)
    official = pipeline(
        prompt, height=128, width=128, num_inference_steps=8, guidance_scale=0.0, latents=noise, output_type="latent"
    ).images
    features, lengths = text_encoder.encode(tokenizer, encoder, [prompt])
    ours = fast_transformer.generate(transformer, fast_transformer.pad_caption(features, lengths), lengths, noise)
    assert torch.allclose(official, ours, atol=1e-3)
