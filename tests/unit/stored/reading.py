"""Describe stored things in plain words (prompt, CFG scale, size, option keys), whatever the code calls them by now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config.options import SCHEMA
from core.errors import StudioError
from core.types import GenerationRequest, HistoryQuery, ImageRecord, Job


def plain(value: Any) -> Any:
    """Return `value` as JSON would give it back: tuples become lists, enums become texts."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def request_facts(request: GenerationRequest) -> dict[str, Any]:
    """Return what a request asks for; `cfg_scale` is 1 when guidance is off, for every family of models."""
    return {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "model": request.model,
        "width": request.width,
        "height": request.height,
        "steps": request.num_inference_steps,
        "cfg_scale": request.cfg_scale,
        "seed": request.seed,
        "images": request.num_images,
        "options": plain(request.options),
        "template": request.template,
        "batch": [batch_facts(own) for own in request.images],
        "inputs": plain(request.inputs),
        "parent": request.parent,
    }


def batch_facts(own: Any) -> dict[str, Any]:
    """Return what one image of a batch has of its own."""
    names = {"num_inference_steps": "steps"}
    return {names.get(name, name): value for name, value in own.items()}


def image_facts(record: ImageRecord) -> dict[str, Any]:
    """Return everything that is known of a stored image."""
    return {
        "id": record.id,
        "job": record.job_id,
        "created_at": record.created_at.isoformat(),
        "file": record.file,
        "format": record.format,
        "size": [record.width, record.height],
        "bytes": record.bytes,
        "rendered_size": list(record.rendered_size),
        "timings": plain(record.timings),
        "effective": plain(record.effective),
        "decisions": [
            {
                "option": decision.option,
                "requested": plain(decision.requested),
                "effective": plain(decision.effective),
                "reason": plain(decision.reason),
            }
            for decision in record.decisions
        ],
        "peak_memory_bytes": record.peak_memory_bytes,
        "missing": record.missing,
        "rating": record.marks.rating,
        "favourite": record.marks.favourite,
        "note": record.marks.note,
        "tags": list(record.marks.tags),
        "collections": list(record.marks.collections),
        "trashed_at": record.trashed_at.isoformat() if record.trashed_at else None,
        "index": record.place,
        "request": request_facts(record.request),
    }


def job_facts(job: Job) -> dict[str, Any]:
    """Return everything that is known of a job."""
    return {
        "id": job.id,
        "state": str(job.state),
        "created_at": job.created_at.isoformat(),
        "started_at": job.started_at.isoformat() if job.started_at else None,
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        "images": list(job.image_ids),
        "error": None if job.error is None else error_facts(job.error),
        "position": job.position,
        "client": job.client,
        "priority": job.priority,
        "not_before": job.not_before.isoformat() if job.not_before else None,
        "paused": job.held,
        "crashes": job.crashes,
        "request": request_facts(job.request),
    }


STORED_ERRORS = {  # an error class -> the code that version 0.1 stored it under
    "CorruptImageError": "BrokenPictureError",
    "InputImageError": "InputPictureError",
    "InputCombinationError": "InputsError",
    "ImportFileError": "PictureFileError",
}


def error_facts(error: StudioError) -> dict[str, Any]:
    """Describe an error by the names that version 0.1 used."""
    values = {"came" if name == "value" else name: value for name, value in plain(error.values).items()}
    return {"code": STORED_ERRORS.get(error.code, error.code), "values": values}


SORT_NAMES = {"steps": "num_inference_steps"}


def query_of(facts: dict[str, Any]) -> HistoryQuery:
    """Return the question to the history that `facts` describe in plain words."""
    named = dict(facts)
    if "sort" in named:
        named["sort"] = SORT_NAMES.get(named["sort"], named["sort"])
    return HistoryQuery(**named)


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by option key under the keys that the options have now."""
    return {SCHEMA.canonical(key): value for key, value in values.items()}


def with_cfg(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored values with the CFG scale that version 0.1.0 kept as CFG - 1 under `guidance_scale`."""
    found = renamed(values)
    if "generation.guidance_scale" in found:
        found["generation.cfg_scale"] = found.pop("generation.guidance_scale") + 1
    return found


def known_options(facts: dict[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return `facts` without the options that the version which stored them did not know."""
    keys = renamed(expected)
    return {**facts, "options": {key: value for key, value in facts["options"].items() if key in keys}}


def expected_request(expected: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a stored request with its options under their present keys."""
    return {**expected, "options": renamed(expected["options"])}
