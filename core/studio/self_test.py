"""Define the setup check in four steps (stability, quality, speed, control): what each sets, generates and checks.

`start.py verify` and the guide's page both run it over the studio's own queue.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.config.schema import AUTO
from core.errors import NotFoundError
from core.i18n import localize
from core.studio import Studio
from core.studio.diagnostics import unasked
from core.types import GenerationRequest, ImageRecord, Job, JobState

Text = Mapping[str, str]

PROMPTS = (
    "红色的房子，日落，雪山",
    "a blue lighthouse in the snow, night",
    "一辆黄色的车，沙漠，白天",
    "a green tree in a meadow, day, a rainbow",
    "紫色的气球，薰衣草田，黎明",
    "a white sailboat at sea, dawn",
    "橙色的帐篷，草地，日落",
    "a red castle in the snow, day",
    "粉色的风车，薰衣草田，白天",
    "a blue rocket in the desert, night, stars",
)
FIRST_SEED = 20_260_701
IMAGES = 10
GROWTH_SHARE, GROWTH_BYTES = 0.05, 64 * 2**20  # memory that grows less between first and last images is flat
SLOWER = 1.25  # a step called "speed" may not take longer than this, times the step before it
ODD = (250, 141)  # a size that no model renders natively


@dataclass(frozen=True)
class Check:
    """One check: its name and its result, in both languages."""

    name: Text
    found: Text
    passed: bool


@dataclass(frozen=True)
class Shot:
    """An image of a step: its job, and its record once finished."""

    job: Job
    record: ImageRecord | None


@dataclass(frozen=True)
class Step:
    """`sets` are values by schema key that the step puts into effect; `judge` looks at the images generated with them."""

    key: str
    sets: Mapping[str, Any]
    requests: Callable[[Studio, Mapping[str, Any], int], list[GenerationRequest]]
    judge: Callable[[Studio, Sequence[Shot]], list[Check]]


def requests(studio: Studio, step: Step, values: Mapping[str, Any], images: int = IMAGES) -> list[GenerationRequest]:
    """Return what the step generates: `values` (by schema key, such as the model) with its own on top."""
    return step.requests(studio, {**values, **step.sets}, images)


def judge(studio: Studio, step: Step, jobs: Sequence[Job]) -> list[Check]:
    """Return the checks of a step's ended jobs. A failed job is a failed check."""
    return step.judge(studio, [_shot(studio, job) for job in jobs])


def _shot(studio: Studio, job: Job) -> Shot:
    try:
        return Shot(job, studio.history.get(job.image_ids[0]) if job.image_ids else None)
    except NotFoundError:
        return Shot(job, None)


def _single(studio: Studio, values: Mapping[str, Any], number: int, **changed: Any) -> GenerationRequest:
    own: dict[str, Any] = {"generation.prompt": PROMPTS[number % len(PROMPTS)], "generation.negative_prompt": ""}
    own |= {"generation.seed": FIRST_SEED + number, "generation.num_images": 1}
    return replace(studio.requests.new({**values, **own}, "guide"), **changed)


def _series(studio: Studio, values: Mapping[str, Any], images: int) -> list[GenerationRequest]:
    return [_single(studio, values, number) for number in range(images)]


def _few(studio: Studio, values: Mapping[str, Any], images: int) -> list[GenerationRequest]:
    return _series(studio, values, min(3, images))


def _controlled(studio: Studio, values: Mapping[str, Any], images: int) -> list[GenerationRequest]:
    """Return the same twice, another seed, another prompt with the first seed, an odd size."""
    first = _single(studio, values, 0)
    other = replace(first, prompt=PROMPTS[1])
    return [
        first,
        first,
        replace(first, seed=first.seed + 1),
        other,
        _single(studio, values, 0, width=ODD[0], height=ODD[1]),
    ]


# -- the checks ------------------------------------------------------------------------------------------------------


def _stable(studio: Studio, shots: Sequence[Shot]) -> list[Check]:
    return [_drawn(shots), _sizes(studio, shots), _looks(studio, shots), _memory(shots)]


def _quality(studio: Studio, shots: Sequence[Shot]) -> list[Check]:
    whole = [shot for shot in shots if shot.record and shot.record.effective.get("vae.tiles") is None]
    name = localize("studio.self_test.decoded_in_one_piece_without_seams")
    tiles = Check(name, _share(len(whole), len(shots)), len(whole) == len(shots))
    return [_drawn(shots), _sizes(studio, shots), _looks(studio, shots), tiles]


