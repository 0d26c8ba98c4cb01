"""Estimate what a request will cost before it is queued: seconds, memory, disk, and whether it fits; if not, what would."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import psutil

from core.config.loader import Settings
from core.config.typed_settings import Options
from core.errors import StudioError
from core.history.store import History
from core.i18n import localize
from core.inference import load_choices, memory_tiers
from core.inference.memory_tiers import GIGA, MEGA, DeviceMemory, Plan
from core.inference.workload import NOMINAL, ModelSize, Workload, size_of_model, workload
from core.jobs.supervisor import WorkerSupervisor
from core.models.catalog import Catalog
from core.remote.catalog import RemoteCatalog
from core.studio.hardware import ComputeDevice, DeviceReader
from core.types import Estimate, GenerationRequest, HistoryQuery, ImageRecord, ModelInfo, WorkerStatus

NEAR = 0.35  # of the logarithm of pixels: images of 1.4 times the size tell a third as much
OTHER_OPTION = 0.5  # what an image still tells for each option that it has other than the request
AGEING = 0.97  # from an image to the one before it
SIZES_APART = 1.3  # of pixels: closer sizes say nothing of how memory grows
TIMELESS = (
    "output.",
    "preview.",
    "precision.auto_retry",
    "resume.",
    "metadata.",
)  # options that cost no time worth telling


@dataclass(frozen=True)
class Sample:
    """One past image: its work, the seconds of each phase, its options and its peak in bytes of the memory that it was read of.

    `memory` names how the model was held in memory: only images that are alike in it tell of the peak.
    """

    work: Workload
    seconds: Mapping[str, float]
    options: Mapping[str, Any]
    peak: int | None = None
    memory: Any = None


def predicted_seconds(work: Workload, options: Mapping[str, Any], samples: Sequence[Sample]) -> dict[str, float] | None:
    """Return the seconds of each phase of an image; None without samples. `samples` begin with the latest."""
    found = {}
    for phase, operations in work.operations.items():
        rates = [
            (one.seconds[phase] / one.work.operations[phase], _weight(one, k, work, options))
            for k, one in enumerate(samples)
            if one.work.operations.get(phase) and phase in one.seconds
        ]
        if rates:
            found[phase] = _middle(rates) * operations
    return found or None


def predicted_peak(work: Workload, memory: Any, samples: Sequence[Sample], bytes_a_pixel: float) -> int | None:
    """Return the peak in bytes; None where no image was made with the model held like this.

    Memory grows with the pixels as the samples say, or by `bytes_a_pixel` where all have one size.
    """
    alike = [(one.work.pixels, one.peak) for one in samples if one.peak and one.memory == memory]
    if not alike:
        return None
    slope = _slope(alike, bytes_a_pixel)
    nearest = min(abs(math.log(pixels / work.pixels)) for pixels, _ in alike)
    near = [one for one in alike if abs(math.log(one[0] / work.pixels)) <= nearest + 0.1]
    return int(_middle([(value + slope * (work.pixels - pixels), 1.0) for pixels, value in near]))


def _slope(points: Sequence[tuple[int, int]], computed: float) -> float:
    """Return the bytes for each more pixel, by least squares; never less than 0."""
    sizes = [pixels for pixels, _ in points]
    if max(sizes) < SIZES_APART * min(sizes):
        return computed
    centre, level = sum(sizes) / len(sizes), sum(value for _, value in points) / len(points)
    spread = sum((pixels - centre) ** 2 for pixels in sizes)
    return max(0.0, sum((pixels - centre) * (value - level) for pixels, value in points) / spread)


def _weight(one: Sample, age: int, work: Workload, options: Mapping[str, Any]) -> float:
    distance = abs(math.log(one.work.pixels / work.pixels)) / NEAR
    others = sum(one.options.get(key, value) != value for key, value in options.items() if not key.startswith(TIMELESS))
    return math.exp(-distance) * OTHER_OPTION**others * AGEING**age


def _middle(weighted: Sequence[tuple[float, float]]) -> float:
    """Return the weighted median."""
    ordered = sorted(weighted)
    half, passed = sum(weight for _, weight in ordered) / 2, 0.0
    for value, weight in ordered:
        passed += weight
        if passed >= half:
            return value
    return ordered[-1][0]


def computed_seconds(work: Workload, operations_a_second: float) -> dict[str, float]:
    """Return the seconds of each phase where no image was measured: by the speed of multiplying matrices."""
    return {phase: count / operations_a_second for phase, count in work.operations.items() if phase != "upscale"}


LATEST, OF_THIS_SIZE = 40, 20  # images that are looked at
MANY = 200  # images of a batch that are looked at one by one
PROCESS_BYTES = 700 * MEGA  # of Python and the libraries before a model is loaded
BYTES_A_PIXEL = {"png": 1.8, "jpeg": 0.4, "webp": 0.3}  # of a file, until there is one of the format
SMALLER = (0.875, 0.75, 0.625, 0.5, 0.375, 0.25)  # of each side, tried in turn when a size does not fit
HELD_BY = ("model.device", "model.dtype", "memory.quantization", "memory.offload", "vae.enable_tiling")
TRUE_BYTES = {"float32": 2.0, "bfloat16": 1.0, "float16": 1.0}  # in units of 16 bits
LOAD = "model.load_seconds"


@dataclass(frozen=True)
class _Setting:
    """What an estimate is made of, read once for a request."""

    info: ModelInfo
    size: ModelSize
    device: ComputeDevice
    dtype: str
    plan: Plan
    counted: Mapping[str, int]  # parameters of what goes to the device
    budget: int  # bytes of it that may be used

    @property
    def on_cpu(self) -> bool:
        return self.device.hardware.device == "cpu"

    def needed(self, pixels: int, tier: memory_tiers.Tier | None = None) -> int:
        """Return the computed peak on the device; on a CPU with the process itself, and in its number format."""
        units = TRUE_BYTES[self.dtype] if self.on_cpu else 1.0
        own = memory_tiers.expected(tier or self.plan.tier, self.counted, pixels, self.budget, self.size.stored)
        return int(own * units) + (PROCESS_BYTES if self.on_cpu else 0)


class Estimates:
    """Estimate requests from the plan for memory and from the images that this machine has made."""

    def __init__(
        self, settings: Settings, catalog: Catalog | RemoteCatalog, history: History, worker: WorkerSupervisor
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._history = history
        self._worker = worker
        self._devices = DeviceReader(settings.output_directory / "cache")

    def of(self, request: GenerationRequest, wait: bool = False) -> Estimate:
        """Return what a complete request will cost.

        Before the first image of a model the time is computed from the speed of the device, which is measured once: with
        `wait` at once, which takes seconds, else in the background.

        Raises:
            ModelError: the model is unknown, or its files can't be read.
        """
        info = self._catalog.find(request.model)
        status, records = self._worker.status(), self._records(request)
        if not info.path:
            return _elsewhere(request, info, records, status)
        setting = self._setting(request, info, status)
        samples = tuple(_samples(records, info, setting.size, setting.device.hardware.device))
        per_image = request.per_image_requests()
        seconds = self._seconds(per_image, setting, samples, wait)
        largest = max((workload(one, info, setting.size) for one in per_image[:MANY]), key=lambda one: one.pixels)
        peak, measured = self._peak(largest, request, setting, samples)
        blocks = 2 * sum(setting.counted.values()) if setting.plan.tier.offload == "disk" else 0
        disk = _file_bytes(request, records) + blocks
        problems = tuple(self._problems(request, setting, largest.pixels, peak, disk))
        on_cpu = setting.on_cpu
        return Estimate(
            seconds=seconds,
            load_seconds=_load_seconds(status, request, records),
            vram_mb=0 if on_cpu else -(-peak // MEGA),
            ram_mb=-(-(peak if on_cpu else _host_bytes(setting)) // MEGA),
            disk_mb=-(-disk // MEGA),
            fits=not problems,
            tier=setting.plan.tier.name,
            reasons=(*(choice.reason for choice in setting.plan.decisions), *problems),
            measured=measured,
        )

    # -- what there is ---------------------------------------------------------------------------------------------

    def _records(self, request: GenerationRequest) -> Sequence[ImageRecord]:
        """Return images of the model that were made here, those of this size first, each the latest first."""
        query = HistoryQuery(model=request.model, limit=LATEST)
        sized = replace(query, width=request.width, height=request.height, limit=OF_THIS_SIZE)
        found = {one.id: one for asked in (sized, query) for one in self._history.search(asked).records}
        return [one for one in found.values() if one.timings]

    def _setting(self, request: GenerationRequest, info: ModelInfo, status: WorkerStatus) -> _Setting:
        size = size_of_model(info)
        options, _ = load_choices.acting_options(request.options, info)
        option = Options(options)
        wanted = "cpu" if option.memory.tier == "cpu" else option.model.device
        device = self._devices.read(wanted, status.pid, status.memory_bytes or 0)
        dtype = load_choices.choose_dtype(option.model.dtype, device.hardware, size.whole, device.host)
        counted = dict(size.parameters)
        if option.text_encoder.device not in ("auto", device.hardware.device, f"{device.hardware.device}:0"):
            counted = {part: count for part, count in counted.items() if not part.startswith("text_encoder")}
        lacks = partial(load_choices.missing, hardware=device.hardware, info=info)
        memory = DeviceMemory(device.hardware.device, device.free, device.host, lacks)
        pixels = info.default_width * info.default_height
        plan = memory_tiers.choose(options, memory, counted, pixels, stored=size.stored)
        budget = device.free - option.memory.reserved_mb * MEGA
        return _Setting(info, size, device, str(dtype.effective), plan, counted, budget)

    # -- time --------------------------------------------------------------------------------------------------------

    def _seconds(
        self, per_image: Sequence[GenerationRequest], setting: _Setting, samples: Sequence[Sample], wait: bool
    ) -> float | None:
        """Return the seconds of all images; images that share a prompt encode it once."""
        each = [self._phases(one, setting, samples, wait) for one in per_image[:MANY]]
        if any(one is None for one in each):
            return None
        known = [one for one in each if one is not None]
        share = len(per_image) / len(known)
        images = sum(sum(seconds for phase, seconds in one.items() if phase != "text") for one in known)
        prompts = len({(one.prompt, one.negative_prompt) for one in per_image})
        return share * images + prompts * statistics.fmean(one.get("text", 0.0) for one in known)

    def _phases(
        self, single: GenerationRequest, setting: _Setting, samples: Sequence[Sample], wait: bool
    ) -> Mapping[str, float] | None:
        work = workload(single, setting.info, setting.size)
        if found := predicted_seconds(work, single.options, samples):
            return found
        small = setting.size.whole < load_choices.TRUE_SIZE  # its first image takes less than the measuring
        if small and not wait:
            return None
        speed = self._devices.speed(setting.device, setting.dtype, wait)
        return None if speed is None else computed_seconds(work, speed)

    # -- memory ------------------------------------------------------------------------------------------------------

    def _peak(
        self, work: Workload, request: GenerationRequest, setting: _Setting, samples: Sequence[Sample]
    ) -> tuple[int, int]:
        """Return the peak on the device in bytes, and how many images it comes from."""
        implied = {**request.options, "vae.enable_tiling": Options(request.options).vae.enable_tiling, **setting.plan.implied}
        own = {**implied, "model.device": setting.device.hardware.device, "model.dtype": setting.dtype}
        held = tuple(own[key] for key in HELD_BY)
        units = TRUE_BYTES[setting.dtype] if setting.on_cpu else 1.0
        found = predicted_peak(work, held, samples, units * memory_tiers.DECODE_BYTES)
        if found is None:
            return setting.needed(work.pixels), 0
        return found, sum(one.memory == held and one.peak is not None for one in samples)

    def _problems(
        self, request: GenerationRequest, setting: _Setting, pixels: int, peak: int, disk: int
    ) -> Iterator[Mapping[str, str]]:
        """Yield what does not fit, with what would."""
        if peak > setting.budget:
            numbers = {"peak": peak / GIGA, "free": max(0, setting.budget) / GIGA}
            yield localize("studio.estimates.too_large", **numbers, cure=_cure(request, setting, pixels, peak))
        if (host := _host_bytes(setting)) > setting.device.host and not setting.on_cpu:
            yield localize("studio.estimates.host_full", needed=host / GIGA, free=setting.device.host / GIGA)
        folder = self._settings.output_directory
        free = psutil.disk_usage(str(next(one for one in (folder, *folder.parents) if one.exists()))).free
        if disk > free:
            yield localize("studio.estimates.disk_full", needed=disk / GIGA, free=free / GIGA)


def _elsewhere(
    request: GenerationRequest, info: ModelInfo, records: Sequence[ImageRecord], status: WorkerStatus
) -> Estimate:
    """Return what the images tell that were made of a model whose files are not on this machine."""
    latest = max(records, key=lambda one: one.created_at, default=None)
    effective = {} if latest is None else latest.effective
    size = ModelSize(NOMINAL)
    samples = tuple(_samples(records, info, size, effective.get("model.device")))
    works = [(workload(one, info, size), one.options) for one in request.per_image_requests()[:MANY]]
    each = [predicted_seconds(work, options, samples) for work, options in works]
    largest = max((work for work, _ in works), key=lambda one: one.pixels)
    own = tuple(effective.get(key) for key in HELD_BY)
    peak = predicted_peak(largest, own, samples, memory_tiers.DECODE_BYTES) or 0
    on_cpu, megabytes = effective.get("model.device") == "cpu", -(-peak // MEGA)
    return Estimate(
        seconds=sum(sum(one.values()) for one in each if one) * request.num_images / len(each) if all(each) else None,
        load_seconds=_load_seconds(status, request, records),
        vram_mb=0 if on_cpu else megabytes,
        ram_mb=megabytes if on_cpu else 0,
        disk_mb=-(-_file_bytes(request, records) // MEGA),
        fits=True,
        tier=str(effective.get("memory.tier", "")),
        reasons=(localize("studio.estimates.elsewhere"),),
        measured=len(samples),
    )


def _samples(records: Sequence[ImageRecord], info: ModelInfo, size: ModelSize, device: Any) -> Iterator[Sample]:
    """Yield what images of this device tell."""
    for record in records:
        if record.effective.get("model.device") != device:
            continue
        try:
            work = workload(record.request, info, size)
        except (StudioError, KeyError, ValueError):  # of a version whose options were others
            continue
        memory = tuple(record.effective.get(key) for key in HELD_BY)
        options = {**record.request.options}
        yield Sample(work, record.timings, options, record.peak_memory_bytes, memory)


def _load_seconds(status: WorkerStatus, request: GenerationRequest, records: Sequence[ImageRecord]) -> float | None:
    """Return 0 while the model is loaded, else the seconds that its last load took, if any is known."""
    if status.model == request.model:
        return 0.0
    latest = max(records, key=lambda one: one.created_at, default=None)
    load_seconds = None if latest is None else latest.effective.get(LOAD)
    return float(load_seconds) if isinstance(load_seconds, int | float) else None


def _host_bytes(setting: _Setting) -> int:
    """Return the machine's own memory that a model on a GPU takes: all its weights while they are offloaded."""
    if setting.plan.tier.offload not in ("model", "group"):
        return PROCESS_BYTES
    kind = setting.plan.tier.quantization
    weights = sum(
        count * memory_tiers.WEIGHT_BYTES[kind if part in memory_tiers.QUANTISED else "none"]
        for part, count in setting.size.parameters.items()
    )
    return PROCESS_BYTES + int(weights)


