"""Detect faults in the latest jobs, images and settings, each with the change that cures it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.config.options import FIELDS
from core.errors import CorruptImageError, CrashLoopError, ModelFileError, OutOfMemoryError, StudioError
from core.history.image_quality import ImageStats
from core.types import GenerationRequest, ImageRecord, Job, JobState, ModelInfo

LEAST_CFG = 2.0  # with which a negative prompt is seen to act
KINDS = ("black", "memory", "size", "cast", "text", "guidance", "weights")
NO_WRITING = "文字, 字母, 水印, 标志, text, letters, watermark, logo"
WRITING = re.compile(
    r"文字|字样|写着|标语|招牌|书法|标题|水印|logo|\btext\b|\bletter(s|ing)\b|\bwords?\b|\bsign (that )?(says|reads)\b",
    re.I,
)
UNCOLOURED = re.compile(r"黑白|灰度|单色|素描|black.and.white|monochrome|gr[ae]y|sketch", re.I)
TINTED = re.compile(
    r"夜|月光|黄昏|日落|夕阳|黎明|日出|水下|海底|霓虹|雾|\b(night|moonlight|moonlit|dusk|sunset|dawn|sunrise|underwater|neon|fog|sepia)\b",
    re.I,
)

Values = Mapping[str, Any]  # by schema key
Models = Callable[[str], ModelInfo | None]


@dataclass(frozen=True)
class Issue:
    """A fault. `kind` is one of KINDS; `found` fills its text; `cure` are the values by schema key that fix it."""

    kind: str
    found: Mapping[str, Any]
    cure: Values
    request: GenerationRequest | None = None  # what to run again with the cure
    image_id: str | None = None
    error: StudioError | None = None
    job_id: str | None = None

    def cured(self) -> GenerationRequest | None:
        """Return the request with the cure, or None."""
        return with_values(self.request, self.cure) if self.request else None


@dataclass(frozen=True)
class Evidence:
    """What is examined, newest first: jobs, and their images with statistics."""

    jobs: Sequence[Job] = ()
    images: Sequence[tuple[ImageRecord, ImageStats]] = ()
    models: Models = field(default=lambda model: None)
    model: str = "demo"  # what the settings name


def find(evidence: Evidence) -> tuple[Issue, ...]:
    """Return the newest fault of each kind, unless a later job has its cure."""
    found: dict[str, Issue] = {}
    for fault in _all(evidence):
        found.setdefault(fault.kind, fault)
    return tuple(found[kind] for kind in KINDS if kind in found and not _is_cured(found[kind], evidence.jobs))


def with_values(request: GenerationRequest, values: Values) -> GenerationRequest:
    """Return `request` with values by schema key, unchecked."""
    fields = {key.removeprefix("generation."): value for key, value in values.items() if key in FIELDS}
    if "model.id" in values:
        fields["model"] = values["model.id"]
    options = {key: value for key, value in values.items() if key not in FIELDS and key != "model.id"}
    return replace(request, **fields, options={**request.options, **options})


def _all(evidence: Evidence) -> Iterator[Issue]:
    for job in evidence.jobs:
        yield from (replace(fault, job_id=job.id) for fault in _of_job(job, evidence.models))
    for record, look in evidence.images:
        yield from _of_image(record, look, evidence.models)
    info = evidence.models(evidence.model)
    if info is not None and isinstance(info.problem, ModelFileError):
        yield Issue("weights", {"model": info.id}, _embedded(evidence.models), error=info.problem)


def _of_job(job: Job, models: Models) -> Iterator[Issue]:
    request, error = job.request, job.error
    if job.state is JobState.FAILED and isinstance(error, CorruptImageError):
        yield Issue("black", error.values, _first_new(request, *_sharper(request, models)), request, error=error)
    if job.state is JobState.FAILED and isinstance(error, OutOfMemoryError | CrashLoopError):
        yield Issue("memory", _size(request), _first_new(request, *_smaller(request)), request, error=error)
    if job.state is JobState.FAILED and isinstance(error, ModelFileError):
        yield Issue("weights", {"model": request.model}, _embedded(models), request, error=error)
    if request.negative_prompt.strip() and not request.guided:
        yield Issue("guidance", {"words": request.negative_prompt[:60]}, {"generation.cfg_scale": LEAST_CFG}, request)
    writing = WRITING.search(request.prompt)
    if job.state is JobState.DONE and writing and NO_WRITING not in request.negative_prompt:
        words = ", ".join(filter(None, (request.negative_prompt, NO_WRITING)))
        cure = {"generation.negative_prompt": words, "generation.cfg_scale": max(LEAST_CFG, request.cfg_scale)}
        yield Issue("text", {"words": writing[0]}, cure, request, next(iter(job.image_ids), None))


def _of_image(record: ImageRecord, look: ImageStats, models: Models) -> Iterator[Issue]:
    request = record.request
    if (look.width, look.height) != (request.width, request.height):
        found: dict[str, Any] = {"asked": f"{request.width}x{request.height}", "value": f"{look.width}x{look.height}"}
        whole = {"vae.enable_tiling": False, "vae.decoder_tiling": False}
        cure = _first_new(request, {"force_original_resolution": True}, whole)
        yield Issue("size", found, cure, request, record.id)
    if look.fault in ("black", "flat"):
        found = {"component": "vae", "value": look.fault, "step": request.num_inference_steps}
        yield Issue("black", found, _first_new(request, *_sharper(request, models)), request, record.id)
    if unasked(look.fault, request.prompt) in ("cast", "grey"):
        found = {"chroma": f"{look.chroma:.0f}", "shift": f"{look.shift:.0f}"}
        cures = (*_own_steps(request, models), *_sharper(request, models))
        yield Issue("cast", found, _first_new(request, *cures), request, record.id)


def unasked(fault: str | None, prompt: str) -> str | None:
    """Return the fault of an image's look, unless the prompt explains it (a night is blue, a sunset orange)."""
    asked = {"grey": UNCOLOURED, "cast": TINTED}.get(fault or "")
    return None if asked and asked.search(prompt) else fault


