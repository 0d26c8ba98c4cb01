"""Show the charts of the System page: memory, GPU, seconds per step and images per hour over the last hour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from core.studio import Studio
from core.studio.hardware import GpuSample, Sample
from core.types import HistoryQuery, ImageRecord
from ui import formats
from ui.components import custom_components
from ui.i18n import t

REFRESH_SECONDS = 10.0  # as often as samples are taken
HOUR = timedelta(hours=1)
WINDOW = timedelta(minutes=10)  # over which images are counted
MOST_IMAGES = 500  # of the last hour that are looked at
GB = 1e9

Point = tuple[float, float]  # seconds ago, value


def draw(studio: Studio) -> None:
    """Show all charts that this machine has values for."""
    now = datetime.now(UTC)
    samples = studio.gauges.samples()
    records = studio.history.search(HistoryQuery(since=now - HOUR, limit=MOST_IMAGES)).records
    charts = [_memory(samples, now), *_gpu(samples, now), _step_time(records, now), _pace(records, now)]
    custom_components.charts(charts, t("charts.ago"), t("charts.none"), key="charts")


def _memory(samples: Sequence[Sample], now: datetime) -> dict[str, Any]:
    points = [(_ago(one.at, now), one.memory_used / GB) for one in samples]
    whole = samples[-1].memory_total if samples else 0
    words = t("cost.of", peak=_gb(points), total=formats.size_of(whole)) if samples else "–"
    return _chart("ram", "GB", points, words, whole / GB or None)


def _gpu(samples: Sequence[Sample], now: datetime) -> list[dict[str, Any]]:
    """Memory, load and temperature of the first GPU; nothing without one."""

    def points(value: Callable[[GpuSample], float | None]) -> list[Point]:
        return [(_ago(one.at, now), measured) for one in samples if one.gpus and (measured := value(one.gpus[0])) is not None]

    memory = points(lambda gpu: gpu.memory_used and gpu.memory_used / GB)
    load, heat = points(lambda gpu: gpu.load), points(lambda gpu: gpu.temperature)
    whole = samples[-1].gpus[0].memory_total if samples and samples[-1].gpus else None
    charts = []
    if memory:
        words = t("cost.of", peak=_gb(memory), total=formats.size_of(whole))
        charts.append(_chart("vram", "GB", memory, words, (whole or 0) / GB or None))
    if load:
        charts.append(_chart("load", "%", load, f"{load[-1][1]:.0f} %", 100.0))
    if heat:
        charts.append(_chart("temperature", "°C", heat, f"{heat[-1][1]:.0f} °C", 100.0))
    return charts


def _step_time(records: Sequence[ImageRecord], now: datetime) -> dict[str, Any]:
    """Return seconds per denoising step of each image, oldest first."""
    timed = [one for one in reversed(records) if one.timings.get("steps") and one.request.num_inference_steps]
    points = [(_ago(one.created_at, now), one.timings["steps"] / one.request.num_inference_steps) for one in timed]
    return _chart("step", "s", points, formats.seconds(points[-1][1]) if points else "–")


def _pace(records: Sequence[ImageRecord], now: datetime) -> dict[str, Any]:
    """Return images per hour at each minute, counted over the minutes before it."""
    made = [one.created_at for one in records if one.timings]
    points = []
    for minute in range(60, -1, -1):
        end = now - timedelta(minutes=minute)
        count = sum(end - WINDOW < moment <= end for moment in made)
        points.append((60.0 * minute, count * (HOUR / WINDOW)))
    words = t("charts.images", count=sum(now - HOUR < moment for moment in made))
    return _chart("pace", t("charts.per_hour"), points if made else [], words)


def _chart(name: str, unit: str, points: Sequence[Point], now: str, most: float | None = None) -> dict[str, Any]:
    return {"name": t(f"charts.{name}"), "unit": unit, "points": [list(one) for one in points], "now": now, "most": most}


def _ago(moment: datetime, now: datetime) -> float:
    return round(max(0.0, (now - moment).total_seconds()), 1)


def _gb(points: Sequence[Point]) -> str:
    return formats.size_of(int(points[-1][1] * GB))