def _file_bytes(request: GenerationRequest, records: Sequence[ImageRecord]) -> int:
    """Return the bytes of the images' files, by what files of the format took lately."""
    form = Options(request.options).output.format
    like = [one.bytes / (one.width * one.height) for one in records if one.format == form]
    each = statistics.median(like) if like else BYTES_A_PIXEL[form]
    return int(sum(each * one.width * one.height for one in request.per_image_requests()))


def _cure(request: GenerationRequest, setting: _Setting, pixels: int, peak: int) -> dict[str, str]:
    """Return what would fit: a smaller tier, a narrower number format, or a smaller image."""
    more = peak - setting.needed(pixels)  # that was measured, over what is computed
    lacks = partial(load_choices.missing, hardware=setting.device.hardware, info=setting.info)
    memory = DeviceMemory(setting.device.hardware.device, setting.budget, setting.device.host, lacks)
    below = [one for one in memory_tiers.ladder(memory) if one.name != setting.plan.tier.name]
    for tier in below:
        if setting.needed(pixels, tier) + max(0, more) <= setting.budget:
            return localize("studio.estimates.tier_fits", tier=tier.name)
    if setting.on_cpu and setting.dtype == "float32":
        if replace(setting, dtype="bfloat16").needed(pixels) + max(0, more) <= setting.budget:
            return localize("studio.estimates.bfloat16_fits")
    for share in SMALLER:
        if setting.needed(int(pixels * share**2)) + int(max(0, more) * share**2) <= setting.budget:
            width, height = (max(16, int(side * share) // 16 * 16) for side in (request.width, request.height))
            return localize("studio.estimates.size_fits", width=width, height=height)
    return localize("studio.estimates.nothing_fits")
