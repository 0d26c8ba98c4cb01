"""Make the images of docs/gallery.md that show samplers, schedules, variety, dynamic prompts and the live preview.

    python -m tests.docs.gallery                    docs/gallery/*.webp
    python -m tests.docs.gallery variation dynamic  these alone

Each is a strip of images of the embedded model, with the settings that the page tells.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any
from unittest.mock import patch

from PIL import Image

from core.batch.wildcard_files import WildcardFiles
from core.batch.wildcards import expand
from core.config.loader import PROJECT_ROOT, load_settings
from core.config.samplers import SAMPLER, SCHEDULE, SCHEDULES, usable
from core.inference import variety
from core.inference.generator import Generator, build_generator
from core.inference.latent_preview import PreviewBudget
from core.types import GenerationRequest, Progress

FOLDER = PROJECT_ROOT / "docs" / "gallery"
PROMPT = "a red house, snowy mountains, sunset, clouds"
TEMPLATE = "a {2::red|blue} {house|tent|castle}, {2$$, $$snowy mountains|clouds|sunset}"
SIDE, SHOWN, GAP, QUALITY = 192, 144, 4, 85  # px of an image, in the strip, between two
STRENGTHS = (0.0, 0.1, 0.3, 0.6, 1.0)


def made(
    generator: Generator, steps: int, prompt: str, seed: int, options: Mapping[str, Any],
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Image.Image:  # fmt: skip
    """Return one image with these options changed."""
    request = GenerationRequest(
        prompt, width=SIDE, height=SIDE, seed=seed, num_inference_steps=steps,
        options={**load_settings().request_options(), **options},
    )  # fmt: skip
    return generator.generate(request, on_progress).images[0].image


def previews(generator: Generator) -> list[Image.Image]:
    """Return four live previews of an image, in the order of their steps, and the image that comes of them."""
    seen: dict[int, bytes] = {}

    def keep(progress: Progress) -> None:
        if progress.preview is not None:
            seen[progress.preview_step] = progress.preview

    with patch.object(PreviewBudget, "_can_pay", lambda *given: True):  # each step has one, however fast it is
        whole = made(generator, 8, PROMPT, 7, {}, keep)
    shown = sorted(step for step in seen if step < 8)[:: max(1, (len(seen) - 1) // 4)][:4]
    return [*(Image.open(BytesIO(seen[step])).convert("RGB") for step in shown), whole]


def varied(generator: Generator, key: str, values: Iterable[float]) -> list[Image.Image]:
    """Return an image for each value of an option of variety."""
    return [made(generator, 8, PROMPT, 7, {key: value, variety.SEED: 99}) for value in values]


def dynamic(generator: Generator) -> list[Image.Image]:
    """Return an image for each prompt that five seeds make of the template."""
    return [made(generator, 8, expand(TEMPLATE, seed, WildcardFiles().lines), seed, {}) for seed in range(1, 6)]


STRIPS: Mapping[str, Callable[[Generator], list[Image.Image]]] = {
    "samplers": lambda generator: [made(generator, 4, PROMPT, 7, {SAMPLER: name}) for name in usable("flow")],
    "schedules": lambda generator: [made(generator, 4, PROMPT, 7, {SCHEDULE: name}) for name in SCHEDULES],
    "variation": lambda generator: varied(generator, variety.STRENGTH, STRENGTHS),
    "prompt-noise": lambda generator: varied(generator, variety.EMBEDS_NOISE, STRENGTHS),
    "short-prompt": lambda generator: varied(generator, variety.SHORT_STEPS, (0.0, 0.125, 0.25, 0.375, 0.5)),
    "dynamic": dynamic,
    "preview": previews,
}


def strip(images: list[Image.Image]) -> Image.Image:
    """Return the images side by side."""
    whole = Image.new("RGB", (len(images) * (SHOWN + GAP) - GAP, SHOWN), "white")
    for number, one in enumerate(images):
        whole.paste(one.resize((SHOWN, SHOWN), Image.Resampling.LANCZOS), (number * (SHOWN + GAP), 0))
    return whole


def main(names: list[str]) -> None:
    """Write the strips of these names, or all."""
    generator = build_generator(PROJECT_ROOT / "configs")
    for name in names or STRIPS:
        strip(STRIPS[name](generator)).save(FOLDER / f"{name}.webp", quality=QUALITY, method=6)
        print(FOLDER / f"{name}.webp")


if __name__ == "__main__":
    main(sys.argv[1:])
