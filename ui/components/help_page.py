"""Show the button that opens a page of the documentation over the present page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import streamlit as st

from core.config.loader import PROJECT_ROOT
from ui.i18n import t
from ui.state import session

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
