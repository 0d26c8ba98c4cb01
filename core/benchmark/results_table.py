"""Format the results of a benchmark as values, as CSV, as lines of text and as a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from core.benchmark.report import BenchmarkReport, ColumnResult, Metrics
from core.benchmark.votes import Tally, tallies
from core.config.loader import to_yaml
from core.errors import NotFoundError
from core.history import contact_sheet
from core.history.csv_safe import csv_line, harmless
from core.storage.infotext import well_formed
from core.studio import Studio
from core.types import ImageRecord, Vote

MEGA = 10**6
NOTHING = "-"


def rows(report: BenchmarkReport, votes: Sequence[Vote]) -> list[dict[str, Any]]:
    """Return one object per column; unmeasured values are None. Seconds, bytes, shares from 0 to 1."""
    counts = tallies(votes, len(report.columns))
    return [_row(measured, tally) for measured, tally in zip(report.columns, counts, strict=True)]


def _row(measured: ColumnResult, tally: Tally) -> dict[str, Any]:
    column, figures = measured.column, measured.figures
    right, asked = figures.obeyed or (None, None)
    return {
        "column": column.name,
        "model": column.model,
        "settings": dict(column.values),
        "generated": figures.made,
        "wanted": figures.wanted,
        "load_seconds": figures.load_seconds,
        "seconds": figures.seconds,
        "steps_per_second": figures.steps_per_second,
        "peak_memory_bytes": figures.peak_memory_bytes,
        "disk_bytes": figures.disk_bytes,
        "attributes_right": right,
        "attributes_asked": asked,
        "sharpness": figures.sharpness,
        "clipped": figures.clipped,
        "cast": figures.cast,
        "faults": list(figures.faults),
        "wins": tally.wins,
        "losses": tally.losses,
        "equal": tally.equal,
        "state": str(measured.job.state) if measured.job else None,
        "error": measured.error.message("en") if measured.error else None,
        "pictures": figures.made,  # the former name of `generated`, kept for programs that read it
    }


def as_json(report: BenchmarkReport, votes: Sequence[Vote]) -> dict[str, Any]:
    """Return the whole benchmark: its plan, the table, and the image ids by column, row by row (null: none)."""
    benchmark = report.benchmark
    all_generated = [[record.id if record else None for record in measured.images] for measured in report.columns]
    return {
        "id": benchmark.id,
        "created_at": benchmark.created_at.isoformat(),
        "prompts": list(benchmark.prompts),
        "seeds": list(benchmark.seeds),
        "complete": report.complete,
        "active": report.active,
        "fraction": round(report.fraction, 4),
        "columns": [
            {**row, "images": images} for row, images in zip(rows(report, votes), all_generated, strict=True)
        ],
    }  # fmt: skip


def csv(report: BenchmarkReport, votes: Sequence[Vote]) -> bytes:
    """Return the table as CSV with a byte order mark, one line per column. Formulas in names are escaped."""
    lines = [{**row, "settings": to_yaml(row["settings"]).strip() if row["settings"] else "", "faults": "; ".join(row["faults"])}
             for row in rows(report, votes)]  # fmt: skip
    names = list(lines[0])
    body = [csv_line([_cell(line[name]) for name in names]) for line in lines]
    return "\ufeff".encode() + csv_line(names) + b"".join(body)


def _cell(value: Any) -> Any:
    return harmless(well_formed(value)) if isinstance(value, str) else "" if value is None else value


def text(report: BenchmarkReport, language: str) -> str:
    """Format the table for a terminal, one line per column."""
    names = [measured.column.name for measured in report.columns]
    width = max(map(len, (*names, _HEAD[language][0])))
    head, *figures = _HEAD[language]
    lines = [f"{head:<{width}}" + "".join(f"{word:>{_WIDTH}}" for word in figures)]
    for name, measured in zip(names, report.columns, strict=True):
        lines.append(f"{name:<{width}}" + "".join(f"{word:>{_WIDTH}}" for word in _words(measured)))
    return "\n".join(lines)


def _words(measured: ColumnResult) -> list[str]:
    figures = measured.figures
    right, asked = figures.obeyed or (0, 0)
    return [
        f"{figures.made}/{figures.wanted}",
        _number(figures.load_seconds, "{:.2f}"),
        _number(figures.seconds, "{:.2f}"),
        _number(figures.steps_per_second, "{:.2f}"),
        _number(_megabytes(figures.peak_memory_bytes), "{:.0f}"),
        _number(_megabytes(figures.disk_bytes), "{:.0f}"),
        f"{right / asked:.1%}" if asked else NOTHING,
        _number(figures.sharpness, "{:.1f}"),
        _number(figures.clipped, "{:.1%}"),
        _number(figures.cast, "{:.0f}"),
        ",".join(sorted(set(figures.faults))) or NOTHING,
    ]


def _megabytes(count: int | None) -> float | None:
    return None if count is None else count / MEGA


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else form.format(value)


_WIDTH = 11
_HEAD: Mapping[str, tuple[str, ...]] = {
    "en": (
        "column", "images", "load s", "image s", "steps/s", "peak MB", "disk MB", "obeys", "sharpness", "clipped",
        "cast", "faults",
    ),
    "zh": ("列", "图片", "加载 秒", "每张 秒", "步/秒", "峰值 MB", "磁盘 MB", "符合", "锐度", "溢出", "偏色", "故障"),
}  # fmt: skip


LABEL_WIDTH, COLUMN_WIDTH = 220, 220  # px; the figures need a column of some width
GIGA = 10**9  # as in all sizes shown, see ui/formats.py


def draw(studio: Studio, report: BenchmarkReport) -> bytes:
    """Return the grid of a benchmark as PNG. Missing images are empty frames."""
    benchmark = report.benchmark
    rows = [_sheet_row(k, prompt, seed) for k, (prompt, seed) in enumerate(benchmark.cells, start=1)]
    heads = [f"{measured.column.name}\n{_caption(measured.figures)}" for measured in report.columns]
    files = [_file(studio, measured.images[k]) for k in range(len(rows)) for measured in report.columns]
    title = f"Z Darkroom · {benchmark.created_at:%Y-%m-%d %H:%M} UTC"
    buffer = BytesIO()
    contact_sheet.draw(files, heads, rows, [title], LABEL_WIDTH, COLUMN_WIDTH).save(buffer, "PNG")
    return buffer.getvalue()


def _sheet_row(number: int, prompt: str, seed: int) -> str:
    """Return the number of the row where no font of this machine has the prompt's letters."""
    return f"{prompt if contact_sheet.readable(prompt) else f'#{number}'}\nseed {seed}"


def _caption(figures: Metrics) -> str:
    """Such as 2.1 s · 4.2 step/s, and below it 0.6 GB · load 3.1 s."""
    lines = (
        (("{:.2f} s", figures.seconds), ("{:.2f} step/s", figures.steps_per_second)),
        (("{:.1f} GB", _gigabytes(figures.peak_memory_bytes)), ("load {:.1f} s", figures.load_seconds)),
    )
    known = (" · ".join(form.format(value) for form, value in line if value is not None) for line in lines)
    return "\n".join(line for line in known if line)


def _gigabytes(count: int | None) -> float | None:
    return None if count is None else count / GIGA


def _file(studio: Studio, record: ImageRecord | None) -> Path | None:
    try:
        return studio.history.file(record.id) if record else None
    except NotFoundError:
        return None
