"""Keep the state of History: filters, the open image, the selection, the pages gone through, what can be undone.

Filters and view are in the address, so that a link, F5 and the browser's own history keep them; a copy in the session keeps them
over a visit to another page, which empties the address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from core.errors import StudioError
from core.types import HistoryQuery, ImageSelection, Undo
from ui.state.session import just_entered

# Names in the address.
PLACES = ("show", "tag", "collection")  # one of them at a time is chosen in the list of places
FILTERS = (
    "q", *PLACES, "model", "size", "since", "until", "seed", "format", "min_steps", "max_steps", "min_cfg", "max_cfg",
    "rating", "unknown",
)  # fmt: skip
DISPLAY = ("sort", "order", "view", "tiles")
OPTION = "o."  # before the key of an advanced option

_FIELDS = "history_fields"
_SELECTED = "selected_image"
_CURSORS = "history_cursors"
_IMPORTING = "importing"
_IMPORT = "import_run"
_TABLE = "table_choice"
_CELL = "table_cell"
_SELECTED_IMAGES = "selected_images"
_SELECTION = "selection_version"
_HISTORY = "history_version"
_UNDO = "history_undo"
_UNDOS = "history_undos"


# -- filters and view ------------------------------------------------------------------------------------------------------


def open_history() -> None:
    """Take the filters of the address; on the way here from another page, which empties it, those of the last visit."""
    asked = {name: value for name, value in st.query_params.to_dict().items() if _is_field(name)}
    if not asked and just_entered():
        _write_address(history_fields())
    elif asked != history_fields():
        _put(asked)


def history_fields() -> Mapping[str, str]:
    """Return the filters and the view that are not as usual, by their names in the address."""
    kept: dict[str, str] = st.session_state.get(_FIELDS, {})
    return kept


def history_field(name: str) -> str:
    """Return a filter as the address has it; "" for none."""
    return history_fields().get(name, "")


def set_history_fields(changes: Mapping[str, str]) -> None:
    """Change filters or the view; "" removes one."""
    fields = {**history_fields(), **changes}
    _put({name: value for name, value in fields.items() if value})


def clear_filters() -> None:
    """Remove all filters; sort and view stay."""
    _put({name: value for name, value in history_fields().items() if name in DISPLAY})


def active_filters() -> dict[str, str]:
    """Return the filters that are set, in the order in which they were."""
    return {name: value for name, value in history_fields().items() if name not in DISPLAY}


def _put(fields: dict[str, str]) -> None:
    before = history_fields()
    st.session_state[_FIELDS] = fields
    _write_address(fields)
    if {k: v for k, v in before.items() if k not in ("view", "tiles")} != {
        k: v for k, v in fields.items() if k not in ("view", "tiles")
    }:
        first_page()


def _write_address(fields: Mapping[str, str]) -> None:
    """Put the fields into the address in one go: it is one step for the browser's Back."""
    before = st.query_params.to_dict()
    after = {**{name: value for name, value in before.items() if not _is_field(name)}, **fields}
    if after != before:
        st.query_params.from_dict(after)


def _is_field(name: str) -> bool:
    return name in FILTERS or name in DISPLAY or name.startswith(OPTION)


# -- the open image --------------------------------------------------------------------------------------------------------


def selected_image() -> str | None:
    """Return the image whose detail is open; its id is in the address, so that it can be linked to."""
    if "image" in st.query_params:
        st.session_state[_SELECTED] = st.query_params["image"]
    return st.session_state.get(_SELECTED)


def select_image(image_id: str | None) -> None:
    """Open an image beside the list, by id; None closes it."""
    st.session_state[_SELECTED] = image_id
    if image_id:
        st.query_params["image"] = image_id
    elif "image" in st.query_params:
        del st.query_params["image"]


# -- the selection ---------------------------------------------------------------------------------------------------------


def selection() -> ImageSelection:
    """Return what is selected in the gallery or the table: ids, or all that a query finds."""
    kept: ImageSelection = st.session_state.get(_SELECTED_IMAGES, ())
    return kept


def selected_images() -> tuple[str, ...]:
    """Return the images that were selected one by one."""
    kept = selection()
    return () if isinstance(kept, HistoryQuery) else tuple(kept)


def select_images(ids: Iterable[str], by_page: bool = False) -> None:
    """Select these images. `by_page`: not by a click in the gallery, which is told, then."""
    st.session_state[_SELECTED_IMAGES] = tuple(ids)
    if by_page:
        st.session_state[_SELECTION] = selection_version() + 1


