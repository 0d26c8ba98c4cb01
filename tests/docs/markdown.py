"""Read the project's Markdown: its files, links, headings and code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.config.loader import PROJECT_ROOT

PAGES = sorted(
    path
    for path in (*PROJECT_ROOT.glob("*.md"), *PROJECT_ROOT.glob("docs/**/*.md"), PROJECT_ROOT / "configs" / "README.md")
    if ".venv" not in path.parts
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]\n]*\]\(([^)\s]+)\)")
_SOURCE = re.compile(r"""(?:src|srcset)=["']([^"']+)["']""")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, line (from 1), language and text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def id(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    """Return the path of a page below the project."""
    return page.relative_to(PROJECT_ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])


def links(page: Path) -> Iterator[str]:
    """Yield the targets of all links and images outside code blocks."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    yield from (found[1] for pattern in (_LINK, _SOURCE) for found in pattern.finditer(text))


def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return frozenset(re.sub(r"[^\w\- ]", "", found[1].lower()).replace(" ", "-") for found in _HEADING.finditer(text))


def commands(block: Block) -> Iterator[str]:
    """Yield the arguments of each `python3 start.py` in a shell block, continued lines joined."""
    for line in block.text.replace("\\\n", " ").splitlines():
        found = re.search(r"python3 start\.py(.*?)(\s*;|\s&&|\s\||\s>|$)", line)
        if found is not None:
            yield found[1].strip()
