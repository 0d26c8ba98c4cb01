"""Describe what can be requested, as JSON: the request's schema and the studio's capabilities, both from the options."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi.encoders import jsonable_encoder

from core import __version__
from core.batch.prompt_table import COLUMNS
from core.config.options import SCHEMA
from core.config.schema import AUTO, Option
from core.server.error_responses import described
from core.server.submission import REQUEST_KEYS
from core.studio import Studio
from core.types import ROLES, ImageRecord, Job, LoraInfo, ModelInfo

_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string", "choice": "string", "list": "array"}
TERMS: dict[str, Any] = {  # what may stand in a request beside the options
    "priority": {"type": "integer", "minimum": -100, "maximum": 100, "description": "The highest runs first."},
    "not_before": {"type": "string", "format": "date-time", "description": "With time zone; the job waits until then."},
    "held": {"type": "boolean", "description": "The job waits until it is resumed."},
    "inputs": {
        "type": "object",
        "properties": {role: {"type": "string", "pattern": "^[0-9a-f]{64}$"} for role in ROLES},
        "additionalProperties": False,
        "description": "Digests of images uploaded with POST /inputs, by role.",
    },
    "parent": {
        "type": "string",
        "pattern": "^([0-9a-f]{32})?$",
        "description": "The id of the input image in the history.",
    },
    "preset": {
        "type": "string",
        "maxLength": 60,
        "description": "A preset, see GET /presets; the other fields win over it.",
    },
}
PROMPTS = "prompts"  # the field of a request that makes a batch of it


def request_options() -> list[Option]:
    """Return every option that a request may set."""
    return [*(SCHEMA.options[key] for key in REQUEST_KEYS), *SCHEMA.request_options()]


def short(key: str) -> str:
    """Return the name of an option in the request schema; aliases and full keys are accepted as well."""
    return "model" if key == "model.id" else key.removeprefix("generation.")


def order_schema() -> dict[str, Any]:
    """Return the JSON schema of a job: options, a batch, and the terms of submission."""
    fields = {short(option.key): _schema_of(option) for option in request_options()}
    return {
        "type": "object",
        "properties": {**fields, PROMPTS: _prompts_schema(fields), **TERMS},
        "anyOf": [{"required": ["prompt"]}, {"required": [PROMPTS]}],
        "additionalProperties": False,
    }


def _prompts_schema(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a list of prompts, or of what each image has other than the request itself."""
    own = {key.removeprefix("generation."): fields[key.removeprefix("generation.")] for key in COLUMNS}
    entry = {"anyOf": [{"type": "string"}, {"type": "object", "properties": own, "additionalProperties": False}]}
    words = "One job of many images. {a|b} and __name__ are resolved with the seed of each image. "
    return {"type": "array", "items": entry, "minItems": 1, "description": words + "一个任务，多张图片。"}


def _schema_of(option: Option) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _TYPES[option.type], "description": f"{option.help['en']} {option.help['zh']}"}
    if option.type in ("int", "float"):
        schema |= {"minimum": option.minimum, "maximum": option.maximum}
    if option.choices:
        schema["enum"] = list(option.choices)
    if option.type == "list":
        schema["items"] = {"type": "string"}
    if option.type == "str":
        schema["maxLength"] = int(option.maximum or 10_000)
    return {"anyOf": [schema, {"const": AUTO}]} if option.auto else schema


class CapabilitiesCache:
    """The response of /capabilities, rebuilt only when a model, LoRA or wildcard file has changed."""

    def __init__(self) -> None:
        self._made_of: tuple[Any, ...] | None = None
        self._text = b""

    def text(self, studio: Studio) -> bytes:
        """Return the JSON."""
        found: tuple[ModelInfo | LoraInfo, ...] = (*studio.catalog.models(), *studio.lora_files.all())
        made_of = ([_comparable(info) for info in found], studio.requests.wildcards(), _minute())
        if made_of != self._made_of:
            self._text = json.dumps(capabilities(studio), default=jsonable_encoder).encode("ascii")
            self._made_of = made_of
        return self._text


