"""Split a job into calls to another studio: one for a job, or one for each image of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.types import SET_FIELDS, GenerationRequest


@dataclass(frozen=True)
class RemoteRequest:
    """One call to the remote studio. Its images are identified by their seeds."""

    request: GenerationRequest
    there: GenerationRequest  # the same, with its input images as they are called there
    key: str
    before: int  # how many images of the job come before it
    images: int  # of the job

    @property
    def per_image_requests(self) -> Mapping[int, GenerationRequest]:
        """Return the request of each image by its seed."""
        return {single.seed: single for single in self.request.per_image_requests()}

    @property
    def places(self) -> Mapping[int, int]:
        """Return the index of each image in the job, from 1, by its seed."""
        return {seed: self.before + k for k, seed in enumerate(self.per_image_requests, start=1)}


def remote_requests_of(request: GenerationRequest, there: GenerationRequest, job_id: str) -> list[RemoteRequest]:
    """Return one remote request, or one for each image of a batch with different prompts or sizes."""
    if not request.images:
        return [RemoteRequest(request, there, f"zdarkroom-{job_id}", 0, request.num_images)]
    pairs = list(zip(request.per_image_requests(), there.per_image_requests(), strict=True))
    return [RemoteRequest(*pair, f"zdarkroom-{job_id}-{k + 1}", k, len(pairs)) for k, pair in enumerate(pairs)]


def values_of(request: GenerationRequest) -> dict[str, Any]:
    """Return the request as the API takes it; the file is transferred as PNG and converted to the wanted format here."""
    values: dict[str, Any] = {f"generation.{name}": getattr(request, name) for name in SET_FIELDS}
    inputs = {"inputs": dict(request.inputs)} if request.inputs else {}
    return {**request.options, **values, **inputs, "model.id": request.model, "output.format": "png"}
