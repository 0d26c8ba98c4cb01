"""Show what was done last, with a button that undoes it, on every page, as one may go on meanwhile."""

from __future__ import annotations

from core.studio import Studio
from ui.actions import annotate
from ui.components import custom_components
from ui.i18n import t
from ui.state import history as history_state


def draw(studio: Studio) -> None:
    """Draw it; it goes away by itself."""
    last = history_state.undoable()
    with_number = (last.number, last.words) if last else (0, "")
    custom_components.undo(
        *with_number, t("undo.undo"), t("history.close"), key="undo_toast", on_undo=lambda: annotate.undo(studio)
    )
