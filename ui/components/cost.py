"""What the next job will cost, from images like it: time, and the peak of memory."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from core.errors import StudioError
from core.studio import Studio
from core.types import GenerationRequest, HistoryQuery, ImageRecord
from ui import actions, formats, state
from ui.i18n import t

MOST = 8  # images that are looked at


def words(studio: Studio) -> str:
    """Return such as "about 9 s · 13.1 GB"; "" where no image of the model is known."""
    try:
        request = studio.requests.new(state.form_values())
        likes = _like(studio, request)
    except StudioError:
        return ""
    if not likes:
        return ""
    each = statistics.median(_seconds(one, request) for one in likes)
    parts = [t("cost.time", time=formats.seconds(each * request.num_images))]
    peaks = [one.peak_memory_bytes for one in likes if one.peak_memory_bytes and _same(one, request)]
    if peaks:
        parts.append(_memory(studio, max(peaks)))
    if (run := actions.steps(studio)) and run[0] != run[1]:
        parts.append(t("cost.steps", steps=run[0]))
    return " · ".join(parts)


def _like(studio: Studio, request: GenerationRequest) -> Sequence[ImageRecord]:
    """Return the latest images of the model, of this size where there are any."""
    sized = HistoryQuery(model=request.model, width=request.width, height=request.height, limit=MOST)
    found = (
        studio.history.search(sized).records
        or studio.history.search(HistoryQuery(model=request.model, limit=MOST)).records
    )
    return [one for one in found if one.timings]


def _same(record: ImageRecord, request: GenerationRequest) -> bool:
    return (record.width, record.height) == (request.width, request.height)


def _seconds(record: ImageRecord, request: GenerationRequest) -> float:
    """Return the seconds of this image, scaled to the request's pixels, steps and passes."""
    steps = record.timings.get("steps", 0.0)
    others = sum(record.timings.values()) - steps - record.timings.get("load", 0.0)
    pixels = request.width * request.height / max(1, record.width * record.height)
    own, asked = record.request, request
    passes = (1 + (asked.cfg_scale > 1)) / (1 + (own.cfg_scale > 1))
    return pixels * (others + steps * passes * asked.num_inference_steps / max(1, own.num_inference_steps))


def _memory(studio: Studio, peak: int) -> str:
    """Return the peak, and on a GPU of how much."""
    total = max((worker.memory_total for worker in studio.worker.status().workers), default=0)
    if total:
        return t("cost.of", peak=formats.size_of(peak), total=formats.size_of(total))
    return formats.size_of(peak)
