"""Convert requests, progress, errors, jobs and worker statuses to JSON rows and back.

Reading a job never raises, whatever the row holds (fields of a newer version, manual edits), so one bad row does not
break the queue page. Only `read_request` is strict: a worker must not guess what to generate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cache, lru_cache
from typing import Any, get_origin, get_type_hints

from core.config.options import SCHEMA
from core.errors import GenerationError, StudioError
from core.storage.database import moment
from core.types import (
    OWN_FIELDS,
    Capability,
    ClusterNode,
    ClusterWorker,
    Decision,
    GenerationRequest,
    Job,
    JobState,
    Phase,
    Progress,
    WorkerStatus,
    with_cfg,
)  # fmt: skip

_OWN_WORDS = ("updated_at", "trouble")  # of a status: what others say of the worker, not it of itself


_OLD_NAMES = {"cards": "gpus", "card": "gpu"}


class UnreadableRequest(ValueError):
    """The stored request can't be read."""


def write_request(request: GenerationRequest) -> dict[str, Any]:
    """Return the request as a JSON object, without the images of a batch, which have their own table."""
    data = {f.name: getattr(request, f.name) for f in fields(request) if f.name != "images"}
    return {**data, "options": dict(request.options), "inputs": dict(request.inputs)}


def read_request(text: str, images: str | None = None) -> GenerationRequest:
    """Return the request that `write_request` wrote. UnreadableRequest says what is wrong."""
    request = _read_plain(text)
    return request if images is None else replace(request, images=read_images(images))


@lru_cache(maxsize=512)  # more than two pages of the queue: read at every look, and never written again
def _read_plain(text: str) -> GenerationRequest:
    """Return the request without the images of a batch."""
    data = _parsed(text)
    if not isinstance(data, dict):
        raise UnreadableRequest(f"the stored request is a {type(data).__name__}, not an object")
    data = with_cfg(data)
    _check_fields(data, "the stored request")
    if "prompt" not in data:
        raise UnreadableRequest("the stored request has no prompt")
    return GenerationRequest(**{**data, "options": SCHEMA.current(data.get("options", {}))})


@lru_cache(maxsize=16)  # read at every look at a job, and never written again
def read_images(text: str) -> tuple[Mapping[str, Any], ...]:
    """Return the own values of each image of a batch. UnreadableRequest says what is wrong."""
    data = _parsed(text)
    if not isinstance(data, list) or not data:
        raise UnreadableRequest(f"the stored images are a {type(data).__name__}, not a list of some")
    data = [with_cfg(own) if isinstance(own, dict) else own for own in data]
    for own in data:
        if not isinstance(own, Mapping) or not set(own) <= set(OWN_FIELDS):
            raise UnreadableRequest("a stored image has fields that images cannot have of their own")
        _check_fields(own, "a stored image")
    return tuple(data)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UnreadableRequest(f"the stored request is not JSON ({error})") from None


def _check_fields(data: Mapping[str, Any], what: str) -> None:
    kinds = _request_kinds()
    for name, value in data.items():
        if name not in kinds:
            raise UnreadableRequest(f"{what} has an unknown field {name}")
        if isinstance(value, bool) or not isinstance(value, (int, float) if kinds[name] is float else kinds[name]):
            raise UnreadableRequest(f"{name} of {what} is a {type(value).__name__}")


def write_progress(progress: Progress) -> dict[str, Any]:
    """Return the progress as a JSON object, without its preview, which has its own table."""
    return {f.name: getattr(progress, f.name) for f in fields(progress) if f.name != "preview"}


def read_progress(text: str | None) -> Progress | None:
    """Return the progress that `write_progress` wrote; None when there is none or it can't be read."""
    if text is None:
        return None
    try:
        data = json.loads(text)
        return Progress(**{**data, "phase": Phase(data["phase"])}) if data else None
    except (ValueError, TypeError, KeyError):
        return None


def read_error(text: str | None) -> StudioError | None:
    """Return the error that `StudioError.to_dict` wrote; an unreadable one becomes a plain StudioError with its text."""
    try:
        data = json.loads(text) if text else None
        return StudioError.from_dict(data) if data else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return StudioError(detail=text)


def read_job(row: Mapping[str, Any], image_ids: Sequence[str]) -> Job:
    """Return the job of a row whose JSON columns are text."""
    state = JobState(row["state"])
    error = read_error(row["error"])
    try:
        request = read_request(row["request"], row["pictures"])
    except UnreadableRequest as problem:
        request, error = GenerationRequest(prompt=""), error or GenerationError(detail=problem)
    created = moment(row["created_at"])
    assert created is not None
    return Job(
        id=row["id"],
        state=state,
        request=request,
        created_at=created,
        started_at=moment(row["started_at"]),
        finished_at=moment(row["finished_at"]),
        progress=read_progress(row["progress"]),
        image_ids=tuple(image_ids),
        error=error,
        position=row["position"],
        cancel_requested=bool(row["cancel_requested"]),
        client=row["client"],
        priority=row["priority"],
        not_before=moment(row["not_before"]),
        held=bool(row["held"]),
        crashes=row["crashes"],
    )


def write_status(status: WorkerStatus) -> dict[str, Any]:
    """Return the status as a JSON object; values of decisions that JSON can't express become text."""
    data = {f.name: getattr(status, f.name) for f in fields(status) if f.name not in _OWN_WORDS}
    decisions = [{f.name: getattr(decision, f.name) for f in fields(decision)} for decision in status.decisions]
    data |= {"decisions": decisions, "capabilities": [vars(capability) for capability in status.capabilities]}
    data |= {"nodes": [vars(node) for node in status.nodes], "workers": [vars(worker) for worker in status.workers]}
    plain: dict[str, Any] = json.loads(json.dumps(data, default=_plain))
    return plain


def read_status(data: Mapping[str, Any], updated_at: str) -> WorkerStatus:
    """Return the status that `write_status` wrote, and when."""
    decisions = tuple(Decision(**decision) for decision in data["decisions"])
    capabilities = tuple(Capability(**capability) for capability in data.get("capabilities", ()))
    nodes = tuple(ClusterNode(**_renamed(node)) for node in data.get("nodes", ()))
    workers = tuple(ClusterWorker(**_renamed(worker)) for worker in data.get("workers", ()))
    cluster = {"nodes": nodes, "workers": workers}
    parts = {"decisions": decisions, "capabilities": capabilities, "updated_at": moment(updated_at)}
    return WorkerStatus(**{**data, **parts, **cluster})


def _renamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a machine or worker with the names of today: version 0.1 of another machine may have written the row."""
    return {_OLD_NAMES.get(name, name): value for name, value in fields.items()}


@cache
def _request_kinds() -> dict[str, type]:
    """Return the type of each field of a request. Cached: finding it takes longer than reading a request."""
    return {name: get_origin(hint) or hint for name, hint in get_type_hints(GenerationRequest).items()}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)
