"""Format numbers and times for people."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from ui.i18n import t
from ui.timezone import local_zone

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


def seconds(value: float | None) -> str:
    """Format a duration: 0.08 s, 3.1 s, 74 s, 12 min, 31 h."""
    if value is None:
        return "–"
    if value >= 36_000:
        return f"{value / 3600:.0f} h"
    if value >= 600:
        return f"{value / 60:.0f} min"
    return f"{value:.2f} s" if value < 0.1 else f"{value:.1f} s" if value < 20 else f"{value:.0f} s"


def size_of(count: int | None) -> str:
    """Format bytes in the largest unit with a number of at least one, in powers of 1000 as hubs and disks are labelled."""
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit in ("B", "KB", "MB") else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def pixels(width: int, height: int) -> str:
    """Format a size, such as 1024 × 768."""
    return f"{width}×{height}"


def moment(when: datetime) -> str:
    """Format a time in the viewer's time zone."""
    return when.astimezone(local_zone()).strftime("%Y-%m-%d %H:%M:%S")


def literal(text: object) -> str:
    """Return text that is shown as it is where Streamlit reads Markdown: captions, warnings, labels of buttons.

    Whatever a user or a file named passes through here: an image address in a name must not call another server.
    """
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


def plain(value: Any) -> str:
    """Format a setting's value without Python's spelling."""
    if isinstance(value, bool):
        return t("value.on") if value else t("value.off")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return "–" if value is None else str(value)
