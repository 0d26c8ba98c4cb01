"""Measure the overhead of the studio and the gain of each option, by phase of an image: `bench`.

First plain diffusers and the studio generate the same prompt and seeds in this process, taking turns after a warm-up. Plain
diffusers gets the very modules that the studio has loaded, so that a large model need not fit twice. Then the studio runs
with one option changed at a time (`variants`); what this machine can't do is a line with its reason.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch.utils.flop_counter import FlopCounterMode

from core.bench import random_weights
from core.cli.console import DONE, FAILED, SOURCE, whole_number
from core.cli.generate import pair
from core.config.options import SCHEMA
from core.config.samplers import SAMPLER, Prediction, usable
from core.config.schema import AUTO, Option
from core.errors import OptionError, StudioError
from core.history.store import History
from core.i18n import localize
from core.inference import attention, memory, variety
from core.inference.generator import Generator
from core.inference.pipeline_loader import DTYPES, LoadedModel
from core.inference.step_state import StepKeeper
from core.models.catalog import Catalog
from core.models.families import FAMILIES
from core.storage.database import Database
from core.studio import request_checks
from core.types import GeneratedImage, GenerationRequest, ModelInfo, ResumeState, guidance_of

PROMPT = "夜晚，雪地，黄色的灯塔"
PARTS = ("text", "steps", "decode", "save", "total")
NONE = "none"  # --only none
NAME = 44  # characters of a row's name


@dataclass(frozen=True)
class Measure:
    """One image: seconds by step, peak bytes, and the image itself."""

    seconds: Mapping[str, float]
    peak: int | None
    image: Image
    instead: str = ""  # why what was asked for was not in effect
    states: tuple[float, float] = (0.0, 0.0)  # wall and CPU seconds that the states of its steps took to write


Contestant = Callable[[GenerationRequest], Measure]


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print a table and, last, one line of JSON. Exit code 1 when a pixel of the default image is not plain diffusers'."""
    runs = whole_number("--runs", arguments.runs, 1, 1000)
    with tempfile.TemporaryDirectory() as folder, model_of(arguments, configs, Path(folder)) as (generator, info):
        request = request_of(arguments, info)
        prediction = FAMILIES[info.pipeline].prediction
        changes = {} if NONE in arguments.only else variants(arguments.only, prediction)
        loaded = generator.load(request.model, request.options, lambda progress: None)
        history = History(Database(Path(folder) / "bench.db"), Path(folder))
        plain = plain_diffusers(loaded, Path(folder))
        measured = take_turns({"diffusers": plain, "studio": studio_generator(generator, history, {}, Path(folder))}, request, runs)
        report = summary(measured, request, loaded)
        if arguments.architecture:
            scaled = "" if loaded.device == "cuda" else ", scaled down"
            report["model"] = f"{arguments.architecture} (random weights{scaled})"
        report |= roofline(arguments, plain, request, loaded, report)
        del plain, loaded  # a variant may load the model again, and two need not fit
        print(table(report), flush=True)
        for name, changed in changes.items():
            changed = with_tiles(changed, max(request.width, request.height))
            row = vary(studio_generator(generator, history, changed, Path(folder)), request, measured["studio"], runs)
            report.setdefault("variants", {})[name] = row
            print(line(name, row), flush=True)
    print("text: the studio keeps the embeddings of a prompt that it has read, unless performance.cache_text is off")
    print("distance: largest and mean difference of a pixel from the studio's default image, of 255")
    print(json.dumps(report, ensure_ascii=False))
    return DONE if report["max_pixel_distance"] == 0 else FAILED


