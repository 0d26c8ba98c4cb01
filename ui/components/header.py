"""Show what stands on every page: the status of the worker, the language, help, and how to undo what was done last."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import streamlit as st

from core.config.loader import PROJECT_ROOT
from core.errors import StudioError
from core.server import LOGOUT
from core.studio import Studio
from ui import formats
from ui.actions import annotate
from ui.components import custom_components, error_card
from ui.i18n import t
from ui.state import form as form_state
from ui.state import history as history_state
from ui.state import session

REFRESH_SECONDS = 10


def render(studio: Studio, title: str, address: str) -> None:
    """Show the bar with the page's title, seen on a phone; below it why no worker comes up, as long as none does."""
    worker = studio.worker.status()
    st.html(f'<h1 class="zd-title">{html.escape(title)}</h1>')
    with st.container(key="topbar", horizontal=True, vertical_alignment="center", horizontal_alignment="right"):
        st.fragment(_machine, run_every=REFRESH_SECONDS)(studio, worker.trouble)
        form_state.give_widget("language_switch", session.language())
        st.segmented_control(
            t("header.language"),
            ("zh", "en"),
            format_func={"zh": "中", "en": "EN"}.__getitem__,
            key="language_switch",
            label_visibility="collapsed",
            required=True,
            on_change=lambda: session.set_language(st.session_state["language_switch"]),
        )
        button(address)
        if (name := session.user()) is not None:
            _leave(name)
    custom_components.frame(
        f"{title} · {t('app.title')}", t("app.title"), {"done": t("queue.notified"), "count": t("queue.count")},
        queue="queue",
    )  # fmt: skip
    if worker.trouble is not None:
        error_card.render(worker.trouble, "worker")


def _leave(name: str) -> None:
    """Show a link, as logging out is a page of the gate: this page ends with the session."""
    words = html.escape(t("header.log_out"))
    address = f"{LOGOUT}?lang={session.language()}"
    st.html(f'<a class="zd-leave" href="{address}" target="_self" title="{html.escape(name)}">{words}</a>')


def _machine(studio: Studio, shown: StudioError | None) -> None:
    """Rerun at intervals; the whole page, when what keeps the worker down is not what the page has told."""
    worker = studio.worker.status()
    if str(worker.trouble) != str(shown):
        st.rerun()
    parts = [
        worker.model or t(f"worker.{worker.state}"),
        worker.device,
        t("header.free", size=formats.size_of(studio.system.memory()[1])),
    ]
    words = " · ".join(html.escape(part) for part in parts if part)
    st.html(
        f'<div class="zd-machine" title="{html.escape(t("header.title"))}"><i class="{worker.state}"></i>{words}</div>'
    )


DOCS = PROJECT_ROOT / "docs"
PAGES = {  # address of a page -> its page of the documentation
    "": "generate",
    "queue": "generate",
    "history": "history",
    "compare": "benchmark",
    "sheet": "history",
    "models": "models",
    "comparison": "benchmark",
    "guide": "benchmark",
    "system": "troubleshooting",
}
MORE = (  # in the dialog's list
    "getting-started", "generate", "prompts", "img2img", "lora", "controlnet", "upscaling", "samplers", "gallery", "large-sizes",
    "speed-and-memory", "history", "benchmark", "models", "command-line", "api", "network", "troubleshooting", "performance",
    "limits", "glossary",
)  # fmt: skip
_IMAGE = re.compile(r"^!\[([^\]]*)\]\(([^)]+)\)$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?://)[^)]+\)")
_SWITCH = re.compile(r"^\[(中文|English)\]\([^)]+\)\n", re.MULTILINE)  # the link to the same page in the other language


def button(address: str) -> None:
    """Draw the button of the page at `address`."""
    if st.button("", key="help", icon=":material/help:", help=t("help.open"), type="tertiary"):
        _open(PAGES.get(address, "getting-started"))


def file_of(name: str, language: str) -> Path:
    """Return the file of a page of the documentation, in English where there is no other."""
    translated = DOCS / f"{name}.{language}.md"
    return translated if translated.is_file() else DOCS / f"{name}.md"


def parts(text: str) -> Iterator[tuple[str, str]]:
    """Yield ("text", Markdown) and ("image", path below docs); links to other pages are plain text."""
    text = _LINK.sub(r"**\1**", _SWITCH.sub("", text))
    end = 0
    for found in _IMAGE.finditer(text):
        yield "text", text[end : found.start()]
        yield "image", found[2]
        end = found.end()
    yield "text", text[end:]


def title_of(name: str, language: str) -> str:
    """Return the first heading of a page."""
    first = file_of(name, language).read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("# ")


def _open(name: str) -> None:
    """Open the dialog at a page; another one is chosen inside."""

    @st.dialog(t("help.title"), width="large")
    def shown() -> None:
        language = session.language()
        selected = st.selectbox(
            t("help.page"),
            MORE,
            index=MORE.index(name) if name in MORE else 0,
            format_func=lambda one: title_of(one, language),
            key=f"help_page_{name}",
        )
        body = file_of(selected, language).read_text(encoding="utf-8")
        for kind, part in parts(body):
            if kind == "image" and (DOCS / part).is_file():
                st.image(str(DOCS / part))
            elif kind == "text" and part.strip():
                st.markdown(part)

    shown()


def render_undo_toast(studio: Studio) -> None:
    """Draw it; it goes away by itself."""
    last = history_state.undoable()
    with_number = (last.number, last.words) if last else (0, "")
    custom_components.undo(
        *with_number, t("undo.undo"), t("history.close"), key="undo_toast", on_undo=lambda: annotate.undo(studio)
    )
