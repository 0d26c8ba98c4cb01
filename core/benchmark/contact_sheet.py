"""Render a benchmark as one labelled image: a column each, a row for each prompt and seed."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from core.benchmark.report import BenchmarkReport, Metrics
from core.errors import NotFoundError
from core.history import contact_sheet
from core.studio import Studio
from core.types import ImageRecord

LABEL_WIDTH, COLUMN_WIDTH = 220, 220  # px; the figures need a column of some width
GIGA = 10**9  # as in all sizes shown, see ui/formats.py


def draw(studio: Studio, report: BenchmarkReport) -> bytes:
    """Return the grid of a benchmark as PNG. Missing images are empty frames."""
    benchmark = report.benchmark
    rows = [_row(k, prompt, seed) for k, (prompt, seed) in enumerate(benchmark.cells, start=1)]
    heads = [f"{measured.column.name}\n{_caption(measured.figures)}" for measured in report.columns]
    files = [_file(studio, measured.images[k]) for k in range(len(rows)) for measured in report.columns]
    title = f"Z Darkroom · {benchmark.created_at:%Y-%m-%d %H:%M} UTC"
    buffer = BytesIO()
    contact_sheet.draw(files, heads, rows, [title], LABEL_WIDTH, COLUMN_WIDTH).save(buffer, "PNG")
    return buffer.getvalue()


def _row(number: int, prompt: str, seed: int) -> str:
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
