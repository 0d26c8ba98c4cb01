"""Show the textual inversion embeddings on the Models page: what each is for, and why one can't be used."""

from __future__ import annotations

import html

import streamlit as st

from core.studio import Studio
from ui import formats
from ui.actions import form as form_actions
from ui.i18n import t
from ui.state import loras as lora_state
from ui.state import session


def draw(studio: Studio) -> None:
    """Draw a card for each; nothing where there is none."""
    usable, unusable = studio.models.embeddings()
    if not usable and not unusable:
        return
    st.subheader(t("embeddings.title"), anchor=False)
    st.caption(t("embeddings.text"))
    with st.grid(3, min_column_width=280, gap="small", key="embedding_cards"):
        for number, one in enumerate(usable):
            with st.container(border=True, key=f"embedding_{number}"):
                facts = ((t("loras.fits"), one.family), (t("embeddings.vectors"), str(one.vectors)),
                         (t("loras.size"), formats.size_of(one.path.stat().st_size)))  # fmt: skip
                rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts)
                st.html(f'<section class="zd-card"><h3>{html.escape(one.name)}</h3><dl>{rows}</dl></section>')
                st.button(
                    t("embeddings.use"), key=f"use_embedding_{number}", icon=":material/add:", on_click=_use,
                    args=(studio, one.name),
                )  # fmt: skip
        for error in unusable.values():
            with st.container(border=True):
                st.warning(formats.literal(error.message(session.language())), icon=":material/info:")


def _use(studio: Studio, name: str) -> None:
    """Put the name into the prompt. The form may not be there yet: this page can be the first that is opened."""
    form_actions.open_form(studio)
    lora_state.add_to_prompt(f"embedding:{name}")
