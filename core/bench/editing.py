"""Measure inpainting a part, upscaling and ControlNets on this machine: `bench editing`.

Each line is the median of its runs after one warm-up. The image is one of the model's own, at twice its side, with a mask over a
sixteenth of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from core.cli.console import DONE, whole_number
from core.config.control_units import KEY as UNITS
from core.config.options import SCHEMA
from core.errors import ControlNetError
from core.inference import hires
from core.inference.generator import Generator, build_generator
from core.models.catalog import Catalog
from core.models.controlnet_library import ControlNetLibrary
from core.models.upscaler_library import FOLDER, UpscalerLibrary
from core.types import CONTROL, IMAGE, MASK, GeneratedImage, GenerationRequest, ModelInfo, ResumeState

PROMPT = "a red house, snowy mountains, sunset"
UNIT_COUNTS = (0, 1, 2)
NAME = 44  # characters of a row's name
MEGA = 1_000_000


@dataclass(frozen=True)
class Case:
    """One line: a request with its input images. Its seconds are also told per million pixels where `pixels` is set."""

    name: str
    request: GenerationRequest
    inputs: Mapping[str, Image.Image] = field(default_factory=dict)
    pixels: int = 0


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print a row for each case; last one line of JSON."""
    runs = whole_number("--runs", arguments.runs, 1, 1000)
    catalog, generator = Catalog(configs), build_generator(configs)
    info = catalog.find(arguments.model)
    side = whole_number("--side", arguments.side or str(info.default_width), 64, info.max_side)
    steps = whole_number("--steps", arguments.steps or str(info.default_steps), 1, 200)
    options = {option.key: option.default for option in SCHEMA.request_options()}
    request = GenerationRequest(
        PROMPT, model=info.id, width=side, height=side, num_inference_steps=steps, cfg_scale=info.default_cfg_scale, seed=1,
        options=options,
    )  # fmt: skip
    made = generator.generate(request).images[0].image
    rows = []
    print(f"{'':<{NAME}}{'seconds':>9}{'s/megapixel':>13}")
    for case in (*_inpaint(request, made, info), *_upscale(request, made, catalog), *_control(request, made, catalog, info)):
        seconds = _median(generator, case, runs)
        rows.append({"name": case.name, "seconds": round(seconds, 4), "pixels": case.pixels})
        by_size = f"{seconds / case.pixels * MEGA:>13.3f}" if case.pixels else ""
        print(f"{case.name:<{NAME}}{seconds:>9.3f}{by_size}", flush=True)
    print(json.dumps({"model": info.id, "side": side, "steps": steps, "runs": runs, "rows": rows}))
    return DONE


def _median(generator: Generator, case: Case, runs: int) -> float:
    made = [_generated(generator, case) for _ in range(runs + 1)][1:]
    return statistics.median(sum(one.timings.values()) for one in made)


def _generated(generator: Generator, case: Case) -> GeneratedImage:
    return generator.generate(case.request, attempt=ResumeState(inputs=case.inputs)).images[0]


def _changed(request: GenerationRequest, size: tuple[int, int], changed: Mapping[str, Any]) -> GenerationRequest:
    return replace(request, width=size[0], height=size[1], options={**request.options, **changed})


def _inpaint(request: GenerationRequest, made: Image.Image, info: ModelInfo) -> Iterator[Case]:
    """The same mask over the whole image, and as the masked part alone."""
    size = (min(2 * made.width, info.max_side), min(2 * made.height, info.max_side))
    mask = Image.new("L", size)
    mask.paste(255, (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    inputs = {IMAGE: made.resize(size, Image.Resampling.LANCZOS), MASK: mask}
    for area in SCHEMA.options["inpaint.area"].choices:
        yield Case(f"inpaint {size[0]}x{size[1]}, area {area}", _changed(request, size, {"inpaint.area": area}), inputs)


def _upscale(request: GenerationRequest, made: Image.Image, catalog: Catalog) -> Iterator[Case]:
    """Each upscaler of this machine to twice the side, then with details from the model."""
    size = (2 * made.width, 2 * made.height)
    pixels, inputs = size[0] * size[1], {IMAGE: made}
    for name in UpscalerLibrary(catalog.places.store / FOLDER).names():
        changed = {"upscale.mode": hires.ENLARGE, "upscale.method": name}
        yield Case(f"upscale x2, {name}", _changed(request, size, changed), inputs, pixels)
    detail: dict[str, Any] = {"upscale.mode": hires.DETAIL, "upscale.method": "lanczos", "upscale.tile": made.width}
    yield Case("upscale x2 with detail", _changed(request, size, detail), inputs, pixels)


def _control(request: GenerationRequest, made: Image.Image, catalog: Catalog, info: ModelInfo) -> Iterator[Case]:
    """None, one and more units of the first ControlNet that fits the model."""
    library = ControlNetLibrary(catalog)
    fitting = [one.name for one in library.fitting(info)]
    if not fitting:
        print(f"{'ControlNet':<{NAME}} no ControlNet in {library.folder} fits {info.id}")
    for count in UNIT_COUNTS if fitting else ():
        units = {UNITS: (f"{fitting[0]}:image=1",) * count}
        try:
            library.controlled(info, units)
        except ControlNetError as error:
            print(f"{f'{count} ControlNets':<{NAME}} {error.message('en')}")
            continue
        inputs = {CONTROL: made} if count else {}
        yield Case(f"{count} ControlNets ({fitting[0]})", _changed(request, made.size, units), inputs)
