"""Show the foot of the form, always in view: Generate with the queue count, start time, Cancel, and what it will cost."""

from __future__ import annotations

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import Estimate, Job, QueueSnapshot
from ui import formats
from ui.actions import generate as generate_actions
from ui.actions import input_images as input_actions
from ui.actions import studio_calls
from ui.components import custom_components, schedule
from ui.i18n import localized, t
from ui.state import form as form_state


def draw(studio: Studio, snapshot: QueueSnapshot, running: Job | None) -> None:
    """Show the foot; `running` is the viewer's job that Cancel and Esc end, Pause and P stop between two steps and resume."""
    count = len(snapshot.jobs)
    if words := cost_words(studio):
        custom_components.quiet(words)
    with st.container(horizontal=True, vertical_alignment="center", key="foot_buttons"):
        st.button(
            t("generate.button_queue", count=count) if count else t("generate.button"),
            key="generate", type="primary", icon=":material/photo_camera:", shortcut="Ctrl+Enter",
            on_click=generate_actions.generate, args=(studio,),
        )  # fmt: skip
        schedule.choice()
        if running is not None:
            st.button(
                t("job.cancelling") if running.cancel_requested else t("job.cancel"),
                key="cancel", shortcut="Escape", disabled=running.cancel_requested,
                on_click=studio_calls.cancel, args=(studio, running.id),
            )  # fmt: skip
            st.button(
                t("queue.resume") if running.held else t("job.pause"), key="pause", shortcut="P",
                help=t("later.resume_help") if running.held else t("job.pause_help"),
                icon=":material/play_arrow:" if running.held else ":material/pause:",
                on_click=studio_calls.ask, args=(studio.queue.pause_job, running.id, not running.held),
            )  # fmt: skip


MEGABYTE = 10**6


def cost_words(studio: Studio) -> str:
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
