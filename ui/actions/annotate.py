"""Annotate images of the history, move them to the trash and out of it, and undo it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import AnnotationChange, HistoryQuery, ImageSelection, Undo
from ui.i18n import t
from ui.state import generate_page as generate_state
from ui.state import history as history_state
from ui.state import session as page_state

Done = TypeVar("Done")


def mark(studio: Studio, selected: ImageSelection, change: AnnotationChange) -> None:
    """Rate, tag, annotate or collect images; the page offers to undo it."""
    done = _try(lambda: studio.history.change(selected, change), many=isinstance(selected, HistoryQuery))
    if done:
        history_state.set_undoable(_words(change, done), changes=done)


def _words(change: AnnotationChange, done: Undo) -> str:
    count = sum(len(ids) for _, ids in done)
    if change == AnnotationChange(rating=change.rating):
        return t("undo.rated", stars="★" * (change.rating or 0) or t("undo.none"), count=count)
    if change == AnnotationChange(favourite=change.favourite):
        return t("undo.favorite", count=count) if change.favourite else t("undo.not_favorite", count=count)
    return t("undo.changed", count=count)


def toggle_favourite(studio: Studio, image_id: str) -> None:
    """Make an image a favorite, or no longer one: a second click undoes the first."""
    change = AnnotationChange(favourite=not _is_favourite(studio, [image_id]))
    _try(lambda: studio.history.change([image_id], change))


def favourite(studio: Studio, selected: ImageSelection) -> None:
    """Make these images favorites; where all of them are, none of them any longer."""
    try:
        change = AnnotationChange(favourite=not _is_favourite(studio, selected))
    except StudioError as error:
        page_state.set_errors([error])
        return
    mark(studio, selected, change)


def _is_favourite(studio: Studio, selected: ImageSelection) -> bool:
    query = selected if isinstance(selected, HistoryQuery) else HistoryQuery(ids=tuple(selected))
    return studio.history.search(replace(query, favourite=False, limit=1, cursor=None)).total == 0


def trash(studio: Studio, selected: ImageSelection) -> None:
    """Move images to the trash; the page offers to undo it."""
    moved = _try(lambda: studio.history.trash(selected), many=isinstance(selected, HistoryQuery))
    if moved is not None:
        _let_go(selected)
        history_state.set_undoable(t("undo.trashed", count=len(moved)), trashed=moved)


def trash_open(studio: Studio, query: HistoryQuery, image_id: str) -> None:
    """Move the open image to the trash and open the next one in the order of `query`, at its end the one before."""
    try:
        before, after = studio.history.neighbours(query, image_id)
    except StudioError as error:
        page_state.set_errors([error])
        return
    trash(studio, [image_id])
    if not page_state.errors():
        history_state.select_image(after or before)


def restore(studio: Studio, selected: ImageSelection) -> None:
    """Restore the selected images from the trash, and offer to undo it."""
    moved = _try(lambda: studio.history.restore(selected), many=isinstance(selected, HistoryQuery))
    if moved is not None:
        _let_go(selected)
        history_state.set_undoable(t("undo.restored", count=len(moved)), restored=moved)


def empty_trash(studio: Studio) -> None:
    """Delete all images in the trash for good."""
    _try(studio.history.empty_trash, many=True)
    history_state.forget_undo()
    _let_go([history_state.selected_image() or ""])


def undo(studio: Studio) -> None:
    """Undo the last action, once."""
    last = history_state.undoable()
    if last is None:
        return

    def act() -> None:
        for change, ids in last.changes:
            studio.history.change(ids, change)
        if last.trashed:
            studio.history.restore(last.trashed)
        if last.restored:
            studio.history.trash(last.restored)

    history_state.forget_undo()
    _try(act, many=True)


def history_key(studio: Studio, query: HistoryQuery, event: Mapping[str, Any]) -> None:
    """Do what a key of the History page asks for.

    It means the open image when it is pressed there; else the selection; else the image with the focus, or the open one.
    """
    act, opened = event["act"], history_state.selected_image()
    if act == "escape":
        history_state.select_image(None) if opened else history_state.select_images((), by_page=True)
        return
    if act == "all":
        history_state.select_found(history_state.as_of_now(query))
        return
    in_detail = bool(event["open"] and opened)
    selected = [opened] if in_detail and opened else history_state.selection() or [one for one in [event["id"] or opened] if one]
    if not selected:
        return
    if act == "rate":
        mark(studio, selected, AnnotationChange(rating=int(event["value"])))
    elif act == "favourite":
        favourite(studio, selected)
    elif query.trashed:
        st.toast(t("history.in_trash_already"), icon=":material/info:")
    elif opened and selected == [opened]:
        trash_open(studio, query, opened)
    else:
        trash(studio, selected)


def _try(act: Callable[[], Done], many: bool = False) -> Done | None:
    """Do it and return what it returns; None after an error, which the page shows. What may take long says so meanwhile."""
    page_state.set_errors(())
    history_state.renew_history()
    try:
        with st.spinner(t("history.working")) if many else nullcontext():
            return act()
    except StudioError as error:
        page_state.set_errors([error])
        return None


def _let_go(selected: ImageSelection) -> None:
    """Deselect and close images that left the page."""
    history_state.select_images((), by_page=True)
    if isinstance(selected, HistoryQuery) or history_state.selected_image() in selected:
        history_state.select_image(None)
    if isinstance(selected, HistoryQuery) or generate_state.shown_image() in selected:
        generate_state.show_image(None)
