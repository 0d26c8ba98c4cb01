"""Show what an image was made from, and what was made from it."""

from __future__ import annotations

import html

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import HistoryQuery, ImageRecord
from ui.components import custom_components
from ui.i18n import t
from ui.state import history as history_state

MOST = 24  # children that are shown


def draw(studio: Studio, record: ImageRecord) -> None:
    """Show its parent and its input images, then its children; nothing where there are none."""
    if record.request.inputs:
        st.caption(t("lineage.inputs"))
        st.html(_inputs(record))
    if record.request.parent:
        try:
            parent = studio.history.get(record.request.parent)
        except StudioError:  # deleted for good
            custom_components.quiet(t("lineage.parent_gone"))
        else:
            st.caption(t("lineage.parent"))
            custom_components.gallery((parent,), t("lineage.parent"), history_state.select_image, key="parent", layout="strip")
    children = studio.history.search(HistoryQuery(parent=record.id, limit=MOST))
    if children.total:
        words = t("lineage.children", count=children.total)
        st.caption(words)
        custom_components.gallery(children.records, words, history_state.select_image, key="children", layout="strip")


def _inputs(record: ImageRecord) -> str:
    figures = []
    for role, digest in record.request.inputs.items():
        address, name = custom_components.input_url(digest), html.escape(t(f"lineage.{role}"))
        image = f'<a href="{address}" target="_blank" rel="noopener"><img src="{address}" alt="{name}"></a>'
        figures.append(f"<figure>{image}<figcaption>{name}</figcaption></figure>")
    return f'<div class="zd-inputs">{"".join(figures)}</div>'
