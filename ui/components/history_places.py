"""Show the list of places beside the history: all images, favorites, collections, tags, imports, missing files, trash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.types import HistoryCounts
from ui.components import custom_components
from ui.components.history_filter import FAVORITES, IMPORTS, MISSING, TRASH
from ui.i18n import t
from ui.state import history as history_state

ALL = "show:"
ICONS = {FAVORITES: "favorite", IMPORTS: "upload_file", MISSING: "broken_image", TRASH: "delete"}


def draw(counts: HistoryCounts) -> None:
    """Draw the list; a click goes to one place and leaves the other filters as they are."""
    shown, tag, collection = (history_state.history_field(name) for name in history_state.PLACES)
    numbers = {FAVORITES: counts.favourites, IMPORTS: counts.imported, MISSING: counts.missing, TRASH: counts.trash}
    places = [_place(f"show:{name}", t(f"place.{name}"), count, ICONS[name], shown == name) for name, count in numbers.items()]
    everything = _place(ALL, t("place.all"), counts.all, "photo_library", not (shown or tag or collection))
    sections = [
        ("", [everything, places[0]]),
        (t("column.collections"), _labelled("collection", counts.collections, "folder", collection)),
        (t("column.tags"), _labelled("tag", counts.tags, "label", tag)),
        (t("history.others"), places[1:]),
    ]
    words = {"label": t("history.places"), "more": t("history.show_all"), "less": t("history.show_fewer")}
    custom_components.places(sections, words, key="places", on_pick=_go)


def _place(place: str, label: str, count: int, icon: str, is_open: bool) -> dict[str, Any]:
    return {"id": place, "label": label, "count": count, "icon": icon, "open": is_open}


def _labelled(kind: str, counted: Mapping[str, int], icon: str, selected: str) -> list[dict[str, Any]]:
    return [_place(f"{kind}:{name}", name, count, icon, name == selected) for name, count in counted.items()]


def _go(place: str) -> None:
    kind, _, name = place.partition(":")
    history_state.set_history_fields({**dict.fromkeys(history_state.PLACES, ""), kind: name})