@contextmanager
def model_of(arguments: argparse.Namespace, configs: Path, folder: Path) -> Iterator[tuple[Generator, ModelInfo]]:
    """Yield the generator and its model: one that is here, or an architecture with random weights."""
    if not arguments.architecture and not arguments.random_weights:
        catalog = Catalog(configs)
        yield Generator(catalog), catalog.find(arguments.model)
        return
    if not (arguments.architecture and arguments.random_weights):
        allowed = localize("bench.speed.both_or_neither")
        raise OptionError(source=SOURCE, key="--architecture, --random-weights", value="one of them", allowed=allowed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = random_weights.FULL if device == "cuda" else random_weights.SCALED
    random_weights.write_folder(folder / arguments.architecture, shape)
    catalog = Catalog(configs)
    generator = Generator(catalog, read=partial(random_weights.read_random, shape, device))
    info = catalog.find(str(folder / arguments.architecture))
    yield generator, info if device == "cuda" else replace(info, default_width=256, default_height=256)
    generator.unload()


def request_of(arguments: argparse.Namespace, info: ModelInfo) -> GenerationRequest:
    """Return the model's own size and steps unless told otherwise; every option neutral, whatever the user's files say."""
    options = {option.key: option.default for option in SCHEMA.request_options()}
    for key, text in map(pair, arguments.set):
        option = SCHEMA.find(key, SOURCE)
        options[option.key] = option.check(text, SOURCE)
    request = GenerationRequest(
        prompt=PROMPT,
        model=info.id,
        width=whole_number("--side", arguments.side or str(info.default_width), 64, info.max_side),
        height=whole_number("--side", arguments.side or str(info.default_height), 64, info.max_side),
        num_inference_steps=whole_number("--steps", arguments.steps or str(info.default_steps), 1, 200),
        cfg_scale=info.default_cfg_scale,
        seed=1,
        options=options,
    )
    request_checks.check(request, info, SOURCE)
    return request


def vary(generate: Contestant, request: GenerationRequest, default: list[Measure], runs: int) -> dict[str, Any]:
    """Return a variant's figures beside the default images of the same seeds; or why there are none."""
    try:
        warm = generate(request)
        if warm.instead:
            return {"refused": warm.instead}
        measures = [generate(replace(request, seed=request.seed + turn)) for turn in range(1, runs + 1)]
    except StudioError as error:
        return {"refused": error.message("en")}
    distances = [distance(one.image, other.image) for one, other in zip(measures, default, strict=True)]
    largest, mean = max(far for far, _ in distances), statistics.fmean(near for _, near in distances)
    return _figures(measures) | {"largest_distance": largest, "mean_distance": round(mean, 3)} | _cost_of_states(measures)


def _cost_of_states(measures: list[Measure]) -> dict[str, float]:
    """Return median seconds that the states of an image took to write, and their share of its time; empty without states."""
    wall, cpu = (statistics.median(measure.states[k] for measure in measures) for k in (0, 1))
    if not wall:
        return {}
    share = statistics.median(measure.states[0] / measure.seconds["total"] for measure in measures)
    return {"states_seconds": round(wall, 5), "states_cpu_seconds": round(cpu, 5), "states_share": round(share, 5)}


def roofline(
    arguments: argparse.Namespace,
    plain: Contestant,
    request: GenerationRequest,
    loaded: LoadedModel,
    report: Mapping[str, Any],
) -> dict[str, Any]:
    """For --architecture: the work of one image, and which share of the device's own peak each of the two reached."""
    if not arguments.architecture:
        return {}
    with FlopCounterMode(display=False) as counter:
        plain(request)
    work = counter.get_total_flops()
    peak = random_weights.matmul_peak(loaded.device, DTYPES[loaded.dtype])
    shares = {name: round(work / report[name]["total"] / peak, 3) for name in ("diffusers", "studio")}
    return {"tflop": round(work / 1e12, 3), "peak_tflops": round(peak / 1e12, 4), "share_of_peak": shares}


def take_turns(
    contestants: Mapping[str, Contestant], request: GenerationRequest, runs: int
) -> dict[str, list[Measure]]:
    """Run each contestant once to warm up, then `runs` times in rotating order with a new seed per turn."""
    measured: dict[str, list[Measure]] = {name: [] for name in contestants}
    for turn in range(runs + 1):
        single = replace(request, seed=request.seed + turn)
        for name in list(contestants)[:: 1 if turn % 2 else -1]:
            measure = contestants[name](single)
            if turn:
                measured[name].append(measure)
    return measured


def plain_diffusers(loaded: LoadedModel, folder: Path) -> Contestant:
    """Plain diffusers, called as its documentation says; the parts are timed from outside."""
    pipeline = type(loaded.pipeline)(**loaded.pipeline.components)
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

    def generate(request: GenerationRequest) -> Measure:
        attention.apply(pipeline.transformer, attention.AttentionPlan())  # what a line with another one left
        memory.start_peak(loaded.device)
        pipeline.encode_prompt, pipeline.vae.decode = timed_encode, timed_decode
        began = _now(loaded.device)
        image = pipeline(
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=guidance_of(request.cfg_scale, loaded.info.cfg_offset),
            generator=torch.Generator().manual_seed(request.seed),
        ).images[0]
        decoded = _now(loaded.device)
        del pipeline.encode_prompt, pipeline.vae.decode  # the studio uses the same modules
        image.save(folder / "plain.png")
        saved = _now(loaded.device)
        spans = (marks["encoded"] - began, marks["denoised"] - marks["encoded"], decoded - marks["denoised"])
        seconds = dict(zip(PARTS, (*spans, saved - decoded, saved - began), strict=True))
        return Measure(seconds, memory.read_peak(loaded.device), image)

    return generate


def studio_generator(generator: Generator, history: History, changed: Mapping[str, Any], folder: Path) -> Contestant:
    """Return the studio's generator, and its way to the disk: metadata, a file that survives a power cut, the history row.

    States of steps, where `resume.interval` is among the changes, are written below `folder`.
    """
    attempt = ResumeState("bench", folder=folder / "states")

    def generate(request: GenerationRequest) -> Measure:
        options = {key: value for key, value in changed.items() if key != PROMPT}
        request = replace(request, prompt=changed.get(PROMPT, request.prompt), options={**request.options, **options})
        began = time.perf_counter()
        with _timed_states() as states:
            image = generator.generate(request, attempt=attempt).images[0]
        generated = time.perf_counter()
        history.add(image, None)
        saved = time.perf_counter()
        seconds = {**image.timings, "save": saved - generated, "total": saved - began}
        return Measure(seconds, image.peak_memory_bytes, image.image, _instead(image, changed), (states[0], states[1]))

    return generate


@contextmanager
def _timed_states() -> Iterator[list[float]]:
    """Yield [wall, CPU] seconds, which grow by what each writing of a step's state takes."""
    spent, save = [0.0, 0.0], StepKeeper.save

    def timed(keeper: StepKeeper) -> None:
        began = time.perf_counter(), time.process_time()
        save(keeper)
        spent[0] += time.perf_counter() - began[0]
        spent[1] += time.process_time() - began[1]

    # A bench alone wants these times: the keeper is not made to count them for everyone, and mypy forbids to replace a method.
    StepKeeper.save = timed  # type: ignore[assignment, method-assign]
    try:
        yield spent
    finally:
        StepKeeper.save = save  # type: ignore[method-assign]


def _instead(image: GeneratedImage, changed: Mapping[str, Any]) -> str:
    """Return what was in effect in place of what was asked for, and why; empty when it was as asked."""
    return "; ".join(
        f"{choice.option} was {choice.effective}: {choice.reason['en']}"
        for choice in image.decisions
        if choice.option in changed and choice.effective != changed[choice.option]
    )


def _now(device: str) -> float:
    """Return seconds, once the GPU has finished what was asked of it."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def summary(measured: Mapping[str, list[Measure]], request: GenerationRequest, loaded: LoadedModel) -> dict[str, Any]:
    """Return medians, peak memory, and the largest difference from plain diffusers' image of the same seed."""
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
        report[name] = _figures(measures)
    pairs = zip(measured["diffusers"], measured["studio"], strict=True)
    report["max_pixel_distance"] = max(distance(one.image, other.image)[0] for one, other in pairs)
    return report


def _figures(measures: list[Measure]) -> dict[str, Any]:
    """Return median seconds by part, and the highest peak."""
    peaks = [measure.peak for measure in measures if measure.peak is not None]
    medians = {part: statistics.median(measure.seconds[part] for measure in measures) for part in PARTS}
    return {part: round(seconds, 4) for part, seconds in medians.items()} | {
        "peak_memory_bytes": max(peaks, default=None)
    }


def distance(one: Image, other: Image) -> tuple[int, float]:
    """Return the largest and the mean difference of channel values, 0 to 255."""
    gap = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))
    return int(gap.max()), float(gap.mean())


