"""Show what an image was made from, step by step, what else was made of that, and what was made from the image."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import HistoryQuery, ImageRecord
from ui.components import custom_components
from ui.i18n import t
from ui.state import history as history_state

MOST = 24  # children, and branches, that are shown
LONGEST = 24  # steps back that are shown


def draw(studio: Studio, record: ImageRecord) -> None:
    """Show its input images and the strips; nothing where there are none."""
    if record.request.inputs:
        st.caption(t("lineage.inputs"))
        st.html(_inputs(record))
    strips(studio, record, history_state.select_image)


def strips(studio: Studio, record: ImageRecord, on_pick: Callable[[str], None]) -> None:
    """Show the chain of images that it was made from, the branches of that chain, and its children."""
    chain = chain_of(studio, record)
    if record.request.parent and not chain:  # deleted for good
        custom_components.quiet(t("lineage.parent_gone"))
    several = len(chain) > 1
    _strip(chain, t("lineage.chain", count=len(chain)) if several else t("lineage.parent"), "parent", on_pick)
    branches = _branches(studio, [*chain, record])
    _strip(branches, t("lineage.branches", count=len(branches)), "branches", on_pick)
    children = studio.history.search(HistoryQuery(parent=record.id, limit=MOST))
    _strip(children.records, t("lineage.children", count=children.total), "children", on_pick)


def chain_of(studio: Studio, record: ImageRecord) -> list[ImageRecord]:
    """Return the images that it was made from, the oldest first, as far back as they are still there."""
    chain: list[ImageRecord] = []
    while record.request.parent and len(chain) < LONGEST:
        try:
            record = studio.history.get(record.request.parent)
        except StudioError:
            break
        chain.insert(0, record)
    return chain


def _branches(studio: Studio, chain: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Return what else was made from the images of a chain but its last, the latest step first."""
    own = {record.id for record in chain}
    found: list[ImageRecord] = []
    for record in reversed(chain[:-1]):
        if len(found) < MOST:
            made = studio.history.search(HistoryQuery(parent=record.id, limit=MOST)).records
            found += [one for one in made if one.id not in own]
    return found[:MOST]


def _strip(records: Sequence[ImageRecord], words: str, key: str, on_pick: Callable[[str], None]) -> None:
    if records:
        st.caption(words)
        custom_components.gallery(records, words, on_pick, key=key, layout="strip")


def _inputs(record: ImageRecord) -> str:
    figures = []
    for role, digest in record.request.inputs.items():
        address, name = custom_components.input_url(digest), html.escape(t(f"lineage.{role}"))
        image = f'<a href="{address}" target="_blank" rel="noopener"><img src="{address}" alt="{name}"></a>'
        figures.append(f"<figure>{image}<figcaption>{name}</figcaption></figure>")
    return f'<div class="zd-inputs">{"".join(figures)}</div>'
