"""Three small elements that Streamlit lacks: a picture by URL that changes without flicker, facts that copy, a gallery.

Their data is set as text and attributes by the scripts in ui/assets, never as HTML: a prompt can't become markup.
What this module does not know: where pictures are; it makes addresses out of ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

from core.types import ImageRecord

ASSETS = Path(__file__).parents[1] / "assets"


def _component(name: str, html: str) -> Callable:
    script, style = (ASSETS / f"{name}.js", ASSETS / f"{name}.css")
    return st.components.v2.component(
        f"darkroom_{name}", html=html, css=style.read_text(encoding="utf-8"), js=script.read_text(encoding="utf-8")
    )


_picture = _component("picture", '<div class="frame empty"><a target="_blank" rel="noopener"><img alt=""></a></div>')
_facts = _component("facts", '<div class="facts"></div>')
_gallery = _component("gallery", '<div class="gallery" role="group"></div>')


def picture(
    src: str, alt: str, size: tuple[int, int], *, key: str, forming: bool = False, reveal: bool = False
) -> None:
    """A picture as large as fits.

    `forming` is a preview, or an empty frame that waits while `src` is empty; `reveal` scrolls a new picture into view.
    """
    shape = {"width": size[0], "height": size[1]}
    _picture(key=key, data={"src": src, "alt": alt, **shape, "forming": forming, "reveal": reveal})


def facts(rows: Sequence[tuple[str, str, str]], hint: str, done: str, *, key: str) -> None:
    """(label, value, what a click copies) in one line; `done` is said after a copy."""
    _facts(key=key, data={"facts": [list(row) for row in rows], "hint": hint, "done": done})


def gallery(
    records: Sequence[ImageRecord],
    label: str,
    on_pick: Callable[[str], None],
    *,
    key: str,
    layout: str = "grid",
    selected: str | None = None,
) -> None:
    """Thumbnails; `on_pick` gets the id of the one that is chosen."""
    items = [{"id": record.id, "src": thumbnail_url(record.id), "alt": record.request.prompt} for record in records]

    def picked() -> None:
        image_id = st.session_state[key].get("picked")
        if image_id:
            on_pick(image_id)

    _gallery(
        key=key,
        data={"items": items, "label": label, "layout": layout, "selected": selected},
        on_picked_change=picked,
    )


def image_url(image_id: str) -> str:
    return f"/api/images/{image_id}"


def thumbnail_url(image_id: str) -> str:
    return f"/api/thumbnails/{image_id}"


def preview_url(job_id: str, moment: str) -> str:
    """`moment` changes when there is something new to see, so that the browser asks again."""
    return f"/api/jobs/{job_id}/preview?at={moment}"
