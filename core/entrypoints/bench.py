"""`bench`: what the studio's care costs on this machine, against plain diffusers on the same weights.

Both draw the same prompt and seeds in this process, taking turns after a warm-up. Plain diffusers gets the very modules
that the studio has loaded, so that a large model need not fit twice; neutral options leave them as they were.
Then the studio draws with everything off that saves work, and with each of these alone: a line each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ZImagePipeline
from PIL.Image import Image

from core.config.options import SCHEMA
from core.entrypoints.terminal import DONE, FAILED, SOURCE, whole_number
from core.model import memory
from core.model.catalog import Catalog
from core.model.generator import Generator
from core.model.loader import LoadedModel
from core.model.tuning import attention
from core.storage.database import Database
from core.storage.history import History
from core.studio import check_request
from core.types import GenerationRequest, ModelInfo

PROMPT = "夜晚，雪地，黄色的灯塔"
PARTS = ("text", "steps", "decode", "save", "total")
SPEED_OFF = {
    "speed.cache_text": False,
    "speed.trim_text": "never",
    "speed.refine_once": False,
    "speed.real_rope": "never",
}
VARIANTS: Mapping[str, Mapping[str, Any]] = {  # over the defaults
    "studio": {},
    "speed off": SPEED_OFF,
    "+ cache_text": SPEED_OFF | {"speed.cache_text": True},
    "+ trim_text": SPEED_OFF | {"speed.trim_text": "always"},
    "+ refine_once": SPEED_OFF | {"speed.refine_once": True},
    "+ real_rope": SPEED_OFF | {"speed.real_rope": "always"},
}


@dataclass(frozen=True)
class Measure:
    """One picture: seconds by part, bytes at the peak, and the picture itself."""

    seconds: Mapping[str, float]
    peak: int | None
    image: Image


Contestant = Callable[[GenerationRequest], Measure]


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print a table and, last, one line of JSON. Exit code 1 when a single pixel differs."""
    runs = whole_number("--runs", arguments.runs, 1, 1000)
    catalog = Catalog(configs)
    request = _request(arguments, catalog.find(arguments.model))
    generator = Generator(catalog)
    loaded = generator.load(request.model, request.options, lambda progress: None)
    with tempfile.TemporaryDirectory() as folder:
        history = History(Database(Path(folder) / "bench.db"), Path(folder))
        contestants = {"diffusers": _plain(loaded, Path(folder))}
        contestants |= {name: _studio(generator, history, loaded, changed) for name, changed in VARIANTS.items()}
        measured = take_turns(contestants, request, runs)
    report = summary(measured, request, loaded)
    print(table(report))
    print(json.dumps(report, ensure_ascii=False))
    return DONE if report["max_pixel_distance"] == 0 else FAILED


def _request(arguments: argparse.Namespace, info: ModelInfo) -> GenerationRequest:
    """The model's own size and steps unless told otherwise; every option neutral, whatever the user's files say."""
    request = GenerationRequest(
        prompt=PROMPT,
        model=info.id,
        width=whole_number("--side", arguments.side or str(info.default_width), 64, info.max_side),
        height=whole_number("--side", arguments.side or str(info.default_height), 64, info.max_side),
        num_inference_steps=whole_number("--steps", arguments.steps or str(info.default_steps), 1, 200),
        guidance_scale=info.default_guidance,
        seed=1,
        options={option.key: option.default for option in SCHEMA.request_options()},
    )
    check_request(request, info, SOURCE)
    return request


def take_turns(
    contestants: Mapping[str, Contestant], request: GenerationRequest, runs: int
) -> dict[str, list[Measure]]:
    """One run of each to warm up, then `runs` of each, a new seed a turn; they take turns to begin: caches favour one."""
    measured: dict[str, list[Measure]] = {name: [] for name in contestants}
    for turn in range(runs + 1):
        single = replace(request, seed=request.seed + turn)
        for name in list(contestants)[:: 1 if turn % 2 else -1]:
            measure = contestants[name](single)
            if turn:
                measured[name].append(measure)
    return measured