def table(report: Mapping[str, Any]) -> str:
    """Format the report: seconds, peak megabytes, and the distance from the studio's default image."""
    head = (
        "{model}, {width}x{height}, {steps} steps, {device} {dtype}, median of {runs} runs, loaded in {load_seconds} s"
    )
    columns = "".join(f"{part:>9}" for part in PARTS) + f"{'peak MB':>10}{'distance':>14}"
    lines = [head.format(**report), f"{'':<{NAME}}{columns}"]
    gap = {"diffusers": {"largest_distance": report["max_pixel_distance"]}, "studio": {}}
    lines += [line(name, report[name] | gap[name]) for name in ("diffusers", "studio")]
    if "tflop" in report:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in report["share_of_peak"].items())
        lines.insert(
            1, f"work {report['tflop']:g} TFLOP an image, peak {report['peak_tflops']:g} TFLOP/s; reached: {shares}"
        )
    return "\n".join(lines)


def line(name: str, row: Mapping[str, Any]) -> str:
    """Format one row of the table."""
    if "refused" in row:
        return f"{name:<{NAME}} {row['refused']}"
    peak = "-" if row["peak_memory_bytes"] is None else f"{row['peak_memory_bytes'] / 1e6:.0f}"
    far = "" if "largest_distance" not in row else f"{row['largest_distance']}"
    far += f" / {row['mean_distance']:.2f}" if "mean_distance" in row else ""
    states = ""
    if "states_share" in row:
        states = "\n  states written in {states_seconds:.4f} s (CPU {states_cpu_seconds:.4f} s), {states_share:.2%} of the image"
    figures = "".join(f"{row[part]:>9.3f}" for part in PARTS)
    return f"{name:<{NAME}}{figures}{peak:>10}{far:>14}{states.format(**row)}"


