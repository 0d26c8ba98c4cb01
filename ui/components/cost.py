"""Show what the next job will cost: time, memory, and what to do when it does not fit."""

from __future__ import annotations

from core.errors import StudioError
from core.studio import Studio
from core.types import Estimate
from ui import formats
from ui.actions import input_images as input_actions
from ui.i18n import localized, t
from ui.state import form as form_state

MEGABYTE = 10**6


def words(studio: Studio) -> str:
    """Return such as "about 9 s · 13.1 GB"; "" where nothing is known of the model."""
    try:
        estimate = studio.estimates.of(studio.requests.new(form_state.form_values()))
    except StudioError:
        return ""
    parts = [*_time(estimate), *_memory(studio, estimate)]
    if estimate.measured and (run := input_actions.steps(studio)) and run[0] != run[1]:
        parts.append(t("cost.steps", steps=run[0]))
    if not estimate.fits:
        parts.append(localized(estimate.reasons[-1]))
    return " · ".join(parts)


def _time(estimate: Estimate) -> list[str]:
    """Return the seconds of the images, and of loading the model first."""
    if estimate.seconds is None:
        return []
    about = t("cost.time", time=formats.seconds(estimate.seconds))
    load = estimate.load_seconds or 0.0
    return [about, t("cost.load", time=formats.seconds(load))] if load >= 1 else [about]


def _memory(studio: Studio, estimate: Estimate) -> list[str]:
    """Return the peak, and on a GPU of how much; nothing for a small model that was not measured."""
    peak = MEGABYTE * (estimate.vram_mb or estimate.ram_mb)
    if not peak or (estimate.seconds is None and estimate.fits):
        return []
    total = max((worker.memory_total for worker in studio.worker.status().workers), default=0)
    if total:
        return [t("cost.of", peak=formats.size_of(peak), total=formats.size_of(total))]
    return [formats.size_of(peak)]
