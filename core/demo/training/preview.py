"""Sample some held-out prompts from a model in training, classify the images, and save them as one contact sheet."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
from PIL import Image
from transformers import Qwen2Tokenizer, Qwen3Model

from core.demo import classifier
from core.demo.evaluate import Report, questions
from core.demo.training import diffusion, fast_transformer, latents, text_encoder

SHOWN = 64  # images on a sheet


@dataclass(frozen=True)
class Parts:
    """What stands around the transformer."""

    tokenizer: Qwen2Tokenizer
    encoder: Qwen3Model
    vae: AutoencoderKL
    shift: float
    scale: float

    @classmethod
    def of_training(cls, out: Path) -> Parts:
        """Load the parts from the checkpoints under `out`."""
        stats = json.loads((out / "latent_stats.json").read_text(encoding="utf-8"))
        return cls(*diffusion.load_text(out), latents.load_vae(out), stats["shift"], stats["scale"])

    @classmethod
    def of(cls, pipeline: ZImagePipeline) -> Parts:
        """Take the parts of a finished pipeline."""
        vae = pipeline.vae
        return cls(pipeline.tokenizer, pipeline.text_encoder, vae, vae.config.shift_factor, vae.config.scaling_factor)


@torch.no_grad()
def score(
    parts: Parts, model: ZImageTransformer2DModel, sheet: Path, size: tuple[int, int] = (256, 256),
    prompts: int = 64, batch: int = 16, seed: int = 7,
) -> str:  # fmt: skip
    """Return the table of `evaluate` on a few prompts; faster, because the batched forward generates them together.

    Writes the first SHOWN images of `size` (width, height) to `sheet`, eight in a row.
    """
    (width, height), device = size, model.device
    judge = classifier.load() if classifier.WEIGHTS.exists() else None
    asked, report = questions(prompts, seed), Report()
    board = Image.new("RGB", (8 * width, -(-min(SHOWN, prompts) // 8) * height))
    groups: dict[int, list[int]] = {}
    for index, question in enumerate(asked):
        tokens = parts.tokenizer(text_encoder.template([question.prompt])[0]).input_ids
        groups.setdefault(fast_transformer.padded(len(tokens)), []).append(index)
    for members in groups.values():
        for first in range(0, len(members), batch):
            selected = members[first : first + batch]
            features, lengths = text_encoder.encode(parts.tokenizer, parts.encoder, [asked[i].prompt for i in selected])
            noise = [
                torch.randn(1, 16, height // 8, width // 8, generator=torch.Generator().manual_seed(asked[i].seed))
                for i in selected
            ]
            with torch.autocast(device.type, torch.bfloat16):
                rendered = fast_transformer.generate(
                    model, fast_transformer.pad_caption(features, lengths), lengths, torch.cat(noise).to(device)
                )
                pixels = parts.vae.decoder(rendered / parts.scale + parts.shift).float().cpu()
            for index, generated in zip(selected, pixels, strict=True):
                levels = ((generated.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
                image = Image.fromarray(levels)
                if index < SHOWN:
                    board.paste(image, (index % 8 * width, index // 8 * height))
                if judge:
                    read = judge.read(image)
                    for name, value in asked[index].wanted.items():
                        report.add(name, asked[index].language, read[name] == value)
    board.save(sheet)
    return report.table() if judge else "no recogniser yet: only the sheet was written"