GROUPS = ("performance", "compile", "attention", "vae", "precision", "memory", "preview")
PROMPT_KEY = "generation.prompt"  # a row may change it, too
LONG_PROMPT = "雪地，黄色的灯塔，" * 60  # some 400 tokens
NUMBERS: Mapping[str, float] = {variety.STRENGTH: 0.3, variety.EMBEDS_NOISE: 0.3, variety.SHORT_STEPS: 0.25}
NOT_ALONE = (  # these act only beside another option, or on nothing that can be measured here
    "compile.mode",
    "compile.fullgraph",
    "precision.auto_retry",
    "memory.tier",
)
TILED = {"vae.enable_tiling": True}
BESIDE: Mapping[str, Mapping[str, Any]] = {"vae.tiling_mode=exact": TILED}  # what else such a line switches on


def variants(only: Sequence[str] = (), prediction: Prediction = "flow") -> dict[str, Mapping[str, Any]]:
    """Return changes by name, such as "vae.enable_tiling=true"; with `only`, those whose name contains one of its texts.

    `prediction` is the model's: its samplers are rows.
    """
    found = {
        (name := f"{option.key}={_said(value)}"): {**BESIDE.get(name, {}), option.key: value}
        for option in SCHEMA.request_options()
        if option.group in GROUPS and option.implemented and option.key not in NOT_ALONE
        for value in _others(option)
    }
    found |= {f"{SAMPLER}={name}": {SAMPLER: name} for name in usable(prediction)}
    found |= {f"{key}={value:g}": {key: value} for key, value in NUMBERS.items()}
    found["long prompt"] = {PROMPT_KEY: LONG_PROMPT}
    found["resume.interval=1"] = {"resume.interval": 1}
    return {name: change for name, change in found.items() if not only or any(text in name for text in only)}


def with_tiles(change: Mapping[str, Any], side: int) -> Mapping[str, Any]:
    """Return the change with tiles of half the longer side if default tiles would cover the whole image."""
    sizes = {"vae.enable_tiling": "vae.tile_sample_min_size", "vae.decoder_tiling": "vae.decoder_tile_size"}
    small = {
        size: max(64, side // 2)
        for switch, size in sizes.items()
        if change.get(switch) and SCHEMA.options[size].default >= side
    }
    return {**change, **small}


def _others(option: Option) -> tuple[Any, ...]:
    """Return the other values of an option; none for numbers, which have too many to try."""
    if option.type == "bool":
        return (not option.default,)
    if option.type == "choice":
        return tuple(value for value in option.choices if value not in (option.default, AUTO))
    return ()


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
