"""The first page of a studio that has made nothing yet: six prompts as cards; one click makes one."""

from __future__ import annotations

import html

import streamlit as st

from core.studio import Studio
from ui import actions, prompts, state
from ui.components.custom_components import ASSETS
from ui.i18n import said, t


def draw(studio: Studio, library: prompts.Library | None) -> None:
    st.subheader(t("welcome.title"))
    st.caption(t("welcome.text"))
    if library is None:
        return
    with st.grid(3, min_column_width=150, gap="small", key="samples"):
        for sample in library.samples:
            _card(studio, sample)
    if state.form()["model.id"] == "demo":
        st.caption(t("welcome.embedded"))


def _card(studio: Studio, sample: prompts.Sample) -> None:
    words = said(sample.text)
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
            on_click=actions.use_sample,
            args=(studio, sample),
        )