def select_found(query: HistoryQuery) -> None:
    """Select all that `query` finds, less what is taken out again by clicks in the gallery."""
    st.session_state[_SELECTED_IMAGES] = query
    st.session_state[_SELECTION] = selection_version() + 1


def as_of_now(query: HistoryQuery) -> HistoryQuery:
    """Return `query` without its page, and without images that come later: nobody has seen them when all are selected."""
    now = datetime.now(UTC)
    return replace(query, cursor=None, offset=0, until=min(query.until, now) if query.until else now)


def click_choice(ids: Iterable[str]) -> None:
    """Take what the gallery says after a click: the selected ones, or, while all are selected, the exceptions."""
    kept = selection()
    st.session_state[_SELECTED_IMAGES] = replace(kept, without=tuple(ids)) if isinstance(kept, HistoryQuery) else tuple(ids)


def table_choice(table: str) -> tuple[str, ...]:
    """Return what was ticked in this table when it was last drawn; another page of it begins with nothing."""
    kept: tuple[str, tuple[str, ...]] = st.session_state.get(_TABLE, ("", ()))
    return kept[1] if kept[0] == table else ()


def table_cell() -> str | None:
    """Return the image in whose row of the table a cell was clicked last."""
    return st.session_state.get(_CELL)


def set_table_cell(image_id: str | None) -> None:
    st.session_state[_CELL] = image_id


def set_table_choice(table: str, ids: tuple[str, ...]) -> None:
    """Select what is ticked in the table."""
    st.session_state[_TABLE] = (table, ids)
    select_images(ids)


def selection_version() -> int:
    """Return a number that changes with the selection, for keys of widgets."""
    return int(st.session_state.get(_SELECTION, 0))


def history_version() -> int:
    """Return a number that changes when images were annotated or moved, so that the gallery asks again."""
    return int(st.session_state.get(_HISTORY, 0))


def renew_history() -> None:
    """Have the list read anew at the next rerun."""
    st.session_state[_HISTORY] = history_version() + 1


# -- pages of the table ----------------------------------------------------------------------------------------------------


def cursors() -> list[str | None]:
    """Return the pages gone through, by their cursor; the last is the present one."""
    return st.session_state.setdefault(_CURSORS, [None])


def first_page() -> None:
    """Start again, as another filter is set. Images selected one by one stay so; all that the other filter found do not."""
    st.session_state[_CURSORS] = [None]
    if isinstance(selection(), HistoryQuery):
        select_images((), by_page=True)


def next_page(cursor: str) -> None:
    """Go to the page after the present one; `cursor` is its start."""
    cursors().append(cursor)


def previous_page() -> None:
    """Go back one page."""
    if len(cursors()) > 1:
        cursors().pop()


# -- what can be undone ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Undoable:
    """The last action: its number, what to say of it, and what undoes it, one of the three."""

    number: int
    words: str
    changes: Undo = ()  # to apply
    trashed: tuple[str, ...] = ()  # to restore
    restored: tuple[str, ...] = ()  # to move to the trash


def undoable() -> Undoable | None:
    """Return the last action that can be undone."""
    return st.session_state.get(_UNDO)


def set_undoable(words: str, changes: Undo = (), trashed: tuple[str, ...] = (), restored: tuple[str, ...] = ()) -> None:
    """Offer to undo the last action."""
    number = st.session_state[_UNDOS] = int(st.session_state.get(_UNDOS, 0)) + 1
    st.session_state[_UNDO] = Undoable(number, words, changes, trashed, restored)


def forget_undo() -> None:
    st.session_state[_UNDO] = None


# -- the import ------------------------------------------------------------------------------------------------------------


@dataclass
class ImportRun:
    """An import under way: `paths` of this machine, or the uploaded files where there are none."""

    total: int
    paths: tuple[Path, ...] = ()
    done: int = 0
    new: int = 0
    errors: list[StudioError] = field(default_factory=list)
    cancelled: bool = False

    @property
    def over(self) -> bool:
        return self.cancelled or self.done >= self.total


def importing() -> bool:
    """Return whether the dialog for images from elsewhere is open."""
    return bool(st.session_state.get(_IMPORTING))


def set_importing(value: bool) -> None:
    """Open or close the dialog; an import that was under way is forgotten."""
    st.session_state[_IMPORTING] = value
    st.session_state[_IMPORT] = None


def import_run() -> ImportRun | None:
    return st.session_state.get(_IMPORT)


def start_import(total: int, paths: tuple[Path, ...] = ()) -> None:
    st.session_state[_IMPORT] = ImportRun(total, paths)


def cancel_import() -> None:
    if (run := import_run()) is not None:
        run.cancelled = True
