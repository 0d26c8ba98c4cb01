"""Tell which images of a job exist, and how long similar images took."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from core.config.options import SCHEMA
from core.storage.infotext import well_formed
from core.storage.tables import image_records, images
from core.types import CFG_OFF, GenerationRequest

LIKE_IMAGES = 15  # this many of the latest tell how long the next one takes


def places_of(connection: Connection, job_id: str) -> frozenset[int]:
    """Return which of its images, from 1, this job has made."""
    made = select(images.c.place).where(images.c.job_id == job_id, images.c.place.is_not(None))
    return frozenset(connection.scalars(made))


def seconds_like(connection: Connection, request: GenerationRequest) -> float | None:
    """Return the median of what the latest images like those of `request` took; None before the first.

    Alike are those of the same model, size, steps, options and kinds of input images, with guidance or without.
    """
    like = (
        images.c.width == request.width,
        images.c.height == request.height,
        images.c.model == well_formed(request.model),
        images.c.seconds >= 0,
        images.c.num_inference_steps == request.num_inference_steps,
        (images.c.cfg_scale > CFG_OFF) == request.guided,
    )
    rows = select(images.c.seconds, image_records.c.record).join(image_records).where(*like)
    found = connection.execute(rows.order_by(images.c.created_at.desc()).limit(LIKE_IMAGES)).all()
    wanted = (dict(request.options), set(request.inputs))
    same = [row.seconds for row in found if _told(row.record["requested"]) == wanted]
    return statistics.median(same) if same else None


def _told(requested: Mapping[str, Any]) -> tuple[Any, set[str]]:
    return SCHEMA.current(requested["options"]), set(requested.get("inputs", ()))
