"""Show the prompt builder: words by topic from the prompt library, added to the prompt at a click."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from ui import prompts
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import session

PROMPT = "generation.prompt"


def draw(library: prompts.Library | None) -> None:
    """Show words by slot. A choice writes its words into the prompt, in the place of the ones chosen before."""
    if library is None:
        return
    with st.popover(t("generate.ideas"), icon=":material/lightbulb:", key="ideas", on_change="rerun") as panel:
        if not panel.open:
            return
        names = {kind.id: localized(kind.name) for kind in library.kinds}
        selected = library.kinds[0].id
        if len(names) > 1:
            selected = st.segmented_control(
                t("generate.kind"),
                list(names),
                format_func=names.__getitem__,
                default=selected,
                required=True,
                key=session.labelled("idea_kind"),
                label_visibility="collapsed",
            )
        kind = next(kind for kind in library.kinds if kind.id == selected)
        write = _writer(library, kind)
        for slot in kind.slots:
            words = [localized(word) for word in slot.words]
            st.pills(
                localized(slot.name),
                range(len(words)),
                format_func=words.__getitem__,
                key=session.labelled(_slot_key(kind, slot)),
                on_change=write,
            )


def _slot_key(kind: prompts.Kind, slot: prompts.Slot) -> str:
    return f"slot_{kind.id}_{slot.id}"


def _writer(library: prompts.Library, kind: prompts.Kind) -> Callable[[], None]:
    def write() -> None:
        picked = {slot.id: st.session_state.get(_slot_key(kind, slot)) for slot in kind.slots}
        selected = {slot: number for slot, number in picked.items() if number is not None}
        words = prompts.compose(library, kind, selected, session.language())
        separator = library.separator[session.language()]
        prompt = prompts.replace_words(form_state.form_value(PROMPT) or "", form_state.slot_text(), words, separator)
        form_state.fill_form({PROMPT: prompt})
        form_state.set_slot_text(words)

    return write