def _sharper(request: GenerationRequest, models: Models) -> tuple[Values, ...]:
    """Return more precision, then whole decoding with rotation on, then the model's own steps."""
    plain = {"transformer.use_rope": True, "vae.enable_tiling": False, "vae.decoder_tiling": False}
    return ({"model.dtype": "float32"}, plain, *_own_steps(request, models))


def _own_steps(request: GenerationRequest, models: Models) -> tuple[Values, ...]:
    """Return steps and guidance that the model was made for: others give pale or tinted images."""
    info = models(request.model)
    if info is None:
        return ()
    return ({"generation.num_inference_steps": info.default_steps, "generation.cfg_scale": info.default_cfg_scale},)


def _smaller(request: GenerationRequest) -> tuple[Values, ...]:
    """Less memory for the same image, then half the sides."""
    half = {"generation.width": max(64, request.width // 2), "generation.height": max(64, request.height // 2)}
    return ({"memory.low_vram": True}, {"memory.tier": "4gb"}, half)


def _first_new(request: GenerationRequest, *cures: Values) -> Values:
    """Return the first cure that is not in effect already; the last one when all are."""
    return next((cure for cure in cures if not _has(request, cure)), cures[-1])


def _has(request: GenerationRequest, values: Values) -> bool:
    return with_values(request, values) == request


def _is_cured(fault: Issue, jobs: Sequence[Job]) -> bool:
    """Return whether the cure has been taken: by a job that came after the one with the fault."""
    again = fault.cured()
    if fault.request is None or again is None:
        return False
    changes = again != fault.request  # else only the same request, run again, is the cure: any other has it, too
    for job in jobs:  # newest first
        if job.id == fault.job_id or (fault.image_id and fault.image_id in job.image_ids):
            return False
        if job.request == again or (changes and _has(job.request, fault.cure)):
            return True
    return False


def _embedded(models: Models) -> Values:
    """Return the embedded model, which is always here, at its own size."""
    info = models("demo")
    values = {"model.id": "demo"}
    if info is None:
        return values
    return {
        **values,
        "generation.width": info.default_width,
        "generation.height": info.default_height,
        "generation.num_inference_steps": info.default_steps,
        "generation.cfg_scale": info.default_cfg_scale,
    }


def _size(request: GenerationRequest) -> dict[str, int]:
    return {"width": request.width, "height": request.height}
