"""A quick look at a model in training: some held-out prompts, sampled in batches, judged, and kept as one sheet."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import ZImageTransformer2DModel
from PIL import Image
from transformers import Qwen2Tokenizer

from core.demo import diffusion_training, latents, lean, recogniser, text_training
from core.demo.evaluate import Report, questions

SIDE = 256


@torch.no_grad()
def score(out: Path, model: ZImageTransformer2DModel, prompts: int = 64, batch: int = 16, seed: int = 7) -> str:
    """The table of `evaluate` on a few prompts, faster, because the batched forward draws them together."""
    tokenizer, encoder = diffusion_training.load_text(out)
    vae = latents.load_vae(out)
    stats = json.loads((out / "latent_stats.json").read_text(encoding="utf-8"))
    judge = recogniser.load() if recogniser.WEIGHTS.exists() else None
    asked = sorted(questions(prompts, seed), key=lambda q: lean.padded(_length(tokenizer, q.prompt)))
    report, sheet = Report(), Image.new("RGB", (8 * SIDE, -(-prompts // 8) * SIDE))
    groups: dict[int, list[int]] = {}
    for index, question in enumerate(asked):
        groups.setdefault(lean.padded(_length(tokenizer, question.prompt)), []).append(index)
    for members in groups.values():
        for first in range(0, len(members), batch):
            chosen = members[first : first + batch]
            features, lengths = text_training.encode(tokenizer, encoder, [asked[i].prompt for i in chosen])
            noise = [
                torch.randn(1, 16, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(asked[i].seed))
                for i in chosen
            ]
            with torch.autocast("cpu", torch.bfloat16):
                drawn = lean.generate(model, lean.pad_caption(features, lengths), lengths, torch.cat(noise))
                pixels = vae.decoder(drawn / stats["scale"] + stats["shift"]).float()
            for index, picture in zip(chosen, pixels, strict=True):
                levels = ((picture.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
                image = Image.fromarray(levels)
                sheet.paste(image, (index % 8 * SIDE, index // 8 * SIDE))
                if judge:
                    read = judge.read(image)
                    for name, value in asked[index].wanted.items():
                        report.add(name, asked[index].language, read[name] == value)
    sheet.save(out / "preview.png")
    return report.table() if judge else "no recogniser yet: only the sheet was written"


def _length(tokenizer: Qwen2Tokenizer, prompt: str) -> int:
    return len(tokenizer(text_training.template([prompt])[0]).input_ids)
