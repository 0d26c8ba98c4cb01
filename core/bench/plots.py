"""Draw the plots of docs/performance.md from its tables, in both languages: `python -m core.bench.plots`.

A plot shows the last table before its link in the page, as an SVG of horizontal bars. It takes its colors from the theme of the
reader's browser and names no font, so that it needs nothing from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from core.config.loader import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
LANGUAGES = ("en", "zh")
WIDTH, LABEL, VALUE, LINE, BAR = 760, 300, 80, 24, 14  # px: of the plot, of its labels and values, of a row, of its bar
STYLE = (
    "text{font:13px sans-serif;fill:#333}rect{fill:#c77b1e}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}rect{fill:#f2a33a}}"
)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Plot:
    """A plot: its file name, and the columns of the table that have its labels and its values (0 = the first)."""

    name: str
    labels: tuple[int, ...]
    value: int

    def file(self, language: str) -> Path:
        """Return the plot's file, of a language."""
        return DOCS / "plots" / (f"{self.name}.svg" if language == "en" else f"{self.name}.{language}.svg")

    def svg(self, language: str) -> str:
        """Return the plot of the language's page. Raises ValueError if the page has no such table with numbers before its link."""
        before, link, _ = page(language).read_text(encoding="utf-8").partition(f"(plots/{self.file(language).name})")
        found = tables(before)
        if not link or not found or max(*self.labels, self.value) >= len(found[-1][0]):
            raise ValueError(f"{page(language).name} has no table with the column {self.value} before the plot {self.name}")
        head, *rows = found[-1]
        return bars(head[self.value], [(" · ".join(row[at] for at in self.labels), row[self.value]) for row in rows])


PLOTS = (
    Plot("rope", (0, 1), 3),
    Plot("vae-memory", (0,), 2),
    Plot("gpu", (0,), 1),
)


def page(language: str) -> Path:
    """Return the page whose tables are drawn."""
    return DOCS / ("performance.md" if language == "en" else f"performance.{language}.md")


def tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a Markdown text: rows of cells, the heads first, without the line of dashes."""
    return [list(_rows(block)) for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)]


def _rows(block: str) -> Iterator[list[str]]:
    for number, line in enumerate(block.strip().splitlines()):
        if number != 1:
            yield [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]


def bars(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return an SVG with a bar for each pair of label and value; values are texts that begin with a number."""
    numbers = [float(found[0].replace(",", "")) if (found := NUMBER.search(value)) else 0.0 for _, value in rows]
    if not any(numbers):
        raise ValueError(f"no numbers in the column {title!r}")
    scale = (WIDTH - LABEL - VALUE) / max(numbers)
    height = LINE * (len(rows) + 1) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<style>{STYLE}</style>",
        f'<text x="{LABEL}" y="{LINE - 8}" font-weight="bold">{escape(title)}</text>',
    ]
    for number, ((label, value), amount) in enumerate(zip(rows, numbers, strict=True), start=1):
        middle = LINE * number + LINE // 2
        width = amount * scale
        lines.append(f'<text x="{LABEL - 8}" y="{middle + 4}" text-anchor="end">{escape(label)}</text>')
        lines.append(f'<rect x="{LABEL}" y="{middle - BAR // 2}" width="{width:.1f}" height="{BAR}"/>')
        lines.append(f'<text x="{LABEL + width + 6:.1f}" y="{middle + 4}">{escape(value)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Write every plot in every language."""
    for plot in PLOTS:
        for language in LANGUAGES:
            file = plot.file(language)
            file.parent.mkdir(exist_ok=True)
            file.write_text(plot.svg(language), encoding="utf-8")
            print(file)


if __name__ == "__main__":
    main()
