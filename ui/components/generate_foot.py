"""Show what is around the form of the Generate page: Generate with its cost below it, and the welcome on an empty stage."""

from __future__ import annotations

import html

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.studio.models import groups_of_variants, recommended_variant
from core.types import Estimate, Job, QueueSnapshot
from ui import formats, prompts
from ui.actions import generate as generate_actions
from ui.actions import input_images as input_actions
from ui.actions import studio_calls
from ui.components import custom_components, job_status, model_card
from ui.components.custom_components import ASSETS
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import session


def render(studio: Studio, snapshot: QueueSnapshot, running: Job | None) -> None:
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
        job_status.choice()
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


def render_welcome(studio: Studio, library: prompts.Library | None) -> None:
    """Show the prompts of the library as cards."""
    st.subheader(t("welcome.title"))
    st.caption(t("welcome.text"))
    if library is None:
        return
    with st.grid(3, min_column_width=150, gap="small", key="samples"):
        for sample in library.samples:
            _card(studio, sample)
    if form_state.form_value("model.id") == "demo":
        st.caption(t("welcome.embedded"))
        _offer(studio)


def _offer(studio: Studio) -> None:
    """The variant of Z-Image-Turbo that suits this machine by one click, until one is here or on its way."""
    groups = groups_of_variants(studio.catalog.models())
    group = next((group for group in groups if group[0].id == model_card.PROMINENT), [])
    under_way = {download.model for download in studio.downloads.all() if download.state != "done"}
    here = any(one.problem is None or {one.id, *one.part_ids} & under_way for one in group)
    if not group or here or not session.is_admin():
        return
    memory = model_card.memory_of(studio)
    best = recommended_variant(group, memory.bytes)
    model_card.problem(best.id)
    model_card.get_at_once(studio, group[0], best, memory)


def _card(studio: Studio, sample: prompts.Sample) -> None:
    words = localized(sample.text)
    with st.container(border=True, key=f"sample_{sample.id}"):
        if (ASSETS / "samples" / f"{sample.id}.webp").exists():
            st.html(
                f'<img class="zd-sample" src="/samples/{sample.id}.webp" alt="{html.escape(words)}" loading="lazy">'
            )
        else:
            st.html('<div class="zd-sample zd-empty" aria-hidden="true"></div>')
        st.button(
            words,
            key=f"make_{sample.id}",
            width="stretch",
            type="tertiary",
            on_click=generate_actions.use_sample,
            args=(studio, sample),
        )
