"""Render thumbnails that link to the history, as HTML for tables and rows."""

from __future__ import annotations

import html
from collections.abc import Sequence
from urllib.parse import urlencode

from ui.components import custom_components
from ui.state import session


def linked(image_id: str, prompt: str) -> str:
    """Return the thumbnail as a link; the history opens in the viewer's language."""
    place = html.escape("history?" + urlencode({"image": image_id, "lang": session.language()}), quote=True)
    source = html.escape(custom_components.thumbnail_url(image_id), quote=True)
    alt = html.escape(prompt, quote=True)
    return f'<a href="{place}" target="_self"><img src="{source}" alt="{alt}" loading="lazy"></a>'


def strip(images: Sequence[tuple[str, str]], more: str = "") -> str:
    """Return thumbnails side by side, each an id and its prompt; `more` follows them in words."""
    rest = f"<small>{html.escape(more)}</small>" if more else ""
    return f'<div class="zd-strip">{"".join(linked(*image) for image in images)}{rest}</div>'
