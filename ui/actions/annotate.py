"""What is done with images of the history: rated, tagged, put into the trash and out of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import AnnotationChange, HistoryQuery, ImageSelection
from ui import state
from ui.i18n import t


def mark(studio: Studio, chosen: ImageSelection, change: AnnotationChange) -> None:
    """Rate, tag, note or collect images."""
    _try(lambda: studio.history.change(chosen, change), many=isinstance(chosen, HistoryQuery))


def toggle_favourite(studio: Studio, image_id: str) -> None:
    _try(
        lambda: studio.history.change(
            [image_id], AnnotationChange(favourite=not studio.history.get(image_id).marks.favourite)
        )
    )


def trash(studio: Studio, chosen: ImageSelection) -> None:
    """Into the trash, and out of sight."""
    if _try(lambda: studio.history.trash(chosen), many=isinstance(chosen, HistoryQuery)):
        _let_go(chosen)


def trash_shown(studio: Studio, image_id: str) -> None:
    """Move the image on the stage to the trash, and say how to have it back."""
    trash(studio, [image_id])
    st.toast(t("picture.trashed"), icon=":material/delete:")


def restore(studio: Studio, chosen: ImageSelection) -> None:
    if _try(lambda: studio.history.restore(chosen), many=isinstance(chosen, HistoryQuery)):
        _let_go(chosen)


def empty_trash(studio: Studio) -> None:
    _try(studio.history.empty_trash, many=True)
    _let_go([state.selected_image() or ""])


def _try(act: Callable[[], object], many: bool = False) -> bool:
    """Do it; a problem is shown on the page. What may take long says so meanwhile."""
    state.set_errors(())
    state.renew_history()
    try:
        with st.spinner(t("history.working")) if many else nullcontext():
            act()
    except StudioError as error:
        state.set_errors([error])
        return False
    return True


def _let_go(chosen: ImageSelection) -> None:
    """Images that left the page are neither chosen nor open any more."""
    state.choose_images((), by_page=True)
    everything = isinstance(chosen, HistoryQuery)
    if everything or state.selected_image() in chosen:
        state.select_image(None)
    if everything or state.shown_image() in chosen:
        state.show_image(None)