def _plain(loaded: LoadedModel, folder: Path) -> Contestant:
    """Plain diffusers, called as its documentation says; the parts are timed from outside."""
    pipeline = ZImagePipeline(**loaded.pipeline.components)
    pipeline.set_progress_bar_config(disable=True)
    encode, decode = pipeline.encode_prompt, pipeline.vae.decode
    marks: dict[str, float] = {}

    def timed_encode(*args: Any, **kwargs: Any) -> Any:
        result = encode(*args, **kwargs)
        marks["encoded"] = _now(loaded.device)
        return result

    def timed_decode(*args: Any, **kwargs: Any) -> Any:
        marks["denoised"] = _now(loaded.device)
        return decode(*args, **kwargs)

    def draw(request: GenerationRequest) -> Measure:
        attention.apply(pipeline.transformer, attention.AttentionPlan())  # what a line with another one left
        memory.start_peak(loaded.device)
        pipeline.encode_prompt, pipeline.vae.decode = timed_encode, timed_decode
        began = _now(loaded.device)
        image = pipeline(
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator().manual_seed(request.seed),
        ).images[0]
        decoded = _now(loaded.device)
        del pipeline.encode_prompt, pipeline.vae.decode  # the studio draws with the same modules
        image.save(folder / "plain.png")
        saved = _now(loaded.device)
        spans = (marks["encoded"] - began, marks["denoised"] - marks["encoded"], decoded - marks["denoised"])
        seconds = dict(zip(PARTS, (*spans, saved - decoded, saved - began), strict=True))
        return Measure(seconds, memory.read_peak(loaded.device), image)

    return draw


def _studio(generator: Generator, history: History, loaded: LoadedModel, changed: Mapping[str, Any]) -> Contestant:
    """The studio's generator, and its way to the disk: metadata, a file that survives a power cut, the history row."""

    def draw(request: GenerationRequest) -> Measure:
        request = replace(request, options={**request.options, **changed})
        began = _now(loaded.device)
        picture = generator.generate(request).pictures[0]
        drawn = _now(loaded.device)
        history.add(picture, None)
        saved = _now(loaded.device)
        seconds = {**picture.timings, "save": saved - drawn, "total": saved - began}
        return Measure(seconds, picture.peak_memory_bytes, picture.image)

    return draw


def _now(device: str) -> float:
    """Seconds, once the card has finished what was asked of it."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def summary(measured: Mapping[str, list[Measure]], request: GenerationRequest, loaded: LoadedModel) -> dict[str, Any]:
    """Medians, the highest peaks, and the largest difference from plain diffusers' picture of the same seed."""
    report: dict[str, Any] = {
        "model": request.model,
        "device": loaded.device,
        "dtype": loaded.dtype,
        "width": request.width,
        "height": request.height,
        "steps": request.num_inference_steps,
        "runs": len(measured["studio"]),
        "load_seconds": round(loaded.load_seconds, 3),
        "versions": dict(loaded.versions),
    }
    for name, measures in measured.items():
        peaks = [measure.peak for measure in measures if measure.peak is not None]
        medians = {part: statistics.median(measure.seconds[part] for measure in measures) for part in PARTS}
        report[name] = {part: round(seconds, 4) for part, seconds in medians.items()} | {
            "peak_memory_bytes": max(peaks, default=None)
        }
        pairs = zip(measured["diffusers"], measures, strict=True)
        report[name]["pixel_distance"] = max(pixel_distance(one.image, other.image) for one, other in pairs)
    report["max_pixel_distance"] = report["studio"]["pixel_distance"]
    return report


def pixel_distance(one: Image, other: Image) -> int:
    """The largest difference of a channel of a pixel, 0 to 255."""
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


def table(report: Mapping[str, Any]) -> str:
    """The report for a person: seconds, and megabytes at the peak."""
    head = (
        "{model}, {width}x{height}, {steps} steps, {device} {dtype}, median of {runs} runs, loaded in {load_seconds} s"
    )
    columns = "".join(f"{part:>9}" for part in PARTS) + f"{'peak MB':>10}{'distance':>10}"
    lines = [head.format(**report), f"{'':<14}{columns}"]
    for name in ("diffusers", *VARIANTS):
        row = report[name]
        peak = "-" if row["peak_memory_bytes"] is None else f"{row['peak_memory_bytes'] / 1e6:.0f}"
        times = "".join(f"{row[part]:>9.3f}" for part in PARTS)
        lines.append(f"{name:<14}{times}{peak:>10}{row['pixel_distance']:>10}")
    return "\n".join([*lines, "distance: the largest difference of a pixel from plain diffusers, of 255"])