def _minute() -> int:
    """Return which minute it is: an image may have become the preview of a LoRA in between."""
    return int(time.monotonic() // 60)


def _comparable(info: ModelInfo | LoraInfo) -> tuple[ModelInfo | LoraInfo, Any]:
    """Return a value that equals that of an unchanged model or LoRA: errors are equal by what they say."""
    return replace(info, problem=None), described(info.problem) if info.problem else None


def capabilities(studio: Studio) -> dict[str, Any]:
    """Return models, options with their ranges, and limits."""
    with studio.catalog.remembering():
        return _capabilities(studio)


def _capabilities(studio: Studio) -> dict[str, Any]:
    limits = {
        key.removeprefix("service."): studio.settings[key] for key in SCHEMA.options if key.startswith("service.")
    }
    models = studio.catalog.models()
    return {
        "wildcards": studio.requests.wildcards(),
        "version": __version__,
        "models": [{**model_json(model), "prompt_problem": studio.prompt_help.problem(model.id)} for model in models],
        "loras": [lora_json(lora, models) for lora in studio.models.loras()],
        "options": [_option_json(option) for option in request_options()],
        "limits": limits,
    }


def model_json(model: ModelInfo) -> dict[str, Any]:
    """Return a model as JSON, without local paths."""
    hidden = {"path", "base", "frame", "problem"}
    facts = {name: value for name, value in vars(model).items() if name not in hidden}
    return {**facts, "problem": described(model.problem) if model.problem else None}


def lora_json(lora: LoraInfo, models: Sequence[ModelInfo]) -> dict[str, Any]:
    """Return a LoRA as JSON, without local paths, with the ids of compatible models."""
    facts = {name: value for name, value in vars(lora).items() if name not in ("path", "problem")}
    fits = [model.id for model in models if lora.problem is None and lora.fits(model)]
    return {**facts, "fits": fits, "problem": described(lora.problem) if lora.problem else None}


def _option_json(option: Option) -> dict[str, Any]:
    names = ("key", "type", "default", "minimum", "maximum", "step", "unit", "choices", "auto", "group", "implemented")
    facts = {name: getattr(option, name) for name in names}
    texts = {"takes_effect": option.takes_effect, "label": option.label, "help": option.help}
    return {**facts, "built": option.implemented, **texts}  # clients of version 0.1 read `built`


def job_json(job: Job) -> dict[str, Any]:
    """Return a job as JSON, without its client, and without the values of single images of a batch."""
    request, progress = job.request, job.progress
    described_request = {name: value for name, value in vars(request).items() if name != "images"}
    return {
        "id": job.id,
        "state": job.state,
        "position": job.position,
        "priority": job.priority,
        "held": job.held,
        "cancel_requested": job.cancel_requested,
        "crashes": job.crashes,
        "not_before": _moment(job.not_before),
        "created_at": _moment(job.created_at),
        "started_at": _moment(job.started_at),
        "finished_at": _moment(job.finished_at),
        "progress": None
        if progress is None
        else {
            **{name: value for name, value in vars(progress).items() if name != "preview"},
            "fraction": progress.fraction,
        },
        "error": described(job.error) if job.error else None,
        "images": [{"id": image_id, "url": f"/api/v1/images/{image_id}"} for image_id in job.image_ids],
        "preview": f"/api/v1/jobs/{job.id}/preview",
        "request": {**described_request, "options": dict(request.options), "inputs": dict(request.inputs)},
    }


def record_json(record: ImageRecord) -> dict[str, Any]:
    """Return the record of an image as JSON, without its path and annotations."""
    return {
        "id": record.id,
        "job_id": record.job_id,
        "created_at": _moment(record.created_at),
        "format": record.format,
        "width": record.width,
        "height": record.height,
        "request": {
            **vars(record.request),
            **dict.fromkeys(sorted(record.unknown)),
            "options": dict(record.request.options),
            "inputs": dict(record.request.inputs),
        },
        "rendered_size": list(record.rendered_size),
        "timings": dict(record.timings),
        "effective": dict(record.effective),
        "decisions": [{**vars(decision), "reason": dict(decision.reason)} for decision in record.decisions],
        "peak_memory_bytes": record.peak_memory_bytes,
    }


def _moment(when: datetime | None) -> str | None:
    return when.isoformat() if when else None
