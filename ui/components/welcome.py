"""Show the first page of an empty studio: six prompts as cards; one click generates."""

from __future__ import annotations

import html

import streamlit as st

from core.studio import Studio
from core.studio.models import groups_of_variants, recommended_variant
from ui import prompts
from ui.actions import generate as generate_actions
from ui.components import model_card
from ui.components.custom_components import ASSETS
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import session


def draw(studio: Studio, library: prompts.Library | None) -> None:
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
