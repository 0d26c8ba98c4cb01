"""Edit some held-out scenes with a model in training, classify the results, and save them as one contact sheet."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import ZImageTransformer2DModel
from PIL import Image

from core.demo import classifier
from core.demo.evaluate_edits import EditReport, Question, questions
from core.demo.training import edit_transformer
from core.demo.training.edit_pairs import Encoder
from core.demo.training.edit_parts import Parts
from core.demo.training.edit_transformer import Source

SHOWN = 48  # edits on a sheet, each above its result


@torch.no_grad()
def score(
    out: Path, model: ZImageTransformer2DModel, sheet: Path, size: tuple[int, int] = (256, 256),
    prompts: int = 48, batch: int = 8, seed: int = 7, short: bool = False,
) -> EditReport:  # fmt: skip
    """Return what `evaluate_edits` finds for a few instructions; faster, because edits are generated together."""
    parts, encoder, judge, report = Parts(out), Encoder(out), classifier.load(), EditReport()
    asked = questions(prompts, seed)
    board = Image.new("RGB", (12 * size[0], -(-min(SHOWN, prompts) // 12) * 2 * size[1]))
    groups: dict[int, list[int]] = {}
    for index, question in enumerate(asked):
        groups.setdefault(parts.length(question.prompt), []).append(index)
    for members in groups.values():
        for first in range(0, len(members), batch):
            selected = members[first : first + batch]
            images = _edited(parts, encoder, model, [asked[i] for i in selected], size, short)
            for index, image in zip(selected, images, strict=True):
                report.add(asked[index], judge.read(image))
                if index < SHOWN:
                    place = index % 12 * size[0], index // 12 * 2 * size[1]
                    board.paste(asked[index].source(*size), place)
                    board.paste(image, (place[0], place[1] + size[1]))
    board.save(sheet)
    return report


def _edited(
    parts: Parts,
    encoder: Encoder,
    model: ZImageTransformer2DModel,
    asked: list[Question],
    size: tuple[int, int],
    short: bool,
) -> list[Image.Image]:
    source = Source(*encoder.encode([question.source(*size) for question in asked]))
    noise = [
        torch.randn(1, 16, size[1] // 8, size[0] // 8, generator=torch.Generator().manual_seed(question.seed))
        for question in asked
    ]
    instruction = parts.instruction([question.prompt for question in asked], short)
    return encoder.decode(edit_transformer.generate(model, instruction, source, torch.cat(noise)))