def _speed(studio: Studio, shots: Sequence[Shot]) -> list[Check]:
    """Check that no image but the first, which may have waited for the model, took much longer than the median."""
    seconds = [sum(shot.record.timings.values()) for shot in shots if shot.record][1:]
    name = localize("studio.self_test.even_pace_once_the_model_is")
    if not seconds:
        return [_drawn(shots), Check(name, _share(0, len(shots)), False)]
    middle, worst = statistics.median(seconds), max(seconds)
    found = localize("studio.self_test.median_s_slowest_s", middle=middle, worst=worst)
    return [_drawn(shots), Check(name, found, worst <= max(SLOWER * middle, middle + 1.0))]


def _control(studio: Studio, shots: Sequence[Shot]) -> list[Check]:
    ids = [shot.record.id if shot.record else None for shot in shots]
    return [
        _drawn(shots),
        _pair(studio, ids[0], ids[1], True, localize("studio.self_test.the_same_seed_gives_the_same")),
        _pair(studio, ids[0], ids[2], False, localize("studio.self_test.another_seed")),
        _pair(studio, ids[0], ids[3], False, localize("studio.self_test.another_prompt")),
        _sizes(studio, shots),
    ]


def _pair(studio: Studio, one: str | None, other: str | None, alike: bool, name: Text) -> Check:
    if one is None or other is None:
        return Check(name, localize("studio.self_test.not_generated"), False)
    gap = studio.images.difference(one, other)
    found = localize("studio.self_test.of_the_pixels_differ", changed=gap.changed)
    return Check(name, found, gap.identical is alike)


def _drawn(shots: Sequence[Shot]) -> Check:
    done = [shot for shot in shots if shot.job.state is JobState.DONE and shot.record]
    found = _share(len(done), len(shots))
    error = next((shot.job.error for shot in shots if shot.job.error), None)
    if error:
        found = {language: f"{words}. {error.message(language)}" for language, words in found.items()}
    return Check(localize("studio.self_test.generated_without_an_error"), found, len(done) == len(shots))


def _sizes(studio: Studio, shots: Sequence[Shot]) -> Check:
    """Check the size of the files, opened again."""
    right = 0
    for shot in shots:
        if shot.record:
            look = studio.images.stats(shot.record.id)
            right += (look.width, look.height) == (shot.job.request.width, shot.job.request.height)
    return Check(
        localize("studio.self_test.exactly_the_size_asked_for"), _share(right, len(shots)), right == len(shots)
    )


def _looks(studio: Studio, shots: Sequence[Shot]) -> Check:
    faults = [
        unasked(studio.images.stats(shot.record.id).fault, shot.record.request.prompt) for shot in shots if shot.record
    ]
    bad = [fault for fault in faults if fault]
    found = dict(_share(len(faults) - len(bad), len(shots)))
    if bad:
        found = {language: f"{words}: {', '.join(bad)}" for language, words in found.items()}
    name = localize("studio.self_test.not_black_not_one_colour_no")
    return Check(name, found, not bad and len(faults) == len(shots))


def _memory(shots: Sequence[Shot]) -> Check:
    """Peaks of the first and the last third beside one another; the very first image warms things up."""
    name = localize("studio.self_test.memory_stays_flat")
    peaks = [shot.record.peak_memory_bytes for shot in shots if shot.record and shot.record.peak_memory_bytes][1:]
    if len(peaks) < 3:
        return Check(name, localize("studio.self_test.too_few_images_to_tell"), True)
    third = max(1, len(peaks) // 3)
    first, last = (statistics.median(part) for part in (peaks[:third], peaks[-third:]))
    found = f"{first / 1e6:.0f} → {last / 1e6:.0f} MB"
    return Check(name, {"en": found, "zh": found}, last - first <= max(GROWTH_SHARE * first, GROWTH_BYTES))


def _share(count: int, of: int) -> dict[str, str]:
    return localize("studio.self_test.of", count=count, of=of)


SAFE = {
    "model.dtype": AUTO,
    "memory.tier": AUTO,
    "transformer.use_rope": True,
    "force_original_resolution": True,
}
OWN = {
    "generation.num_inference_steps": AUTO,
    "generation.cfg_scale": AUTO,
    "generation.guidance_scale": AUTO,
    "scheduler.shift": AUTO,
}
WHOLE = {"vae.enable_tiling": False, "vae.decoder_tiling": False, "memory.low_vram": False}
FAST = {"preview.interval": 2, "memory.empty_cache": False, "memory.low_vram": False}
STEPS = (
    Step("stable", SAFE, _series, _stable),
    Step("quality", {**SAFE, **OWN, **WHOLE}, _few, _quality),
    Step("speed", {**SAFE, **FAST}, _few, _speed),
    Step("control", SAFE, _controlled, _control),
)
BY_KEY = {step.key: step for step in STEPS}
